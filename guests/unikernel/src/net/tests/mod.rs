// SPDX-License-Identifier: MIT OR Apache-2.0
//! The network from end to end on the host: a client's TCP stack, a backend that serves the rings
//! like noxsd, and a guest's service.
//!
//! `unsafe`: the backend accesses ring pages and granted pages by their address.
#![allow(unsafe_code)]
#![allow(clippy::cast_possible_truncation)] // bytes of patterns, fields of rings

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::MutexGuard;
use std::vec::Vec;

use noxs::layout::vif_ring;
use noxs::{Backend, DeviceState, Ipv4Config, Ipv6Config, MacAddr, Ring, VifFeatures};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{self, Device, DeviceCapabilities, Medium};
use smoltcp::socket::tcp::{self, State};
use smoltcp::time::Instant as Time;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpAddress, IpCidr, Ipv4Cidr};
use xen_abi::io::netif::{
    ExtraInfo, NETIF_RSP_NULL, NETRXF_CSUM_BLANK, NETRXF_EXTRA_INFO, NETRXF_MORE_DATA,
    NETTXF_CSUM_BLANK, NETTXF_EXTRA_INFO, NETTXF_MORE_DATA, RxResponse, TxResponse,
};
use xen_abi::io::ring::RSP_PROD;
use xen_ring::{BackRing, NetRx, NetTx, RawPage, SharedPage};

#[cfg(feature = "ipv6")]
mod ipv6;
mod places;
mod several;

use super::ethernet::{ETHERNET_HEADER, Station};
use super::serve::Server;
use super::*;
use crate::event::Port;
use crate::heap::testing::{Arena, test_page};
use crate::layout::{PAGE_SIZE_U64, pointer};

const GUEST: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const CLIENT_IPV6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
const PORT: u16 = 7;

/// Grants that the network leaves to other devices.
const SPARE_GRANTS: usize = 51;

/// Sends back what it receives, and closes when the client has finished. A request is incomplete
/// until its last byte, a `.`, if one of its bytes is a `(`.
struct Echo {
    open: usize,
    /// How many bytes incomplete requests may have in all, and have. Those are the bytes that were
    /// received since the `(`.
    most: usize,
    held: Rc<Cell<usize>>,
    job: Job,
}

/// What the service does beside its connections.
#[derive(Default)]
struct Job {
    /// How many calls do a part of it, and then how many wait for an event.
    parts: usize,
    waits: usize,
}

/// What the service stores for a connection.
struct Echoed {
    pending: Vec<u8>,
    held: usize,
    all: Rc<Cell<usize>>,
    /// When the request began that is incomplete.
    since: Option<Instant>,
}

const REFUSAL: &[u8] = b"no place";

impl Service for Echo {
    type Session = Echoed;

    fn open(&mut self, stream: &mut Stream<'_>) -> Echoed {
        let clients = [IpAddr::V4(CLIENT), IpAddr::V6(CLIENT_IPV6)];
        assert!(stream.peer().is_some_and(|peer| clients.contains(&peer.ip())));
        self.open += 1;
        Echoed { pending: Vec::new(), held: 0, all: Rc::clone(&self.held), since: None }
    }

    fn ready(&mut self, session: &mut Echoed, stream: &mut Stream<'_>) -> Next {
        let Echoed { pending, since, held, all } = session;
        let now = stream.now();
        loop {
            let sent = stream.send(pending);
            pending.drain(..sent);
            if !pending.is_empty() || stream.received() == 0 {
                break;
            }
            stream.receive(|bytes| {
                pending.extend_from_slice(bytes);
                for byte in bytes {
                    match byte {
                        b'(' => *since = since.or(Some(now)),
                        b'.' => *since = None,
                        _ => {}
                    }
                    all.set(all.get() - *held);
                    *held = if since.is_some() { *held + 1 } else { 0 };
                    all.set(all.get() + *held);
                }
                bytes.len()
            });
        }
        match since {
            _ if stream.is_finished() && pending.is_empty() => Next::Close,
            Some(since) => Next::Unfinished { since: *since },
            None => Next::Continue,
        }
    }

