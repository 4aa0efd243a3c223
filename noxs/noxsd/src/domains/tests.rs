//! Whole domains on a pretended Xen, with the tests as guests.

mod configure;
mod shared_port;

use std::collections::{BTreeSet, HashMap};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use noxs::MacAddr;
use noxs_control::{
    Attach, ConsoleDevice, DomainId, MAX_DROPPED, Rate, Refusal, VifDevice, VifIdentity,
};

use super::{Backend, ClientId, Clients, Guest};
use crate::console::log::ConsoleLog;
use crate::console::ring as console;
use crate::host::memory::SharedMemory;
use crate::host::memory::fake::FakeMemory;
use crate::host::ring::{SLOTS, frontend};
use crate::host::{Frames, GrantCopy, Host};
use crate::net::frame::build;

const CONSOLE_REF: u32 = 1;
const TX_REF: u32 = 8;
const RX_REF: u32 = 9;
/// First of the pages that a guest grants for frames.
const DATA_REF: u32 = 100;
const DATA_REFS: u32 = 300;

#[derive(Default)]
pub(crate) struct FakeHost {
    pub(crate) pages: HashMap<(u16, u32), FakeMemory>,
    pub(crate) bound: BTreeSet<u32>,
    last_port: u32,
    /// The bind that fails, counted from now.
    fail_bind: Option<u32>,
    notified: Vec<u32>,
    unmasked: Vec<u32>,
    copies: usize,
}

impl Host for FakeHost {
    type Memory = FakeMemory;

    fn map(&mut self, domid: u16, grefs: &[u32]) -> io::Result<FakeMemory> {
        let page = |gref: &u32| self.pages.get(&(domid, *gref)).cloned();
        let pages: Option<Vec<FakeMemory>> = grefs.iter().map(page).collect();
        Ok(FakeMemory::join(&pages.ok_or_else(|| io::Error::other("no such grant"))?))
    }

    fn bind(&mut self, _: u16, _: u32) -> io::Result<u32> {
        if let Some(left) = &mut self.fail_bind {
            if *left == 0 {
                return Err(io::Error::other("no such port"));
            }
            *left -= 1;
        }
        self.last_port += 1;
        self.bound.insert(self.last_port);
        Ok(self.last_port)
    }

    fn bind_domain_exception(&mut self) -> io::Result<u32> {
        self.bind(0, 0)
    }

    fn unbind(&mut self, port: u32) {
        assert!(self.bound.remove(&port), "port {port} is not bound");
    }

    fn notify(&mut self, port: u32) {
        assert!(self.bound.contains(&port), "port {port} is not bound");
        self.notified.push(port);
    }

    fn unmask(&mut self, ports: &[u32]) {
        self.unmasked.extend(ports);
    }

    fn fetch(&mut self, frames: &mut Frames, copies: &mut [GrantCopy]) {
        self.copies += 1;
        for (buffer, copy) in frames.iter_mut().zip(copies) {
            let page = self.pages.get(&(copy.domid, copy.gref));
            copy.done = page.is_some();
            if let Some(page) = page {
                page.read(usize::from(copy.offset), &mut buffer[..usize::from(copy.length)]);
            }
        }
    }

    fn deliver(&mut self, frames: &Frames, copies: &mut [GrantCopy]) {
        self.copies += 1;
        for copy in copies {
            let page = self.pages.get(&(copy.domid, copy.gref));
            copy.done = page.is_some();
            if let Some(page) = page {
                page.write(0, &frames.get(copy.frame)[..usize::from(copy.length)]);
            }
        }
    }
}

impl FakeHost {
    /// A guest's memory, of which it has granted everything.
    pub(crate) fn guest(&mut self, domid: u16) {
        self.guest_rings(domid);
        for gref in DATA_REF..DATA_REF + DATA_REFS {
            self.pages.insert((domid, gref), FakeMemory::new(1));
        }
    }

