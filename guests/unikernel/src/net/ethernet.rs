// SPDX-License-Identifier: MIT OR Apache-2.0
//! Ethernet and ARP.
//!
//! A guest only answers: its frames go back to the hardware address that the frames of the
//! connection come from. So it has no table of neighbours and sends no ARP request before its first
//! answer. A client that still has the guest's address from an earlier guest is answered as fast as
//! any other. The guest answers ARP requests for its address.

use core::net::Ipv4Addr;

use noxs::MacAddr;

/// The length of an Ethernet header in bytes.
pub(crate) const ETHERNET_HEADER: usize = 14;

/// The length of an ARP packet for Ethernet and IPv4 in bytes (RFC 826).
const ARP_PACKET: usize = 28;

/// The length of a frame with an ARP packet in bytes.
pub(crate) const ARP_FRAME: usize = ETHERNET_HEADER + ARP_PACKET;

/// The start of an ARP packet: Ethernet, IPv4, and the lengths of their addresses.
const ARP_KIND: [u8; 6] = [0, 1, 8, 0, 6, 4];

const REQUEST: [u8; 2] = [0, 1];
const REPLY: [u8; 2] = [0, 2];

const BROADCAST: MacAddr = MacAddr([0xff; 6]);
const UNKNOWN: MacAddr = MacAddr([0; 6]);

/// The protocol that a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EtherType {
    Ipv4,
    Arp,
    #[cfg(feature = "ipv6")]
    Ipv6,
}

impl EtherType {
    pub(super) fn bytes(self) -> [u8; 2] {
        match self {
            #[cfg(feature = "ipv6")]
            Self::Ipv6 => [0x86, 0xdd],
            Self::Ipv4 => [8, 0],
            Self::Arp => [8, 6],
        }
    }
}

/// An Ethernet header.
pub(crate) type Header = [u8; ETHERNET_HEADER];

pub(super) fn header(to: MacAddr, from: MacAddr, ethertype: EtherType) -> Header {
    let mut header = [0; ETHERNET_HEADER];
    header[..6].copy_from_slice(&to.0);
    header[6..12].copy_from_slice(&from.0);
    header[12..].copy_from_slice(&ethertype.bytes());
    header
}

/// Returns whether frames with this header have IPv6 packets.
pub(crate) fn is_ipv6(header: &Header) -> bool {
    #[cfg(feature = "ipv6")]
    return header[12..] == EtherType::Ipv6.bytes();
    #[cfg(not(feature = "ipv6"))]
    {
        let _ = header;
        false
    }
}

/// A hardware address and its IPv4 address; 0.0.0.0 if it has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Station {
    pub(crate) mac: MacAddr,
    pub(crate) ip: Ipv4Addr,
}

/// A received frame that concerns the station.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Received<'a> {
    /// An IPv4 packet, and the header of frames that answer it.
    Ipv4 { packet: &'a [u8], answer: Header },
    /// A request for the station's hardware address.
    ArpRequest(Station),
}