    fn refusal(&self) -> &'static [u8] {
        REFUSAL
    }

    fn holds_too_much(&self) -> bool {
        self.held.get() > self.most
    }

    fn held(&self, session: &Echoed) -> usize {
        session.held
    }

    fn work(&mut self, _now: Instant) -> Pending {
        if self.job.parts > 0 {
            self.job.parts -= 1;
            return Pending::More;
        }
        if self.job.waits == 0 {
            return Pending::Nothing;
        }
        self.job.waits -= 1;
        Pending::Event(Port(9))
    }
}

impl Drop for Echoed {
    fn drop(&mut self) {
        self.all.set(self.all.get() - self.held);
    }
}

/// The backend's end of the rings, without noxsd's checks of the requests.
struct FakeBackend {
    tx: BackRing<NetTx>,
    rx: BackRing<NetRx>,
    tx_page: RawPage,
    rx_page: RawPage,
    grants: *mut u8,
    /// The upper part of the frame numbers, which does not fit into the grant table.
    upper: u64,
    /// Whether it offers all features.
    long: bool,
    /// The longest frame that the guest has sent.
    longest: usize,
}

impl FakeBackend {
    fn new(tx: *mut u8, rx: *mut u8, grants: *mut u8, upper: u64, long: bool) -> Self {
        // SAFETY: the pages must be mapped while the values live, aligned, and without references.
        // Both are aligned pages of the test that are never freed, and both ends access them only
        // by their address.
        let [tx_page, rx_page] = [tx, rx].map(|page| unsafe { RawPage::new(page) });
        let (tx, rx) = (BackRing::attach(&tx_page, 0), BackRing::attach(&rx_page, 0));
        Self { tx, rx, tx_page, rx_page, grants, upper, long, longest: 0 }
    }

    fn granted(&self, reference: u32, read_only: bool) -> *mut u8 {
        // SAFETY: the entry must be readable and aligned. The grant table is an aligned page of the
        // test, and references below 512, which is all that the guest uses, lie in it.
        let entry =
            unsafe { self.grants.add(reference as usize * 8).cast::<u64>().read_volatile() };
        assert_eq!(entry & 0xffff_ffff, if read_only { 5 } else { 1 }, "grant {reference}");
        pointer((entry >> 32 | self.upper) * PAGE_SIZE_U64)
    }

    /// Takes the frames that the guest has sent. A client that takes long packets gets them whole.
    fn take(&mut self, frames: &mut VecDeque<Vec<u8>>) {
        while self.tx.available(&self.tx_page).expect("the guest is honest") > 0 {
            let first = self.tx.peek(&self.tx_page);
            let (mut frame, mut parts, mut extras) = (Vec::new(), std::vec![], 0);
            let mut request = first;
            loop {
                self.tx.consume();
                let (offset, mut size) = (usize::from(request.offset), usize::from(request.size));
                if parts.is_empty() && first.flags & NETTXF_MORE_DATA != 0 {
                    // The first slot has the length of the frame, and the guest fills its pages.
                    size = PAGE_SIZE - offset;
                }
                let page = self.granted(request.gref, true);
                // SAFETY: the bytes must be valid and not change while the slice lives. The
                // guest's data lie in one page, and it does not write it before the response.
                frame.extend(unsafe { core::slice::from_raw_parts(page.add(offset), size) });
                parts.push(request.id);
                if parts.len() == 1 && first.flags & NETTXF_EXTRA_INFO != 0 {
                    let extra = ExtraInfo::from(self.tx.peek(&self.tx_page));
                    let (gso_type, size) = if frame[12] == 8 { (1, 1460) } else { (2, 1440) };
                    assert_eq!((extra.kind, extra.flags, extra.gso_type), (1, 0, gso_type));
                    assert_eq!(extra.size, size);
                    self.tx.consume();
                    extras += 1;
                }
                if request.flags & NETTXF_MORE_DATA == 0 {
                    break;
                }
                request = self.tx.peek(&self.tx_page);
            }
            assert_eq!(frame.len(), usize::from(first.size));
            assert_eq!(extras == 1, frame.len() > 1514, "{} bytes", frame.len());
            // Where the header of TCP begins.
            let (is_tcp, tcp) = match frame[12..14] {
                [8, 0] => (frame[23] == 6, 34),
                [0x86, 0xdd] => (frame[20] == 6, 54),
                _ => (false, 0),
            };
            assert_eq!(first.flags & NETTXF_CSUM_BLANK != 0, self.long && is_tcp);
            self.longest = self.longest.max(frame.len());
            // The client's stack is to send long packets, too.
            if self.long && is_tcp && frame[tcp + 13] == 0x12 {
                let size = if tcp == 34 { 1460u16 } else { 1440 }.to_be_bytes();
                let option = [2, 4, size[0], size[1]];
                assert_eq!(frame[tcp + 20..tcp + 24], option, "the maximum segment size");
                frame[tcp + 22..tcp + 24].copy_from_slice(&60_000u16.to_be_bytes());
            }
            frames.push_back(frame);
            for id in parts {
                self.tx.respond(&self.tx_page, &TxResponse { id, status: 0 });
            }
            for _ in 0..extras {
                self.tx.respond(&self.tx_page, &TxResponse { id: 0, status: NETIF_RSP_NULL });
            }
            let _ = self.tx.push(&self.tx_page);
        }
    }

