// SPDX-License-Identifier: MIT OR Apache-2.0
//! The network interface as a device of smoltcp, for one packet.

use core::num::NonZeroU16;

use smoltcp::phy::{self, ChecksumCapabilities, Device, DeviceCapabilities, Medium};
use smoltcp::time::Instant;
use xen_abi::io::netif::{
    NETTXF_CSUM_BLANK, NETTXF_DATA_VALIDATED, XEN_NETIF_GSO_TYPE_TCPV4, XEN_NETIF_GSO_TYPE_TCPV6,
};

use super::tx::{Segments, Sending, TxQueue};
use crate::net::buffers::LONG_FRAME;
use crate::net::ethernet::{ETHERNET_HEADER, Header, is_ipv6};

/// The device that smoltcp sees: at most one received packet, and the queue of sent frames.
#[derive(Debug)]
pub(crate) struct Exchange<'a> {
    pub(crate) packet: Option<&'a [u8]>,
    /// The header of each sent frame.
    pub(crate) header: Header,
    pub(crate) tx: &'a mut TxQueue,
    pub(crate) mtu: usize,
    /// The size of the segments of long packets, if packets of TCP may be long.
    pub(crate) segments: Option<NonZeroU16>,
}

/// The received packet.
#[derive(Debug)]
pub(crate) struct RxToken<'a>(&'a [u8]);

/// The right to send one packet.
#[derive(Debug)]
pub(crate) struct TxToken<'a> {
    header: Header,
    tx: &'a mut TxQueue,
    mtu: usize,
    segments: Option<NonZeroU16>,
}

/// Where the protocol is in an IPv4 packet and in one of IPv6, and the number of TCP.
const IPV4_PROTOCOL: usize = 9;
const IPV6_PROTOCOL: usize = 6;
const TCP: u8 = 6;

impl phy::RxToken for RxToken<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, use_packet: F) -> R {
        use_packet(self.0)
    }
}

impl phy::TxToken for TxToken<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, fill: F) -> R {
        let Self { header: own_header, tx, mtu, segments } = self;
        let offloads = tx.offloads;
        let segments = segments.filter(|_| length > mtu);
        tx.send(ETHERNET_HEADER + length, |frame| {
            let (header, packet) = frame.split_at_mut(ETHERNET_HEADER);
            header.copy_from_slice(&own_header);
            let result = fill(packet);
            let (protocol, gso_type) = match is_ipv6(&own_header) {
                false => (IPV4_PROTOCOL, XEN_NETIF_GSO_TYPE_TCPV4),
                true => (IPV6_PROTOCOL, XEN_NETIF_GSO_TYPE_TCPV6),
            };
            let segments = segments.map(|size| Segments { size, gso_type });
            let is_blank = offloads && packet.get(protocol) == Some(&TCP);
            let flags = if is_blank { NETTXF_CSUM_BLANK | NETTXF_DATA_VALIDATED } else { 0 };
            (result, Sending { flags, segments })
        })
    }
}

impl Device for Exchange<'_> {
    type RxToken<'a>
        = RxToken<'a>
    where
        Self: 'a;
    type TxToken<'a>
        = TxToken<'a>
    where
        Self: 'a;

    fn receive(&mut self, _: Instant) -> Option<(RxToken<'_>, TxToken<'_>)> {
        let tx = TxToken { header: self.header, tx: self.tx, segments: None, mtu: self.mtu };
        self.packet.take().map(|packet| (RxToken(packet), tx))
    }

    fn transmit(&mut self, _: Instant) -> Option<TxToken<'_>> {
        let Self { header, tx, mtu, segments, .. } = self;
        let has_room = tx.has_room() && (segments.is_none() || tx.has_long_room());
        has_room.then_some(TxToken { header: *header, tx, mtu: *mtu, segments: *segments })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mtu = if self.segments.is_some() { LONG_FRAME - ETHERNET_HEADER } else { self.mtu };
        capabilities(mtu, self.tx.offloads)
    }
}

/// Returns the properties of the interface for smoltcp.
fn capabilities(mtu: usize, offloads: bool) -> DeviceCapabilities {
    let mut capabilities = DeviceCapabilities::default();
    capabilities.medium = Medium::Ip;
    capabilities.max_transmission_unit = mtu;
    // smoltcp computes all checksums, except that `super::segment` verifies received TCP and the
    // backend may compute those of sent TCP.
    capabilities.checksum = ChecksumCapabilities::default();
    capabilities.checksum.tcp = if offloads { phy::Checksum::None } else { phy::Checksum::Tx };
    capabilities
}
