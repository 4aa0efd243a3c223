// SPDX-License-Identifier: MIT OR Apache-2.0
//! A network interface with its address and its protocols.

#[cfg(feature = "hot-plug")]
use core::fmt;
use core::num::NonZeroU16;

use noxs::Vif;
#[cfg(feature = "ipv6")]
use noxs::eui64::link_local;
use smoltcp::iface::{Config, Interface, PollResult};
use smoltcp::time::Instant as Time;
#[cfg(feature = "ipv6")]
use smoltcp::wire::Ipv6Cidr;
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr, Ipv4Address, Ipv4Cidr};

use super::connections::Connection;
use super::ethernet::{ETHERNET_HEADER, Header, Received, Station, is_ipv6};
#[cfg(feature = "ipv6")]
use super::neighbour::{Neighbour, ReceivedIpv6};
use super::netif::{Exchange, Netif, TxQueue};
use super::smoltcp_time;
use crate::clock::Instant;
use crate::grant::GrantTable;

/// A network interface that has an address.
pub(crate) struct Link {
    pub(crate) netif: Netif,
    pub(crate) interface: Interface,
    /// The same interface, for packets that the backend segments.
    long_interface: Interface,
    pub(crate) stations: Stations,
    /// Whether the last burst of frames ended before there were no more.
    pub(crate) more: bool,
    /// Whether a connection has more to send than there is room for.
    pub(crate) blocked: bool,
    /// The number of its vif and its instance; `None` if dom0 has removed the vif.
    #[cfg(feature = "hot-plug")]
    pub(crate) vif: Option<(u16, u32)>,
}

/// The addresses of an interface.
#[derive(Debug)]
pub(crate) struct Stations {
    station: Station,
    /// The IPv6 address, if it has one, and the link-local address.
    #[cfg(feature = "ipv6")]
    neighbours: Option<[Neighbour; 2]>,
}

impl Link {
    /// Starts an interface and announces it to the neighbours. `buffers` are the numbers of frame
    /// buffers and of buffers for long frames. Returns `None` if memory or grant entries do not
    /// suffice. Not inlined, because an image is copied for each guest.
    #[inline(never)]
    pub(crate) fn new(
        vif: &Vif,
        buffers: (usize, usize),
        table: &mut GrantTable,
        seed: u64,
        now: Instant,
    ) -> Option<Self> {
        Netif::new(vif, buffers.0, buffers.1, table).map(|netif| Self::start(netif, vif, seed, now))
    }

    /// Starts an interface whose rings and buffers exist.
    #[inline(never)]
    pub(crate) fn start(mut netif: Netif, vif: &Vif, seed: u64, now: Instant) -> Self {
        // Only the first one accepts connections, so their sequence numbers differ.
        let plain = interface(&mut netif, vif, None, seed, now);
        let long_interface = interface(&mut netif, vif, Some(NonZeroU16::MAX), seed, now);
        let ip = vif.ipv4.map_or(Ipv4Address::UNSPECIFIED, |ipv4| ipv4.address);
        let station = Station { mac: vif.mac, ip };
        if let Some(ipv4) = vif.ipv4 {
            netif.tx.send_bytes(&station.announcement());
            // Most clients come through the gateway. The request makes it learn this guest's
            // address; its reply does not matter.
            if let Some(gateway) = ipv4.gateway {
                netif.tx.send_bytes(&station.request(gateway));
            }
        }
        #[cfg(feature = "ipv6")]
        let neighbours = vif.ipv6.map(|ipv6| {
            let neighbour = Neighbour { mac: vif.mac, ip: ipv6.address };
            netif.tx.send_bytes(&neighbour.announcement());
            if let Some(gateway) = ipv6.gateway {
                netif.tx.send_bytes(&neighbour.solicit(gateway));
            }
            // No neighbour has an earlier owner of the link-local address in its cache: the MAC
            // address would be the same.
            [neighbour, Neighbour { mac: vif.mac, ip: link_local(vif.mac) }]
        });
        netif.start();
        Self {
            netif,
            interface: plain,
            long_interface,
            stations: Stations {
                station,
                #[cfg(feature = "ipv6")]
                neighbours,
            },
            more: false,
            blocked: false,
            #[cfg(feature = "hot-plug")]
            vif: Some((vif.backend.index, vif.backend.instance)),
        }
    }

    /// Returns whether dom0 has not removed its vif.
    #[cfg(feature = "hot-plug")]
    pub(crate) fn is_open(&self) -> bool {
        self.vif.is_some()
    }

    /// Returns whether dom0 has not removed its vif.
    #[cfg(not(feature = "hot-plug"))]
    pub(crate) fn is_open(&self) -> bool {
        true
    }