    /// Delivers a frame to the guest. Returns `false` if the guest has not posted the buffers.
    fn deliver(&mut self, frame: &[u8]) -> bool {
        let is_long = frame.len() > 1514;
        let slots = frame.len().div_ceil(PAGE_SIZE) + usize::from(is_long);
        if (self.rx.available(&self.rx_page).expect("the guest is honest") as usize) < slots {
            return false;
        }
        let mut flags = if self.long { NETRXF_CSUM_BLANK } else { 0 };
        let mut parts = frame.chunks(PAGE_SIZE).peekable();
        let mut is_first = true;
        while let Some(part) = parts.next() {
            let request = self.rx.peek(&self.rx_page);
            self.rx.consume();
            let page = self.granted(request.gref, false);
            // SAFETY: the target must be writable and must not overlap the part. It is a page that
            // the guest has posted, and reads only after the response; a part is not longer than a
            // page and lies in a vector of its own.
            unsafe { core::ptr::copy_nonoverlapping(part.as_ptr(), page, part.len()) };
            if parts.peek().is_some() {
                flags |= NETRXF_MORE_DATA;
            }
            let extra = is_long && core::mem::take(&mut is_first);
            if extra {
                flags |= NETRXF_EXTRA_INFO;
            }
            let status = part.len() as i16;
            let response = RxResponse { id: request.id, offset: 0, flags, status };
            self.rx.respond(&self.rx_page, &response);
            if extra {
                self.rx.consume();
                let extra = ExtraInfo { kind: 1, size: 1460, gso_type: 1, ..ExtraInfo::default() };
                self.rx.respond(&self.rx_page, &extra.into());
            }
            flags = 0;
        }
        let _ = self.rx.push(&self.rx_page);
        true
    }
}

/// The client's network device.
#[derive(Default)]
struct Cable {
    received: Option<Vec<u8>>,
    sent: VecDeque<Vec<u8>>,
    /// Whether the client sends and takes long packets without checksums.
    long: bool,
}

struct Received(Vec<u8>);

impl phy::RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, use_frame: F) -> R {
        use_frame(&self.0)
    }
}

struct Sent<'a>(&'a mut VecDeque<Vec<u8>>);

impl phy::TxToken for Sent<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, fill: F) -> R {
        let mut frame = std::vec![0; length];
        let result = fill(&mut frame);
        self.0.push_back(frame);
        result
    }
}

impl Device for Cable {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sent<'a>;

    fn receive(&mut self, _: Time) -> Option<(Received, Sent<'_>)> {
        Some((Received(self.received.take()?), Sent(&mut self.sent)))
    }

    fn transmit(&mut self, _: Time) -> Option<Sent<'_>> {
        Some(Sent(&mut self.sent))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = if self.long { 60_014 } else { 1514 };
        if self.long {
            capabilities.checksum.tcp = phy::Checksum::None;
        }
        capabilities
    }
}

/// The families of a guest's addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "ipv6"), allow(dead_code))]
enum Families {
    Ipv4,
    Ipv6,
    Both,
}

