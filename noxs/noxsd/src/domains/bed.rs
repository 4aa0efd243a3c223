// SPDX-License-Identifier: GPL-3.0-or-later
//! A test bed: domains on a fake Xen, with the tests as guests.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;
use std::time::Instant;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use noxs::layout::vif_ring;
use noxs::{MacAddr, VifFeatures, eui64};
use noxs_control::{
    AddressInUse, AddressOwner, Attach, ConsoleDevice, DeviceCounters, DomainId, Refusal,
    VifAddress, VifDevice, VifIdentity, VifStatus,
};
use tap::VNET_HEADER;
use xen_abi::io::netif::{ExtraInfo, NETTXF_EXTRA_INFO, NETTXF_MORE_DATA, RxResponse};
use xen_ring::SharedPage;

use super::device::Device;
use super::{AttachedAs, Domains};
use crate::console::{ClientId, Clients, ConsoleLog};
pub(crate) use crate::host::fake::{
    CONSOLE_REF, DATA_REF, DATA_REFS, FakeHost, FakePage, RX_REF, TX_REF,
};
use crate::host::{Host, LocalPort};
use crate::net::BridgeId;
use crate::net::dom0::netlink::{InterfaceIndex, Message};
use crate::net::frame::build;
use crate::net::frontend;
use crate::net::transfer::LONGEST;

#[derive(Default)]
pub(super) struct FakeClients {
    pub(super) output: Vec<u8>,
    pub(super) closed: Vec<ClientId>,
    pub(super) wanted: usize,
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

pub(super) struct Bed {
    pub(super) domains: Domains<FakeHost>,
    pub(super) clients: FakeClients,
    /// The other end of the tap: the bridge.
    pub(super) bridge: File,
    pub(super) now: Instant,
}

impl Bed {
    pub(super) fn new() -> Self {
        let flags = SockFlag::SOCK_NONBLOCK;
        let (tap, bridge) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags).unwrap();
        let now = Instant::now();
        let mut domains = Domains::new(FakeHost::default(), now);
        domains.add_switch("xenbr0", File::from(tap), now).unwrap();
        Self { domains, clients: FakeClients::default(), bridge: File::from(bridge), now }
    }

    /// Adds an address of dom0 on the bridge, or removes it.
    pub(super) fn dom0_address(&mut self, address: impl Into<IpAddr>, exists: bool) {
        let address = address.into();
        let index = InterfaceIndex(5);
        let mac = Some(mac(254));
        let bridge = Message::Interface { index, name: "xenbr0".to_owned(), mac };
        let address = match exists {
            true => Message::Address(index, address),
            false => Message::AddressRemoved(index, address),
        };
        self.domains.update_interfaces([bridge, address].into_iter());
    }

    pub(super) fn guest(&mut self, domid: u16) {
        self.domains.host.guest(domid);
    }

    pub(super) fn page(&self, domid: u16, gref: u32) -> FakePage {
        self.domains.host.pages[&(domid, gref)].clone()
    }

    pub(super) fn attach(&mut self, attach: &Attach) -> Result<(), Refusal> {
        self.attach_as(attach, AttachedAs::New)
    }

    pub(super) fn attach_as(&mut self, attach: &Attach, guest: AttachedAs) -> Result<(), Refusal> {
        let log = attach.console.map(|_| log());
        self.domains.attach(attach, log, guest, self.now, &mut self.clients)
    }

    /// Attaches a running guest with a console and a vif.
    pub(super) fn running(&mut self, domid: u16) -> Attach {
        self.guest(domid);
        let attach = attach(domid);
        self.attach(&attach).unwrap();
        attach
    }

    /// Returns the devices of a guest: console, vif.
    pub(super) fn devices(&self, domid: u16) -> &[Device<<FakeHost as Host>::Memory>] {
        &self.domains.slots[self.domains.by_domid.get(domid.into()).unwrap().0].devices
    }

    /// Returns the local ports of a guest: console, vif.
    pub(super) fn ports(&self, domid: u16) -> (LocalPort, LocalPort) {
        let [console, vif] = self.devices(domid) else {
            panic!("the guest does not have two devices")
        };
        (console.port.unwrap(), vif.port.unwrap())
    }

    pub(super) fn vif_port(&self, domid: u16) -> LocalPort {
        self.devices(domid)[1].port.unwrap()
    }

    /// Puts a frame into a data page of the guest and sends it.
    pub(super) fn send(&mut self, domid: u16, slot: u16, frame: &[u8]) {
        let gref = DATA_REF + u32::from(slot) % DATA_REFS;
        self.page(domid, gref).write(0, frame);
        let length = u16::try_from(frame.len()).unwrap();
        frontend::send(&self.page(domid, TX_REF), gref, 0, 0, slot, length);
    }