    /// A guest's rings, of which it has granted everything.
    fn guest_rings(&mut self, domid: u16) {
        for gref in [CONSOLE_REF, TX_REF, RX_REF] {
            self.pages.insert((domid, gref), FakeMemory::new(1));
        }
    }
}

#[derive(Default)]
struct FakeClients {
    output: Vec<u8>,
    closed: Vec<ClientId>,
    wanted: usize,
}

impl Clients for FakeClients {
    fn output(&mut self, _: ClientId, output: &[u8]) {
        self.output.extend(output);
    }

    fn close(&mut self, client: ClientId) {
        self.closed.push(client);
    }

    fn input_wanted(&mut self, _: ClientId) {
        self.wanted += 1;
    }
}

struct Bed {
    backend: Backend<FakeHost>,
    clients: FakeClients,
    /// The other end of the tap: the bridge.
    bridge: File,
    now: Instant,
}

impl Bed {
    fn new() -> Self {
        let flags = SockFlag::SOCK_NONBLOCK;
        let (tap, bridge) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags).unwrap();
        let now = Instant::now();
        let mut backend = Backend::new(FakeHost::default(), now);
        backend.add_switch("xenbr0", File::from(tap), now).unwrap();
        Self { backend, clients: FakeClients::default(), bridge: File::from(bridge), now }
    }

    fn guest(&mut self, domid: u16) {
        self.backend.host.guest(domid);
    }

    fn page(&self, domid: u16, gref: u32) -> FakeMemory {
        self.backend.host.pages[&(domid, gref)].clone()
    }

    fn attach(&mut self, attach: &Attach) -> Result<(), Refusal> {
        self.attach_as(attach, Guest::New)
    }

    fn attach_as(&mut self, attach: &Attach, guest: Guest) -> Result<(), Refusal> {
        let log = attach.console.map(|_| log());
        self.backend.attach(attach, log, guest, self.now, &mut self.clients)
    }

    /// A guest that runs, with console and vif.
    fn running(&mut self, domid: u16) -> Attach {
        self.guest(domid);
        let attach = attach(domid);
        self.attach(&attach).unwrap();
        attach
    }

    /// The local ports of a guest: console, vif.
    fn ports(&self, domid: u16) -> (u32, u32) {
        let domain = &self.backend.domains[self.backend.by_domid.get(domid.into()).unwrap()];
        (domain.console.as_ref().unwrap().turns.port.unwrap(), domain.vifs[0].turns.port.unwrap())
    }

    /// Has the guest put a frame into a data page and send it.
    fn send(&mut self, domid: u16, slot: u16, frame: &[u8]) {
        let gref = DATA_REF + u32::from(slot) % DATA_REFS;
        self.page(domid, gref).write(0, frame);
        let length = u16::try_from(frame.len()).unwrap();
        frontend::send(&self.page(domid, TX_REF), gref, 0, 0, slot, length);
    }

    /// Sends the vif's event and serves until nothing is left to do.
    fn run(&mut self, domid: u16) {
        let (_, port) = self.ports(domid);
        self.backend.event(port);
        self.settle();
    }

    fn settle(&mut self) {
        while self.backend.has_work() {
            self.backend.turn(self.now, &mut self.clients);
        }
    }

    /// Gives the guest `count` pages to receive frames in.
    fn post(&mut self, domid: u16, count: u16) {
        for id in 0..count {
            frontend::post(&self.page(domid, RX_REF), id, DATA_REF + u32::from(id));
        }
    }

    /// Statuses of the guest's received frames.
    fn received(&self, domid: u16) -> Vec<i16> {
        let ring = self.page(domid, RX_REF);
        (0..frontend::responses(&ring)).map(|i| frontend::rx_response(&ring, i).1).collect()
    }

    fn sent(&self, domid: u16) -> Vec<(u16, i16)> {
        let ring = self.page(domid, TX_REF);
        (0..frontend::responses(&ring)).map(|i| frontend::tx_response(&ring, i)).collect()
    }

    fn frame_out(&mut self) -> Option<Vec<u8>> {
        let mut frame = [0; 4096];
        self.bridge.read(&mut frame).ok().map(|length| frame[..length].to_vec())
    }

    fn frame_in(&mut self, frame: &[u8]) {
        self.bridge.write_all(frame).unwrap();
        self.backend.tap_ready(0);
        self.settle();
    }

    fn broken(&self, attach: &Attach) -> Vec<Option<String>> {
        let status = self.backend.status(attach.id).unwrap();
        status.devices.into_iter().map(|device| device.broken).collect()
    }

    fn traffic(&self, attach: &Attach) -> noxs_control::DeviceStatus {
        self.backend.status(attach.id).unwrap().devices.pop().unwrap()
    }
}