/// A guest with its service, and a client.
struct World {
    _heap: MutexGuard<'static, ()>,
    server: Server<'static, Echo>,
    /// The backend of the last vif, on whose network the client is.
    backend: FakeBackend,
    /// The backends of the vifs before it.
    others: Vec<FakeBackend>,
    client: Interface,
    cable: Cable,
    sockets: SocketSet<'static>,
    to_client: VecDeque<Vec<u8>>,
    now: u64,
    /// One of this many frames is lost; 0 for none.
    lose: usize,
    frames: usize,
    next_port: u16,
}

impl World {
    fn new(memory: usize) -> Self {
        Self::with(memory, false)
    }

    /// Creates a world; with `long`, the backend offers all features.
    fn with(memory: usize, long: bool) -> Self {
        Self::with_vifs(memory, long, 1)
    }

    /// Creates a world whose guest has `count` vifs, each with the same addresses on a network of
    /// its own.
    fn with_vifs(memory: usize, long: bool, count: u16) -> Self {
        Self::with_families(memory, long, count, Families::Ipv4)
    }

    /// As [`with_vifs`](Self::with_vifs), with addresses of these families.
    fn with_families(memory: usize, long: bool, count: u16, families: Families) -> Self {
        let Arena { user, upper } = Arena::new(memory);
        let grants = test_page();
        let ring = |page: *mut u8| {
            let gfn = (page.expose_provenance() / PAGE_SIZE) as u64;
            Ring { grant: 8, gfn }
        };
        let (mut vifs, mut backends) = (Vec::new(), Vec::new());
        for index in 0..count {
            let (tx, rx) = (test_page(), test_page());
            let rings = [ring(tx), ring(rx)];
            let state = DeviceState::Connected;
            let vif = Vif {
                backend: Backend { index, instance: 0, domid: 0, state, port: 3, rings },
                mac: MacAddr([0, 0x16, 0x3e, 0, 0, 1]),
                mtu: 1500,
                ipv4: (families != Families::Ipv6).then_some(Ipv4Config {
                    address: GUEST,
                    prefix: 24,
                    gateway: Some(CLIENT),
                }),
                ipv6: (families != Families::Ipv4).then_some(Ipv6Config {
                    address: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2),
                    prefix: 64,
                    gateway: Some(CLIENT_IPV6),
                }),
                features: if long { VifFeatures::ALL } else { VifFeatures::NONE },
            };
            vifs.push(vif);
            backends.push(FakeBackend::new(tx, rx, grants, upper, long));
        }
        let mut table = GrantTable::over(grants);
        let net = Net::connect(&vifs, &mut table, 5, Instant::from_nanos(0)).unwrap();
        assert!(table.reserve(SPARE_GRANTS).is_some(), "the buffers leave grants for disks");
        let net = std::boxed::Box::leak(std::boxed::Box::new(net));
        let server = Server::new(
            net,
            PORT,
            Echo { open: 0, most: 10_000, held: Rc::default(), job: Job::default() },
        )
        .unwrap();
        let mut cable = Cable { long, ..Cable::default() };
        let config = Config::new(HardwareAddress::Ethernet(EthernetAddress([2, 0, 0, 0, 0, 1])));
        let mut client = Interface::new(config, &mut cable, Time::ZERO);
        client.update_ip_addrs(|addresses| {
            addresses.push(IpCidr::Ipv4(Ipv4Cidr::new(CLIENT, 24))).unwrap();
        });
        Self {
            _heap: user,
            server,
            backend: backends.pop().unwrap(),
            others: backends,
            client,
            cable,
            sockets: SocketSet::new(Vec::new()),
            to_client: VecDeque::new(),
            now: 0,
            lose: 0,
            frames: 0,
            next_port: 40000,
        }
    }

    fn connect(&mut self) -> SocketHandle {
        self.connect_to(GUEST.into())
    }

    fn connect_to(&mut self, address: IpAddress) -> SocketHandle {
        let buffer = || tcp::SocketBuffer::new(std::vec![0; 65536]);
        let mut socket = tcp::Socket::new(buffer(), buffer());
        self.next_port += 1;
        socket.connect(self.client.context(), (address, PORT), self.next_port).unwrap();
        self.sockets.add(socket)
    }

    fn socket(&mut self, handle: SocketHandle) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(handle)
    }

    fn is_lost(&mut self) -> bool {
        self.frames += 1;
        self.lose != 0 && self.frames.is_multiple_of(self.lose)
    }

    /// Runs client, backend and guest until no work is left, then advances the clock by `step`
    /// nanoseconds.
    fn run(&mut self, step: u64) {
        loop {
            let before = self.frames;
            let time = Time::from_micros(i64::try_from(self.now / 1000).unwrap());
            while let Some(frame) = self.to_client.pop_front() {
                if !self.is_lost() {
                    self.cable.received = Some(frame);
                    self.client.poll_ingress_single(time, &mut self.cable, &mut self.sockets);
                }
            }
            while self.client.poll_egress(time, &mut self.cable, &mut self.sockets)
                != smoltcp::iface::PollResult::None
            {}
            while let Some(frame) = self.cable.sent.pop_front() {
                if !self.is_lost() && !self.backend.deliver(&frame) {
                    self.cable.sent.push_front(frame);
                    break;
                }
            }
            while self.server.round(Instant::from_nanos(self.now)).is_none() {
                self.backend.take(&mut self.to_client);
            }
            self.backend.take(&mut self.to_client);
            if self.frames == before && self.to_client.is_empty() && self.cable.sent.is_empty() {
                break;
            }
        }
        self.now += step;
    }
}