    /// Sends what a connection has to send, as far as there is room: in long packets if it is much.
    pub(crate) fn send<S>(&mut self, connection: &mut Connection<S>, time: Time) {
        let Self { netif, interface, long_interface, .. } = self;
        let segments =
            netif.segments(is_ipv6(&connection.header)).filter(|_| connection.takes_long);
        let is_much = connection.socket().send_queue() > netif.mtu;
        let (header, sockets) = (connection.header, &mut connection.sockets);
        let (tx, mtu) = (&mut netif.tx, netif.mtu);
        if segments.is_some() && is_much {
            let mut exchange = Exchange { packet: None, header, tx, mtu, segments };
            while long_interface.poll_egress(time, &mut exchange, sockets) != PollResult::None {}
        }
        let mut exchange = Exchange { packet: None, header, tx, mtu, segments: None };
        while interface.poll_egress(time, &mut exchange, sockets) != PollResult::None {}
    }

    /// Requests an event for the next frame, or for room to send if a connection waits for it.
    /// Returns whether there is work already.
    #[inline(never)]
    pub(crate) fn prepare_to_wait(&mut self) -> bool {
        if !self.is_open() {
            return false;
        }
        // Without room to send, nothing is received either, because the answer would be lost.
        let for_room = self.blocked || !self.netif.tx.has_room();
        (self.more && !for_room) || self.netif.prepare_to_wait(for_room)
    }
}

#[cfg(feature = "hot-plug")]
impl fmt::Display for Stations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, address) in self.addresses().enumerate() {
            let separator = if number == 0 { "" } else { ", " };
            write!(f, "{separator}{address}")?;
        }
        Ok(())
    }
}

impl Stations {
    /// Returns the addresses that dom0 has assigned.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = IpAddress> + use<> {
        let ipv4 = (!self.station.ip.is_unspecified()).then_some(IpAddress::Ipv4(self.station.ip));
        #[cfg(feature = "ipv6")]
        let ipv6 = self.neighbours.map(|[neighbour, _]| IpAddress::Ipv6(neighbour.ip));
        #[cfg(not(feature = "ipv6"))]
        let ipv6 = None;
        [ipv4, ipv6].into_iter().flatten()
    }

    /// Parses a frame, and answers one that asks for the hardware address. Returns the header of
    /// frames that answer it if it has a packet for the interface.
    pub(crate) fn accept(&self, frame: &[u8], tx: &mut TxQueue) -> Option<Header> {
        match self.station.receive(frame) {
            Some(Received::Ipv4 { answer, .. }) => Some(answer),
            Some(Received::ArpRequest(asker)) => {
                tx.send_bytes(&self.station.reply(asker));
                None
            }
            None => self.accept_ipv6(frame, tx),
        }
    }

    #[cfg(feature = "ipv6")]
    fn accept_ipv6(&self, frame: &[u8], tx: &mut TxQueue) -> Option<Header> {
        let neighbours = self.neighbours.as_ref()?;
        let received = |own: &Neighbour| Some((*own, own.receive(frame)?));
        match neighbours.iter().find_map(received)? {
            (_, ReceivedIpv6::Packet(answer)) => Some(answer),
            (neighbour, ReceivedIpv6::Solicitation(asker)) => {
                tx.send_bytes(&neighbour.advertise_to(asker));
                None
            }
        }
    }

    #[cfg(not(feature = "ipv6"))]
    fn accept_ipv6(&self, _: &[u8], _: &mut TxQueue) -> Option<Header> {
        None
    }
}

/// Returns smoltcp's side of an interface. Not inlined, because an image is copied for each guest.
#[inline(never)]
fn interface(
    netif: &mut Netif,
    vif: &Vif,
    segments: Option<NonZeroU16>,
    seed: u64,
    now: Instant,
) -> Interface {
    let mut config = Config::new(HardwareAddress::Ip);
    config.random_seed = seed;
    let header = [0; ETHERNET_HEADER];
    let (tx, mtu) = (&mut netif.tx, netif.mtu);
    let mut device = Exchange { packet: None, header, tx, mtu, segments };
    let mut interface = Interface::new(config, &mut device, smoltcp_time(now));
    interface.update_ip_addrs(|addresses| {
        // Adding cannot fail: the list is empty and has room for three.
        if let Some(ipv4) = vif.ipv4 {
            let _ = addresses.push(IpCidr::Ipv4(Ipv4Cidr::new(ipv4.address, ipv4.prefix)));
        }
        #[cfg(feature = "ipv6")]
        if let Some(ipv6) = vif.ipv6 {
            let _ = addresses.push(IpCidr::Ipv6(Ipv6Cidr::new(ipv6.address, ipv6.prefix)));
            let _ = addresses.push(IpCidr::Ipv6(Ipv6Cidr::new(link_local(vif.mac), 64)));
        }
    });
    interface
}
