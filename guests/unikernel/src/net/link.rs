// SPDX-License-Identifier: MIT OR Apache-2.0
//! A network interface with its address and its protocols.

use core::num::NonZeroU16;

use noxs::{Ipv4Config, Vif};
use smoltcp::iface::{Config, Interface, PollResult};
use smoltcp::time::Instant as Time;
use smoltcp::wire::{HardwareAddress, IpCidr, Ipv4Cidr};

use super::connections::Connection;
use super::ethernet::{ETHERNET_HEADER, Station};
use super::netif::{Exchange, Netif};
use super::smoltcp_time;
use crate::clock::Instant;
use crate::grant::GrantTable;

/// A network interface that has an address.
pub(crate) struct Link {
    pub(crate) netif: Netif,
    pub(crate) interface: Interface,
    /// The same interface, for packets that the backend segments.
    long_interface: Interface,
    pub(crate) station: Station,
    /// Whether the last burst of frames ended before there were no more.
    pub(crate) more: bool,
    /// Whether a connection has more to send than there is room for.
    pub(crate) blocked: bool,
    /// The number of its vif and its instance.
    #[cfg(feature = "hot-plug")]
    pub(crate) vif: (u16, u32),
    /// Whether it is not used any more, because dom0 removes the vif.
    #[cfg(feature = "hot-plug")]
    pub(crate) is_closed: bool,
}

impl Link {
    /// Starts an interface and announces it to the neighbours. `buffers` are the numbers of frame
    /// buffers and of buffers for long frames. Returns `None` if memory or grant entries do not
    /// suffice. Not inlined, because an image is copied for each guest.
    #[inline(never)]
    pub(crate) fn new(
        vif: &Vif,
        ipv4: Ipv4Config,
        buffers: (usize, usize),
        table: &mut GrantTable,
        seed: u64,
        now: Instant,
    ) -> Option<Self> {
        Netif::new(vif, buffers.0, buffers.1, table)
            .map(|netif| Self::start(netif, vif, ipv4, seed, now))
    }

    /// Starts an interface whose rings and buffers exist.
    #[inline(never)]
    pub(crate) fn start(
        mut netif: Netif,
        vif: &Vif,
        ipv4: Ipv4Config,
        seed: u64,
        now: Instant,
    ) -> Self {
        let cidr = Ipv4Cidr::new(ipv4.address, ipv4.prefix);
        // Only the first one accepts connections, so their sequence numbers differ.
        let plain = interface(&mut netif, cidr, None, seed, now);
        let long_interface = interface(&mut netif, cidr, Some(NonZeroU16::MAX), seed, now);
        let station = Station { mac: vif.mac, ip: ipv4.address };
        netif.tx.send_bytes(&station.announcement());
        // Most clients come through the gateway. The request makes it learn this guest's address;
        // its reply does not matter.
        if let Some(gateway) = ipv4.gateway {
            netif.tx.send_bytes(&station.request(gateway));
        }
        netif.start();
        let (more, blocked) = (false, false);
        Self {
            netif,
            interface: plain,
            long_interface,
            station,
            more,
            blocked,
            #[cfg(feature = "hot-plug")]
            vif: (vif.backend.index, vif.backend.instance),
            #[cfg(feature = "hot-plug")]
            is_closed: false,
        }
    }

    /// Returns whether dom0 has not removed its vif.
    #[cfg(feature = "hot-plug")]
    pub(crate) fn is_open(&self) -> bool {
        !self.is_closed
    }

    /// Returns whether dom0 has not removed its vif.
    #[cfg(not(feature = "hot-plug"))]
    pub(crate) fn is_open(&self) -> bool {
        true
    }

    /// Sends what a connection has to send, as far as there is room: in long packets if it is much.
    pub(crate) fn send<S>(&mut self, connection: &mut Connection<S>, time: Time) {
        let Self { netif, interface, long_interface, .. } = self;
        let segments = netif.segments().filter(|_| connection.takes_long);
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

/// Returns smoltcp's side of an interface. Not inlined, because an image is copied for each guest.
#[inline(never)]
fn interface(
    netif: &mut Netif,
    address: Ipv4Cidr,
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
        // Adding cannot fail: the list is empty and has room for one.
        let _ = addresses.push(IpCidr::Ipv4(address));
    });
    interface
}