impl Drop for World {
    /// Uses up what is left of its memory: the next world's buffers depend on what is free.
    fn drop(&mut self) {
        for size in [64 * 1024, 4096, 64] {
            while heap::take(size, 64).is_some() {}
        }
    }
}

/// Sends `bytes` and returns what comes back.
fn echo(world: &mut World, handle: SocketHandle, bytes: &[u8]) -> Vec<u8> {
    let (mut sent, mut echoed) = (0, Vec::new());
    for _ in 0..20_000 {
        let socket = world.socket(handle);
        if socket.can_send() && sent < bytes.len() {
            sent += socket.send_slice(&bytes[sent..]).unwrap();
        }
        while socket.can_recv() {
            socket.recv(|part| (part.len(), echoed.extend_from_slice(part))).unwrap();
        }
        if echoed.len() >= bytes.len() {
            break;
        }
        world.run(1_000_000);
    }
    echoed
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index * 31 + index / 251) as u8).collect()
}

#[test]
fn the_guest_announces_itself() {
    let mut world = World::new(1 << 20);
    let mut frames = VecDeque::new();
    world.backend.take(&mut frames);
    for target in [GUEST, CLIENT] {
        let frame = frames.pop_front().expect("a frame");
        assert_eq!(frame[..6], [0xff; 6]);
        assert_eq!(frame[12..14], [8, 6]);
        assert_eq!(frame[28..32], GUEST.octets());
        assert_eq!(frame[38..42], target.octets());
    }
}

/// The client has the address from an earlier guest, so it sends no ARP request.
#[test]
fn a_client_that_knows_the_address_is_answered_at_once() {
    let mut world = World::new(1 << 20);
    let guest = Station { mac: MacAddr([0, 0x16, 0x3e, 0, 0, 1]), ip: GUEST };
    let client = Station { mac: MacAddr([2, 0, 0, 0, 0, 1]), ip: CLIENT };
    world.cable.received = Some(guest.reply(client).into());
    world.client.poll_ingress_single(Time::ZERO, &mut world.cable, &mut world.sockets);
    let handle = world.connect();
    world.run(0);
    assert_eq!(world.socket(handle).state(), State::Established);
}

#[test]
fn bytes_come_back_in_order() {
    let mut world = World::new(1 << 20);
    let handle = world.connect();
    let bytes = pattern(300_000);
    assert!(echo(&mut world, handle, &bytes) == bytes);
    world.socket(handle).close();
    for _ in 0..50 {
        world.run(10_000_000);
    }
    // The client closes first, so the client is the end that waits for stray segments.
    assert_eq!(world.socket(handle).state(), State::TimeWait);
    assert!(world.server.connections.slots.iter().all(|slot| !slot.used));
}