fn mac(domid: u16) -> MacAddr {
    MacAddr([0, 0x16, 0x3e, 0, 0, domid.to_le_bytes()[0]])
}

fn ip(domid: u16) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, domid.to_le_bytes()[0])
}

pub(crate) fn attach(domid: u16) -> Attach {
    Attach {
        id: DomainId { domid, handle: [7; 16] },
        console: Some(ConsoleDevice { port: 1, ring: CONSOLE_REF }),
        vifs: vec![VifDevice {
            index: 0,
            port: 2,
            tx_ring: TX_REF,
            rx_ring: RX_REF,
            bridge: "xenbr0".into(),
            identity: Some(identity(domid)),
        }],
    }
}

fn identity(domid: u16) -> VifIdentity {
    VifIdentity { mac: mac(domid), ipv4: Some(ip(domid)), mtu: 1500, rate: None }
}

/// Who the first vif is.
fn first(attach: &mut Attach) -> &mut VifIdentity {
    attach.vifs[0].identity.as_mut().unwrap()
}

fn log() -> ConsoleLog {
    let name = format!("noxsd-backend-{:?}-{}", std::thread::current().id(), std::process::id());
    let path = std::env::temp_dir().join(name);
    let file = OpenOptions::new().read(true).append(true).create(true).open(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    ConsoleLog::new(OwnedFd::from(file)).unwrap()
}

fn frame_to(to: u16, from: u16) -> Vec<u8> {
    build::ipv4(mac(to), mac(from), ip(from))
}

#[test]
fn frames_go_between_guests_and_the_tap() {
    let mut bed = Bed::new();
    let one = bed.running(1);
    bed.running(2);
    bed.post(2, 4);
    bed.send(1, 0, &frame_to(2, 1));
    bed.send(1, 1, &frame_to(99, 1));
    bed.run(1);
    assert_eq!(bed.sent(1), [(0, 0), (1, 0)]);
    assert_eq!(bed.received(2), [60]);
    let mut arrived = [0; 60];
    bed.page(2, DATA_REF).read(0, &mut arrived);
    assert_eq!(arrived[..], frame_to(2, 1)[..]);
    assert_eq!(bed.frame_out(), Some(frame_to(99, 1)));
    assert_eq!(bed.frame_out(), None);

    bed.frame_in(&frame_to(2, 99));
    assert_eq!(bed.received(2), [60, 60]);
    let traffic = bed.traffic(&one);
    assert_eq!((traffic.from_guest_frames, traffic.from_guest_bytes), (2, 120));
}

#[test]
fn drops_are_listed_by_domid_and_in_as_many_pieces_as_needed() {
    let mut bed = Bed::new();
    bed.guest(5);
    let template = attach(5);
    let many = u16::try_from(MAX_DROPPED).unwrap() + 10;
    for domid in 1..=many {
        bed.backend.host.guest_rings(domid);
        let mut attach = template.clone();
        attach.id.domid = domid;
        let [high, low] = domid.to_be_bytes();
        first(&mut attach).mac = MacAddr([0, 0x16, 0x3e, 1, high, low]);
        bed.attach(&attach).unwrap();
    }
    assert_eq!(bed.backend.dropped(0), (vec![], None));
    // A request without a frame.
    for domid in (1..=many).filter(|domid| *domid != 7) {
        frontend::send(&bed.page(domid, TX_REF), 0, 0, 0, 0, 1);
        bed.run(domid);
    }
    let (first, next) = bed.backend.dropped(0);
    assert!(first.len() <= MAX_DROPPED);
    let (rest, end) = bed.backend.dropped(next.unwrap());
    assert_eq!(end, None);
    let listed: Vec<u16> = first.iter().chain(&rest).map(|vif| vif.id.domid).collect();
    let expected: Vec<u16> = (1..=many).filter(|domid| *domid != 7).collect();
    assert_eq!(listed, expected);
    assert_eq!((first[0].index, first[0].frames), (0, 1));
    assert_eq!(bed.backend.dropped(u16::MAX), (vec![], None));
}

#[test]
fn many_frames_take_few_copies() {
    let mut bed = Bed::new();
    bed.running(1);
    bed.running(2);
    bed.post(2, 256);
    for slot in 0..128 {
        bed.send(1, slot, &frame_to(2, 1));
    }
    bed.run(1);
    assert_eq!(bed.received(2), [60; 128]);
    // Two batches, each fetched in one call and delivered in one.
    assert_eq!(bed.backend.host.copies, 4);
}

#[test]
fn a_forged_source_is_dropped_and_counted() {
    let mut bed = Bed::new();
    let one = bed.running(1);
    bed.running(2);
    bed.post(2, 4);
    bed.send(1, 0, &build::ipv4(mac(2), mac(9), ip(1)));
    bed.send(1, 1, &build::ipv4(mac(2), mac(1), ip(9)));
    bed.send(1, 2, &build::arp(mac(1), 2, ip(2), ip(1)));
    bed.run(1);
    assert_eq!(bed.sent(1), [(0, 0), (1, 0), (2, 0)]);
    assert!(bed.received(2).is_empty());
    assert_eq!(bed.frame_out(), None);
    assert_eq!(bed.traffic(&one).dropped_frames, 3);
}

#[test]
fn requests_that_cannot_be_served_get_an_error() {
    let mut bed = Bed::new();
    let one = bed.running(1);
    let ring = bed.page(1, TX_REF);
    let bad = [
        (9999, 0, 0, 60),        // no such grant
        (DATA_REF, 0, 4, 60),    // more data
        (DATA_REF, 0, 8, 60),    // extra info
        (DATA_REF, 0, 1, 60),    // no checksum
        (DATA_REF, 0, 0, 13),    // no header
        (DATA_REF, 0, 0, 1515),  // over the MTU
        (DATA_REF, 4040, 0, 60), // past the page
        (DATA_REF, u16::MAX, 0, u16::MAX),
    ];
    for (id, (gref, offset, flags, size)) in (0..).zip(bad) {
        frontend::send(&ring, gref, offset, flags, id, size);
    }
    bed.run(1);
    let mut sent = bed.sent(1);
    sent.sort_unstable();
    assert_eq!(sent, (0..8).map(|id| (id, -1)).collect::<Vec<_>>());
    assert_eq!(bed.traffic(&one).dropped_frames, 8);
    assert_eq!(bed.broken(&one), [None, None]);
}

#[test]
fn an_impossible_index_costs_one_guest_its_device() {
    let mut bed = Bed::new();
    let one = bed.running(1);
    let two = bed.running(2);
    bed.post(1, 1);
    frontend::set_producer(&bed.page(1, TX_REF), SLOTS + 1);
    let bound = bed.backend.host.bound.len();
    bed.run(1);
    assert_eq!(bed.backend.host.bound.len(), bound - 1);
    let broken = bed.broken(&one);
    assert!(broken[0].is_none());
    assert!(broken[1].as_ref().is_some_and(|why| why.contains("transmit")), "{broken:?}");
    assert_eq!(bed.backend.broken().map(|s| s.id).collect::<Vec<_>>(), [one.id]);

    // The other guest does not notice, and the address leads to the tap.
    bed.send(2, 0, &frame_to(1, 2));
    bed.run(2);
    assert_eq!(bed.sent(2), [(0, 0)]);
    assert!(bed.frame_out().is_some());
    assert!(bed.received(1).is_empty());
    assert_eq!(bed.broken(&two), [None, None]);

    bed.backend.detach(one.id, &mut bed.clients).unwrap();
    assert_eq!(bed.backend.broken().count(), 0);
}

#[test]
fn a_broken_receive_ring_does_not_stop_the_sender() {
    let mut bed = Bed::new();
    bed.running(1);
    let two = bed.running(2);
    let three = bed.running(3);
    bed.post(3, 4);
    frontend::set_producer(&bed.page(2, RX_REF), u32::MAX);
    for slot in 0..4 {
        bed.send(1, slot, &frame_to(2 + slot % 2, 1));
    }
    bed.run(1);
    assert_eq!(bed.received(3), [60, 60]);
    assert!(bed.broken(&two)[1].is_some());
    assert_eq!(bed.broken(&three), [None, None]);
}

#[test]
fn a_bad_page_for_receiving_is_an_error() {
    let mut bed = Bed::new();
    let one = bed.running(1);
    frontend::post(&bed.page(1, RX_REF), 0, 9999);
    bed.post(1, 1);
    bed.frame_in(&frame_to(1, 99));
    bed.frame_in(&frame_to(1, 99));
    bed.frame_in(&[0xff; 5]);
    bed.frame_in(&[&frame_to(1, 99)[..], &[0; 1500]].concat());
    assert_eq!(bed.received(1), [-1, 60]);
    assert_eq!(bed.traffic(&one).dropped_frames, 2);
}

#[test]
fn a_burst_waits_for_pages_in_order() {
    let mut bed = Bed::new();
    let one = bed.running(1);
    bed.post(1, 30);
    for length in 0..100 {
        bed.frame_in(&[&frame_to(1, 99)[..], &vec![0; length]].concat());
    }
    assert_eq!(bed.received(1).len(), 30);
    assert_eq!(bed.backend.waiting_bytes, (30..100).map(|length| 60 + length).sum::<usize>());
    bed.post(1, 50);
    bed.run(1);
    bed.post(1, 50);
    bed.run(1);
    assert_eq!(bed.received(1), (60..160).collect::<Vec<i16>>());
    assert_eq!(bed.traffic(&one).dropped_frames, 0);
    assert_eq!(bed.backend.waiting_bytes, 0);
    // The pages left over take frames at once again.
    bed.frame_in(&frame_to(1, 99));
    assert_eq!(bed.received(1).len(), 101);
}

#[test]
fn what_waits_is_bounded_and_goes_with_the_guest() {
    let mut bed = Bed::new();
    let one = bed.running(1);
    let two = bed.running(2);
    for _ in 0..600 {
        bed.frame_in(&frame_to(1, 99));
    }
    bed.frame_in(&build::ipv4(MacAddr([0xff; 6]), mac(99), ip(99)));
    assert_eq!(bed.backend.waiting_bytes, 512 * 60);
    assert_eq!(bed.traffic(&one).dropped_frames, 89);
    assert_eq!(bed.traffic(&two).dropped_frames, 1, "a frame for all does not wait");
    bed.backend.detach(one.id, &mut bed.clients).unwrap();
    assert_eq!(bed.backend.waiting_bytes, 0);
}

#[test]
fn a_guest_over_its_rate_still_receives() {
    let mut bed = Bed::new();
    bed.guest(1);
    let mut limited = attach(1);
    first(&mut limited).rate = Some(Rate { bytes: 60, interval_us: 1_000_000 });
    bed.attach(&limited).unwrap();
    let (_, port) = bed.ports(1);
    for slot in 0..200 {
        bed.send(1, slot, &frame_to(99, 1));
    }
    bed.run(1);
    assert!(bed.sent(1).len() < 200);
    for _ in 0..5 {
        bed.frame_in(&frame_to(1, 99));
    }
    assert!(bed.backend.host.unmasked.contains(&port), "to hear of pages");
    assert_eq!(bed.backend.timers.len(), 1);
    bed.post(1, 10);
    bed.run(1);
    assert_eq!(bed.received(1), [60; 5]);
    assert_eq!(bed.backend.timers.len(), 1);
}

#[test]
fn floods_are_limited_and_never_come_back() {
    let mut bed = Bed::new();
    let one = bed.running(1);
    bed.running(2);
    bed.post(1, 200);
    bed.post(2, 200);
    let broadcast = build::ipv4(MacAddr([0xff; 6]), mac(1), ip(1));
    for slot in 0..100 {
        bed.send(1, slot, &broadcast);
    }
    bed.run(1);
    assert_eq!(bed.received(2).len(), 64);
    assert!(bed.received(1).is_empty());
    assert_eq!(bed.traffic(&one).dropped_frames, 36);
    bed.frame_in(&build::ipv4(MacAddr([0xff; 6]), mac(99), ip(99)));
    assert_eq!((bed.received(1).len(), bed.received(2).len()), (1, 65));
}

#[test]
fn a_rate_makes_the_guest_wait_and_loses_nothing() {
    let mut bed = Bed::new();
    bed.guest(1);
    let mut limited = attach(1);
    first(&mut limited).rate = Some(Rate { bytes: 6000, interval_us: 50_000 });
    bed.attach(&limited).unwrap();
    let (_, port) = bed.ports(1);
    for slot in 0..200 {
        bed.send(1, slot, &frame_to(99, 1));
    }
    let start = bed.now;
    bed.run(1);
    assert_eq!(bed.sent(1).len(), 100, "6000 bytes are 100 frames");
    assert!(!bed.backend.host.unmasked.contains(&port), "waits without events");
    while let Some(deadline) = bed.backend.deadline() {
        assert!(deadline > bed.now);
        bed.now = deadline;
        bed.backend.turn(bed.now, &mut bed.clients);
        bed.settle();
        while bed.frame_out().is_some() {}
    }
    assert_eq!(bed.sent(1).len(), 200);
    let took = bed.now - start;
    assert!(took >= Duration::from_millis(50) && took < Duration::from_millis(52), "{took:?}");
    assert!(bed.backend.host.unmasked.contains(&port));
}

#[test]
fn the_console_prints_and_listens() {
    let mut bed = Bed::new();
    let one = bed.running(1);
    let (port, _) = bed.ports(1);
    let client = ClientId(5);
    bed.backend.open_console(one.id, client).unwrap();
    assert_eq!(bed.backend.open_console(one.id, ClientId(6)), Err(Refusal::ConsoleBusy));
    let page = bed.page(1, CONSOLE_REF);
    console::frontend::print(&page, b"hello\n");
    bed.backend.event(port);
    bed.settle();
    assert_eq!(bed.clients.output, b"hello\n");
    assert_eq!(bed.backend.host.notified, [port]);
    bed.backend.input(one.id, b"ls\r").unwrap();
    bed.settle();
    assert_eq!(console::frontend::input(&page), b"ls\r");
    assert_eq!(bed.clients.wanted, 1);
    bed.backend.close_console(one.id, ClientId(6));
    assert_eq!(bed.backend.open_console(one.id, ClientId(6)), Err(Refusal::ConsoleBusy));
    bed.backend.close_console(one.id, client);
    bed.backend.open_console(one.id, ClientId(6)).unwrap();

    console::frontend::set_output_index(&page, 1 << 31);
    bed.backend.event(port);
    bed.settle();
    assert_eq!(bed.clients.closed, [ClientId(6)]);
    assert!(bed.broken(&one)[0].is_some());
    assert_eq!(bed.backend.open_console(one.id, client), Err(Refusal::NoDevice));
    // The vif is as it was.
    bed.send(1, 0, &frame_to(99, 1));
    bed.run_vif(1);
    assert_eq!(bed.sent(1), [(0, 0)]);
}

impl Bed {
    /// As `run`, for a guest that has lost its console.
    fn run_vif(&mut self, domid: u16) {
        let domain = &self.backend.domains[self.backend.by_domid.get(domid.into()).unwrap()];
        let port = domain.vifs[0].turns.port.unwrap();
        self.backend.event(port);
        self.settle();
    }
}

#[test]
fn a_refused_attach_leaves_nothing() {
    let mut bed = Bed::new();
    bed.running(1);
    let bound = bed.backend.host.bound.clone();
    bed.guest(2);
    let refused = |bed: &mut Bed, attach: &Attach| {
        let refusal = bed.attach(attach).unwrap_err();
        assert_eq!(bed.backend.host.bound, bound, "{refusal}");
        assert_eq!(bed.backend.domains.len(), 1, "{refusal}");
        refusal
    };
    let good = attach(2);
    let changed = |change: fn(&mut Attach)| {
        let mut attach = good.clone();
        change(&mut attach);
        attach
    };
    let clash = changed(|a| first(a).mac = mac(1));
    assert_eq!(refused(&mut bed, &clash), Refusal::MacInUse(mac(1)));
    let twice = changed(|a| {
        let mut second = a.vifs[0].clone();
        second.index = 1;
        a.vifs.push(second);
    });
    assert_eq!(refused(&mut bed, &twice), Refusal::MacInUse(mac(2)));
    let nowhere = changed(|a| a.vifs[0].bridge = "br9".into());
    assert_eq!(refused(&mut bed, &nowhere), Refusal::NoSwitch("br9".into()));
    let no_grant = changed(|a| a.vifs[0].rx_ring = 9999);
    assert!(matches!(refused(&mut bed, &no_grant), Refusal::System { .. }));
    for invalid in [
        changed(|a| first(a).mac = MacAddr([0xff; 6])),
        changed(|a| first(a).mac = MacAddr([0; 6])),
        changed(|a| first(a).mtu = 0),
        changed(|a| first(a).mtu = u16::MAX),
        changed(|a| first(a).rate = Some(Rate { bytes: 0, interval_us: 1 })),
        changed(|a| a.vifs = vec![a.vifs[0].clone(); 8]),
        changed(|a| a.id.domid = 0),
        changed(|a| a.id.domid = 0x7ff0),
        changed(|a| {
            a.console = None;
            a.vifs.clear();
        }),
        attach(1),
    ] {
        assert!(matches!(refused(&mut bed, &invalid), Refusal::Invalid(_)), "{invalid:?}");
    }
    for failing in 0..2 {
        bed.backend.host.fail_bind = Some(failing);
        assert!(matches!(refused(&mut bed, &good), Refusal::System { .. }));
    }
    bed.backend.host.fail_bind = None;
    let no_log = bed.backend.attach(&good, None, Guest::New, bed.now, &mut bed.clients);
    assert!(matches!(no_log, Err(Refusal::Invalid(_))));
    bed.attach(&good).unwrap();
}

#[test]
fn a_reused_number_detaches_the_old_domain() {
    let mut bed = Bed::new();
    let old = bed.running(1);
    bed.backend.open_console(old.id, ClientId(3)).unwrap();
    bed.guest(1);
    let mut new = attach(1);
    new.id.handle = [8; 16];
    bed.attach(&new).unwrap();
    assert_eq!(bed.backend.host.bound.len(), 2);
    assert_eq!(bed.clients.closed, [ClientId(3)]);
    assert_eq!(bed.backend.detach(old.id, &mut bed.clients), Err(Refusal::NoDevice));
    bed.backend.detach(new.id, &mut bed.clients).unwrap();
    assert!(bed.backend.host.bound.is_empty());
    assert!(bed.backend.channels.numbers().next().is_none() && bed.backend.timers.is_empty());
    assert!(!bed.backend.bridges[0].table.has(mac(1)));
}

#[test]
fn a_restarted_noxsd_goes_on_where_the_rings_stand() {
    let mut bed = Bed::new();
    let one = bed.running(1);
    bed.post(1, 3);
    bed.send(1, 0, &frame_to(99, 1));
    bed.run(1);
    bed.frame_in(&frame_to(1, 99));
    console::frontend::print(&bed.page(1, CONSOLE_REF), b"before ");
    let pages = std::mem::take(&mut bed.backend.host.pages);

    // Killed: nothing of it is left but the guest's pages. The guest goes on meanwhile.
    let mut bed = Bed::new();
    bed.backend.host.pages = pages;
    bed.send(1, 1, &frame_to(99, 1));
    console::frontend::print(&bed.page(1, CONSOLE_REF), b"after");
    bed.attach_as(&one, Guest::Running).unwrap();
    let (console, vif) = bed.ports(1);
    assert_eq!(bed.backend.host.notified, [console, vif]);
    bed.backend.open_console(one.id, ClientId(1)).unwrap();
    bed.settle();
    assert_eq!(bed.sent(1), [(0, 0), (1, 0)]);
    assert_eq!(bed.frame_out(), Some(frame_to(99, 1)));
    assert_eq!(bed.clients.output, b"before after");
    bed.frame_in(&frame_to(1, 99));
    assert_eq!(bed.received(1), [60, 60]);
}

#[test]
fn a_guest_that_broke_its_rings_before_a_restart_loses_only_those() {
    let mut bed = Bed::new();
    bed.guest(1);
    frontend::set_producer(&bed.page(1, TX_REF), 1 << 20);
    let one = attach(1);
    bed.attach_as(&one, Guest::Running).unwrap();
    bed.settle();
    let broken = bed.broken(&one);
    assert!(broken[0].is_none() && broken[1].is_some(), "{broken:?}");
}

#[test]
fn an_event_for_a_port_that_is_gone_is_nothing() {
    let mut bed = Bed::new();
    let one = bed.running(1);
    let (console, vif) = bed.ports(1);
    bed.backend.event(vif);
    bed.backend.event(console);
    bed.backend.detach(one.id, &mut bed.clients).unwrap();
    bed.backend.event(vif);
    bed.backend.event(4_000_000_000);
    bed.settle();
    assert!(bed.backend.host.unmasked.is_empty());
}

proptest::proptest! {
    // Each case makes a whole bed.
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    /// Guests that write anything into all their rings and data pages: the others' devices stay
    /// whole, and a well-behaved guest's frame still arrives.
    #[test]
    fn hostile_guests_harm_only_themselves(
        writes in proptest::collection::vec(
            (1u16..3, 0usize..3, 0usize..1024, proptest::prelude::any::<u32>()), 0..100),
        indices in proptest::collection::vec((1u16..3, 0usize..3, 0u32..600), 0..20),
    ) {
        let mut bed = Bed::new();
        bed.running(1);
        bed.guest(2);
        bed.attach(&shared_port::shared(2)).unwrap();
        let good = bed.running(3);
        bed.post(3, 1);
        let rings = [CONSOLE_REF, TX_REF, RX_REF];
        for (domid, ring, word, value) in writes {
            bed.page(domid, rings[ring]).store(word * 4, value);
        }
        for (domid, ring, index) in indices {
            let page = bed.page(domid, rings[ring]);
            if ring == 0 {
                console::frontend::set_output_index(&page, index);
            } else {
                frontend::set_producer(&page, index);
            }
            bed.backend.events_lost();
            for _ in 0..20 {
                bed.backend.turn(bed.now, &mut bed.clients);
            }
            while bed.frame_out().is_some() {}
        }
        bed.frame_in_once(&frame_to(3, 99));
        proptest::prop_assert!(bed.received(3).contains(&60));
        proptest::prop_assert_eq!(bed.broken(&good), [None, None]);
    }
}

impl Bed {
    /// As `frame_in`, with hostile guests that may always have more to do.
    fn frame_in_once(&mut self, frame: &[u8]) {
        self.bridge.write_all(frame).unwrap();
        self.backend.tap_ready(0);
        for _ in 0..20 {
            self.backend.turn(self.now, &mut self.clients);
        }
    }
}