    /// Writes what a guest accepts into its receive ring's page.
    pub(super) fn accept(&mut self, domid: u16, features: VifFeatures) {
        self.page(domid, RX_REF).store(vif_ring::ACCEPTED, features.0);
    }

    /// Puts a frame into data pages of the guest from `first` on, and sends it in parts of these
    /// sizes. `flags` and `extra` are those of the first request. Returns the number of slots.
    pub(super) fn send_parts(
        &mut self,
        domid: u16,
        first: u16,
        frame: &[u8],
        parts: &[usize],
        (flags, extra): (u16, Option<ExtraInfo>),
    ) -> u16 {
        let ring = self.page(domid, TX_REF);
        let mut at = 0;
        for (id, size) in (first..).zip(parts) {
            let gref = DATA_REF + u32::from(id) % DATA_REFS;
            // Each part somewhere else in its page.
            let offset = (usize::from(id) * 8).min(4096 - size);
            self.page(domid, gref).write(offset, &frame[at..at + size]);
            let is_first = at == 0;
            let length = if is_first { frame.len() } else { *size };
            at += size;
            let more = if at < frame.len() { NETTXF_MORE_DATA } else { 0 };
            let [offset, length] = [offset, length].map(|number| u16::try_from(number).unwrap());
            let has_extra = if extra.is_some() { NETTXF_EXTRA_INFO } else { 0 };
            let flags = if is_first { flags | has_extra | more } else { more };
            frontend::send(&ring, gref, offset, flags, id, length);
            if is_first && let Some(extra) = extra {
                frontend::send_extra(&ring, extra);
            }
        }
        assert_eq!(at, frame.len());
        u16::try_from(parts.len()).unwrap() + u16::from(extra.is_some())
    }

    /// Returns the responses with which a guest has received frames, from number `from` on: flags,
    /// and bytes of the data pages that were posted under their identifiers.
    pub(super) fn received_parts(&self, domid: u16, from: u32) -> Vec<(u16, Vec<u8>)> {
        let ring = self.page(domid, RX_REF);
        let parts = (from..frontend::responses(&ring)).map(|index| {
            let RxResponse { id, offset, flags, status } = frontend::rx_slot(&ring, index);
            let mut bytes = vec![0; usize::try_from(status).unwrap_or(0).min(4096)];
            if usize::from(offset) + bytes.len() <= 4096 && u32::from(id) < DATA_REFS {
                self.page(domid, DATA_REF + u32::from(id)).read(offset.into(), &mut bytes);
            }
            (flags, bytes)
        });
        parts.collect()
    }

    /// Raises the vif's event and serves until no device is ready.
    pub(super) fn run(&mut self, domid: u16) {
        let port = self.vif_port(domid);
        self.domains.event(port);
        self.settle();
    }

    /// Serves until no device is ready.
    pub(super) fn settle(&mut self) {
        while self.domains.has_work() {
            self.domains.turn(self.now, &mut self.clients);
        }
    }

    /// Posts `count` pages of the guest for frames.
    pub(super) fn post(&mut self, domid: u16, count: u16) {
        for id in 0..count {
            frontend::post(&self.page(domid, RX_REF), id, DATA_REF + u32::from(id));
        }
    }

    /// Returns the statuses of the guest's received frames.
    pub(super) fn received(&self, domid: u16) -> Vec<i16> {
        let ring = self.page(domid, RX_REF);
        (0..frontend::responses(&ring)).map(|i| frontend::rx_response(&ring, i).1).collect()
    }

    /// Returns the identifiers and statuses of the guest's sent frames.
    pub(super) fn sent(&self, domid: u16) -> Vec<(u16, i16)> {
        let ring = self.page(domid, TX_REF);
        (0..frontend::responses(&ring)).map(|i| frontend::tx_response(&ring, i)).collect()
    }

    /// Takes a frame that noxsd has sent to the tap, without its header.
    pub(super) fn frame_out(&mut self) -> Option<Vec<u8>> {
        self.frame_out_with_header().map(|(_, frame)| frame)
    }

    /// Takes a frame that noxsd has sent to the tap, and its header.
    pub(super) fn frame_out_with_header(&mut self) -> Option<([u8; VNET_HEADER], Vec<u8>)> {
        let mut frame = vec![0; VNET_HEADER + LONGEST];
        let length = self.bridge.read(&mut frame).ok()?;
        let (header, frame) = frame[..length].split_first_chunk().unwrap();
        Some((*header, frame.to_vec()))
    }