#[test]
fn lost_frames_are_retransmitted() {
    let mut world = World::new(1 << 20);
    world.lose = 23;
    let handle = world.connect();
    let bytes = pattern(100_000);
    assert!(echo(&mut world, handle, &bytes) == bytes);
}

/// The client's packets fill many buffers, and the guest's answers are long packets.
#[test]
fn long_packets_are_received_and_sent() {
    for lose in [0, 17] {
        let mut world = World::with(8 << 20, true);
        world.lose = lose;
        let accepted = VifFeatures(world.backend.rx_page.load(vif_ring::ACCEPTED));
        assert!(accepted.contains(VifFeatures::SEGMENT_TCPV4 | VifFeatures::SCATTER));
        let handle = world.connect();
        let bytes = pattern(1_000_000);
        assert!(echo(&mut world, handle, &bytes) == bytes);
        assert!(world.backend.longest > 60_000, "at most {} bytes", world.backend.longest);
        // Small ones are as before.
        assert_eq!(echo(&mut world, handle, b"small"), b"small");
    }
}

#[test]
fn a_small_guest_accepts_no_long_packets() {
    let mut world = World::with(1 << 20, true);
    let accepted = VifFeatures(world.backend.rx_page.load(vif_ring::ACCEPTED));
    assert_eq!(accepted, VifFeatures::BLANK_CHECKSUM);
    assert_eq!(world.server.net.links[0].netif.segments(false), None);
    world.cable.long = false;
    let handle = world.connect();
    world.run(0);
    let bytes = pattern(100);
    assert!(echo(&mut world, handle, &bytes) == bytes);
}

/// A frame with a part that the backend could not copy is dropped, and so is one that does not fit.
/// The guest goes on with the next one.
#[test]
fn incomplete_frames_are_dropped() {
    let mut world = World::with(8 << 20, true);
    let handle = world.connect();
    assert_eq!(echo(&mut world, handle, b"hello"), b"hello");
    let parts = |world: &mut World, statuses: &[i16], flags: u16| {
        let backend = &mut world.backend;
        for (number, status) in statuses.iter().enumerate() {
            let request = backend.rx.peek(&backend.rx_page);
            backend.rx.consume();
            let more = if number + 1 < statuses.len() { NETRXF_MORE_DATA } else { 0 };
            let flags = flags | more;
            let response = RxResponse { id: request.id, offset: 0, flags, status: *status };
            backend.rx.respond(&backend.rx_page, &response);
        }
        let _ = backend.rx.push(&backend.rx_page);
        while world.server.round(Instant::from_nanos(world.now)).is_none() {}
    };
    parts(&mut world, &[4096, -1, 100], 0);
    parts(&mut world, &[-1, 4096], 0);
    parts(&mut world, &[4096; 17], 0);
    parts(&mut world, &[i16::MAX], 0);
    // The rest is missing.
    parts(&mut world, &[100], NETRXF_MORE_DATA);
    assert_eq!(echo(&mut world, handle, b"goes on"), b"goes on");
    for _ in 0..100 {
        assert_eq!(echo(&mut world, handle, &pattern(5000)), pattern(5000));
    }
}

#[test]
fn many_clients_are_served_and_slots_are_reused() {
    let mut world = World::new(1 << 20);
    let most = world.server.connections.most_sessions();
    assert!(most >= 8, "{most} connections in 1 MiB");
    for round in 0..3 {
        let handles: Vec<_> = (0..most).map(|_| world.connect()).collect();
        for (number, handle) in handles.iter().enumerate() {
            let bytes = pattern(100 + number);
            assert_eq!(echo(&mut world, *handle, &bytes), bytes, "client {number}");
        }
        assert_eq!(world.server.service.open, most * (round + 1));
        for handle in handles {
            world.socket(handle).abort();
        }
        for _ in 0..20 {
            world.run(1_000_000);
        }
        assert!(world.server.connections.slots.iter().all(|slot| !slot.used));
    }
}