impl Station {
    /// Parses a frame; `None` if it does not concern this station.
    pub(crate) fn receive<'a>(&self, frame: &'a [u8]) -> Option<Received<'a>> {
        let (header_bytes, payload) = frame.split_first_chunk::<ETHERNET_HEADER>()?;
        let to = mac(&header_bytes[..6])?;
        let from = mac(&header_bytes[6..12])?;
        // A group address is not a valid source.
        if from.0[0] & 1 != 0 {
            return None;
        }
        let ethertype = &header_bytes[12..];
        if ethertype == EtherType::Ipv4.bytes() && to == self.mac {
            let answer = header(from, self.mac, EtherType::Ipv4);
            Some(Received::Ipv4 { packet: payload, answer })
        } else if ethertype == EtherType::Arp.bytes() && (to == self.mac || to == BROADCAST) {
            self.requester(payload).map(Received::ArpRequest)
        } else {
            None
        }
    }

    /// Returns the sender of an ARP request for this station's address.
    fn requester(&self, packet: &[u8]) -> Option<Station> {
        let packet = packet.first_chunk::<ARP_PACKET>()?;
        let asks = packet[..6] == ARP_KIND && packet[6..8] == REQUEST;
        if !asks || packet[24..] != self.ip.octets() || self.ip.is_unspecified() {
            return None;
        }
        let ip = Ipv4Addr::from(*packet[14..].first_chunk::<4>()?);
        mac(&packet[8..14]).filter(|mac| mac.0[0] & 1 == 0).map(|mac| Station { mac, ip })
    }

    /// Returns the reply to an ARP request.
    pub(crate) fn reply(&self, asker: Station) -> [u8; ARP_FRAME] {
        self.arp(asker.mac, REPLY, asker)
    }

    /// Returns a gratuitous ARP: the switch learns where the station is, neighbours replace the
    /// entry of an earlier owner of the address, and packets that wait for the address are sent.
    pub(crate) fn announcement(&self) -> [u8; ARP_FRAME] {
        self.arp(BROADCAST, REQUEST, Station { mac: UNKNOWN, ip: self.ip })
    }

    /// Returns a request for a neighbour's hardware address. The neighbour learns the sender's
    /// address from it, so it need not send a request before its first packet.
    pub(crate) fn request(&self, ip: Ipv4Addr) -> [u8; ARP_FRAME] {
        self.arp(BROADCAST, REQUEST, Station { mac: UNKNOWN, ip })
    }

    fn arp(&self, to: MacAddr, operation: [u8; 2], target: Station) -> [u8; ARP_FRAME] {
        let mut frame = [0; ARP_FRAME];
        let parts: [&[u8]; 7] = [
            &header(to, self.mac, EtherType::Arp),
            &ARP_KIND,
            &operation,
            &self.mac.0,
            &self.ip.octets(),
            &target.mac.0,
            &target.ip.octets(),
        ];
        let mut at = 0;
        for part in parts {
            frame[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        frame
    }
}

pub(super) fn mac(bytes: &[u8]) -> Option<MacAddr> {
    bytes.first_chunk().copied().map(MacAddr)
}

#[cfg(test)]
mod tests {
    use smoltcp::wire::{
        ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol,
    };

    use super::*;

    const GUEST: Station =
        Station { mac: MacAddr([0, 0x16, 0x3e, 0, 0, 1]), ip: Ipv4Addr::new(10, 0, 0, 2) };
    const CLIENT: Station =
        Station { mac: MacAddr([2, 0, 0, 0, 0, 1]), ip: Ipv4Addr::new(10, 0, 0, 1) };

    /// Parses a frame with an ARP packet by smoltcp.
    fn read(frame: &[u8]) -> (EthernetAddress, EthernetAddress, ArpRepr) {
        let frame = EthernetFrame::new_checked(frame).unwrap();
        assert_eq!(frame.ethertype(), EthernetProtocol::Arp);
        let arp = ArpRepr::parse(&ArpPacket::new_checked(frame.payload()).unwrap()).unwrap();
        (frame.dst_addr(), frame.src_addr(), arp)
    }

    fn arp(operation: ArpOperation, target: Station) -> ArpRepr {
        ArpRepr::EthernetIpv4 {
            operation,
            source_hardware_addr: EthernetAddress(GUEST.mac.0),
            source_protocol_addr: GUEST.ip,
            target_hardware_addr: EthernetAddress(target.mac.0),
            target_protocol_addr: target.ip,
        }
    }

    #[test]
    fn arp_packets_are_as_smoltcp_reads_them() {
        let (own, all) = (EthernetAddress(GUEST.mac.0), EthernetAddress::BROADCAST);
        let request = |ip| arp(ArpOperation::Request, Station { mac: UNKNOWN, ip });
        assert_eq!(read(&GUEST.announcement()), (all, own, request(GUEST.ip)));
        assert_eq!(read(&GUEST.request(CLIENT.ip)), (all, own, request(CLIENT.ip)));
        let reply = arp(ArpOperation::Reply, CLIENT);
        assert_eq!(read(&GUEST.reply(CLIENT)), (EthernetAddress(CLIENT.mac.0), own, reply));
    }

    #[test]
    fn requests_for_the_guest_are_answered() {
        let request = CLIENT.request(GUEST.ip);
        assert_eq!(GUEST.receive(&request), Some(Received::ArpRequest(CLIENT)));
        // Linux sends the request to one station when it refreshes an entry.
        let mut unicast = request;
        unicast[..6].copy_from_slice(&GUEST.mac.0);
        assert_eq!(GUEST.receive(&unicast), Some(Received::ArpRequest(CLIENT)));
    }

    #[test]
    fn frames_that_do_not_concern_the_guest_are_ignored() {
        let request = CLIENT.request(GUEST.ip);
        for length in 0..request.len() {
            assert_eq!(GUEST.receive(&request[..length]), None, "{length} bytes");
        }
        assert_eq!(GUEST.receive(&CLIENT.request(Ipv4Addr::new(10, 0, 0, 3))), None);
        assert_eq!(GUEST.receive(&CLIENT.announcement()), None);
        assert_eq!(GUEST.receive(&CLIENT.reply(GUEST)), None, "the guest sent no request");
        // The guest must ignore the frame after each of these changes: it is then for another
        // station, of another protocol, or from a group address.
        for (at, byte) in [(0, 2), (6, 3), (12, 9), (15, 6), (17, 6), (18, 8), (21, 3), (22, 3)] {
            let mut frame = request;
            frame[at] = byte;
            assert_eq!(GUEST.receive(&frame), None, "byte {at}");
        }
    }

    #[test]
    fn an_answer_goes_back_where_the_packet_came_from() {
        let mut frame = [7; 34];
        frame[..14].copy_from_slice(&header(GUEST.mac, CLIENT.mac, EtherType::Ipv4));
        let answer = header(CLIENT.mac, GUEST.mac, EtherType::Ipv4);
        let packet = &[7; 20][..];
        assert_eq!(GUEST.receive(&frame), Some(Received::Ipv4 { packet, answer }));
        frame[..6].copy_from_slice(&BROADCAST.0);
        assert_eq!(GUEST.receive(&frame), None);
    }
}