    /// Puts a frame into the tap, for which nothing is left to do.
    pub(super) fn write_to_tap(&mut self, frame: &[u8]) {
        self.write_to_tap_with([0; VNET_HEADER], frame);
    }

    /// Puts a frame with a header into the tap.
    pub(super) fn write_to_tap_with(&mut self, header: [u8; VNET_HEADER], frame: &[u8]) {
        self.bridge.write_all(&[&header[..], frame].concat()).unwrap();
    }

    /// Sends a frame through the tap and serves until no device is ready.
    pub(super) fn frame_in(&mut self, frame: &[u8]) {
        self.frame_in_with([0; VNET_HEADER], frame);
    }

    /// Sends a frame with a header through the tap and serves until no device is ready.
    pub(super) fn frame_in_with(&mut self, header: [u8; VNET_HEADER], frame: &[u8]) {
        self.write_to_tap_with(header, frame);
        self.domains.tap_ready(BridgeId(0));
        self.settle();
    }

    /// Returns the faults of a guest's devices.
    pub(super) fn broken(&self, attach: &Attach) -> Vec<Option<String>> {
        let status = self.domains.status(attach.id).unwrap();
        status.devices.into_iter().map(|device| device.broken).collect()
    }

    /// Returns the counters of the guest's vif.
    pub(super) fn traffic(&self, attach: &Attach) -> VifStatus {
        match self.domains.status(attach.id).unwrap().devices.pop().unwrap().counters {
            DeviceCounters::Vif(status) => status,
            other => panic!("the last device is not a vif: {other:?}"),
        }
    }

    /// Sends a frame through the tap and serves a few turns: hostile guests may always be ready.
    pub(super) fn frame_in_once(&mut self, frame: &[u8]) {
        self.write_to_tap(frame);
        self.domains.tap_ready(BridgeId(0));
        for _ in 0..20 {
            self.domains.turn(self.now, &mut self.clients);
        }
    }
}

pub(super) fn mac(domid: u16) -> MacAddr {
    MacAddr([0, 0x16, 0x3e, 0, 0, domid.to_le_bytes()[0]])
}

pub(super) fn ip(domid: u16) -> Ipv4Addr {
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
        vbds: Vec::new(),
    }
}

pub(super) fn identity(domid: u16) -> VifIdentity {
    VifIdentity { mac: mac(domid), ipv4: Some(ip(domid)), ipv6: None, mtu: 1500, rate: None }
}

/// Returns the global IPv6 address of a domain's vif, if it gets one.
pub(super) fn ip6(domid: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, domid)
}

/// Returns an IPv6 frame to all nodes, with a message of ICMPv6 from the link-local address of a
/// MAC address.
pub(super) fn icmpv6(from: MacAddr, message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len()).unwrap().to_be_bytes();
    let all_nodes = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    let source = eui64::link_local(from).octets();
    let packet =
        [&[0x60, 0, 0, 0, length[0], length[1], 58, 255], &source[..], &all_nodes, message];
    build::ethernet(MacAddr([0x33, 0x33, 0, 0, 0, 1]), from, 0x86dd, &packet.concat())
}

/// Returns the refusal of a MAC address that is in use.
pub(super) fn mac_in_use(mac: MacAddr, owner: AddressOwner) -> Refusal {
    Refusal::AddressInUse(AddressInUse { address: VifAddress::Mac(mac), owner })
}

/// Returns the refusal of an IPv4 address that is in use.
pub(super) fn ipv4_in_use(ipv4: Ipv4Addr, owner: AddressOwner) -> Refusal {
    Refusal::AddressInUse(AddressInUse { address: VifAddress::Ipv4(ipv4), owner })
}

/// Returns the refusal of an IPv6 address that is in use.
pub(super) fn ipv6_in_use(ipv6: Ipv6Addr, owner: AddressOwner) -> Refusal {
    Refusal::AddressInUse(AddressInUse { address: VifAddress::Ipv6(ipv6), owner })
}

/// Returns the identity of the first vif.
pub(super) fn first(attach: &mut Attach) -> &mut VifIdentity {
    attach.vifs[0].identity.as_mut().unwrap()
}

pub(super) fn log() -> ConsoleLog {
    let name = format!("noxsd-console-{:?}-{}", std::thread::current().id(), std::process::id());
    let path = std::env::temp_dir().join(name);
    let file = OpenOptions::new().read(true).append(true).create(true).open(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    ConsoleLog::new(OwnedFd::from(file)).unwrap()
}

pub(super) fn frame_to(to: u16, from: u16) -> Vec<u8> {
    build::ipv4(mac(to), mac(from), ip(from))
}