#[test]
fn streams_of_many_clients_do_not_mix() {
    let mut world = World::new(1 << 20);
    let handles: Vec<_> = (0..6).map(|_| world.connect()).collect();
    let sent: Vec<Vec<u8>> = (0..handles.len())
        .map(|client| pattern(60_000).into_iter().map(|byte| byte ^ client as u8).collect())
        .collect();
    let (mut offsets, mut echoed) = ([0; 6], std::vec![Vec::new(); 6]);
    for _ in 0..5000 {
        for (client, handle) in handles.iter().enumerate() {
            let socket = world.socket(*handle);
            if socket.can_send() && offsets[client] < sent[client].len() {
                offsets[client] += socket.send_slice(&sent[client][offsets[client]..]).unwrap();
            }
            while socket.can_recv() {
                let all: &mut Vec<u8> = &mut echoed[client];
                socket.recv(|part| (part.len(), all.extend_from_slice(part))).unwrap();
            }
        }
        if echoed.iter().zip(&sent).all(|(echoed, sent)| echoed.len() >= sent.len()) {
            break;
        }
        world.run(1_000_000);
    }
    assert!(echoed == sent);
}

#[test]
fn another_port_is_refused() {
    let mut world = World::new(1 << 20);
    let buffer = || tcp::SocketBuffer::new(std::vec![0; 4096]);
    let mut socket = tcp::Socket::new(buffer(), buffer());
    socket.connect(world.client.context(), (GUEST, PORT + 1), 50_000).unwrap();
    let handle = world.sockets.add(socket);
    for _ in 0..3 {
        world.run(1_000_000_000);
    }
    assert_eq!(world.socket(handle).state(), State::Closed);
}

#[test]
fn an_idle_guest_wakes_only_for_keep_alives() {
    let mut world = World::new(1 << 20);
    assert_eq!(world.server.round(Instant::from_nanos(0)).map(|wait| wait.deadline), Some(None));
    let handle = world.connect();
    assert_eq!(echo(&mut world, handle, b"hello"), b"hello");
    // Outdated deadlines are dropped when they come.
    for _ in 0..200 {
        world.run(10_000_000);
    }
    let wait = world.server.round(Instant::from_nanos(world.now)).expect("nothing to do");
    let until = wait.deadline.expect("keep-alive").since(Instant::from_nanos(world.now));
    assert!(until.as_secs() >= 60, "wakes in {until:?}");
}

#[test]
fn a_ring_with_an_impossible_index_is_not_used_any_more() {
    let mut world = World::new(1 << 20);
    world.backend.rx_page.store(RSP_PROD, 60_000);
    assert!(world.server.round(Instant::from_nanos(0)).is_some());
    assert!(world.server.net.links[0].netif.rx.receive().is_none());
}

#[test]
fn fragments_are_dropped_and_reported() {
    let mut world = World::new(1 << 20);
    let handle = world.connect();
    world.run(0);
    assert!(!world.server.fragments_reported);
    let mut frame = [0; 14 + 20 + 8];
    frame[..6].copy_from_slice(&[0, 0x16, 0x3e, 0, 0, 1]);
    frame[6..14].copy_from_slice(&[2, 0, 0, 0, 0, 1, 8, 0]);
    // Version and header length, total length, "more fragments", ICMP.
    (frame[14], frame[17], frame[20], frame[22], frame[23]) = (0x45, 28, 0x20, 64, 1);
    frame[26..30].copy_from_slice(&CLIENT.octets());
    frame[30..34].copy_from_slice(&GUEST.octets());
    for _ in 0..3 {
        assert!(world.backend.deliver(&frame));
        while world.server.round(Instant::from_nanos(world.now)).is_none() {}
    }
    assert!(world.server.fragments_reported);
    assert_eq!(echo(&mut world, handle, b"goes on"), b"goes on");
}

#[test]
fn work_beside_the_connections_goes_on_until_it_waits_for_its_port() {
    let mut world = World::new(1 << 20);
    world.run(1000);
    world.server.service.job = Job { parts: 3, waits: 1 };
    let now = Instant::from_nanos(world.now);
    for part in 0..3 {
        assert_eq!(world.server.round(now), None, "part {part}");
    }
    let ports: Vec<_> = (0..2).map(|_| world.server.round(now).unwrap().port).collect();
    assert_eq!(ports, [Some(Port(9)), None]);
}
