// SPDX-License-Identifier: MIT OR Apache-2.0
//! Neighbour discovery: what ARP is for IPv4 (RFC 4861).
//!
//! The guest answers solicitations for its address, and announces the address when it starts. As
//! with ARP, it keeps no table of neighbours. dom0 has checked that no other guest of the bridge has
//! the address, so the guest does not probe for it; it answers those who do.

use core::net::Ipv6Addr;

use noxs::MacAddr;
use smoltcp::wire::{IPV6_HEADER_LEN, Icmpv6Packet};

use super::ethernet::{ETHERNET_HEADER, EtherType, Header, header, mac};

/// The length of a message with a target and an option with a hardware address, in bytes.
const MESSAGE_LENGTH: u16 = 32;
const MESSAGE: usize = MESSAGE_LENGTH as usize;

/// The length of a frame with such a message in bytes.
pub(crate) const NEIGHBOUR_FRAME: usize = ETHERNET_HEADER + IPV6_HEADER_LEN + MESSAGE;

/// The number of ICMPv6 in an IPv6 header, and where it is.
const ICMPV6: u8 = 58;
const NEXT_HEADER: usize = 6;

/// The hop limit of all messages: a router would have made it smaller.
const HOP_LIMIT: u8 = 255;

const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;

/// Options: the hardware address of the sender, and of the target.
const SOURCE_ADDRESS: u8 = 1;
const TARGET_ADDRESS: u8 = 2;

/// Flags of an advertisement: it answers a solicitation, and replaces an earlier address.
const SOLICITED: u8 = 0x40;
const OVERRIDE: u8 = 0x20;

const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// A hardware address and its IPv6 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Neighbour {
    pub(crate) mac: MacAddr,
    pub(crate) ip: Ipv6Addr,
}

/// A received frame that concerns the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReceivedIpv6 {
    /// A packet for the guest, and the header of frames that answer it.
    Packet(Header),
    /// A solicitation for the guest's address, whose sender has these addresses.
    Solicitation(Neighbour),
}

impl Neighbour {
    /// Parses a frame; `None` if it does not concern the guest.
    pub(crate) fn receive(&self, frame: &[u8]) -> Option<ReceivedIpv6> {
        let (header_bytes, packet) = frame.split_first_chunk::<ETHERNET_HEADER>()?;
        let (to, from) = (mac(&header_bytes[..6])?, mac(&header_bytes[6..12])?);
        let is_ipv6 = header_bytes[12..] == EtherType::Ipv6.bytes();
        // A group address is not a valid source.
        if !is_ipv6 || from.0[0] & 1 != 0 {
            return None;
        }
        let kind = packet.get(IPV6_HEADER_LEN);
        if packet.get(NEXT_HEADER) == Some(&ICMPV6) && kind == Some(&SOLICITATION) {
            let is_here = to == self.mac || to == group_mac(solicited_node(self.ip));
            let sender = self.solicitor(packet).filter(|_| is_here)?;
            return Some(ReceivedIpv6::Solicitation(Neighbour { mac: from, ip: sender }));
        }
        (to == self.mac).then(|| ReceivedIpv6::Packet(header(from, to, EtherType::Ipv6)))
    }

    /// Returns the source of a solicitation for this address.
    fn solicitor(&self, packet: &[u8]) -> Option<Ipv6Addr> {
        let (ip, rest) = packet.split_first_chunk::<IPV6_HEADER_LEN>()?;
        let length = usize::from(u16::from_be_bytes([ip[4], ip[5]]));
        let message = rest.get(..length)?;
        let source = Ipv6Addr::from(*ip[8..].first_chunk::<16>()?);
        let destination = Ipv6Addr::from(*ip[24..].first_chunk::<16>()?);
        // The code, and the target behind 4 reserved bytes.
        let is_for_this = message.get(1) == Some(&0) && message.get(8..24)? == self.ip.octets();
        let is_valid = ip[0] >> 4 == 6 && ip[7] == HOP_LIMIT && !source.is_multicast();
        let checked = Icmpv6Packet::new_checked(message).ok()?;
        (is_for_this && is_valid && checked.verify_checksum(&source, &destination))
            .then_some(source)
    }

    /// Returns the answer to a solicitation.
    pub(crate) fn advertise_to(&self, asker: Neighbour) -> [u8; NEIGHBOUR_FRAME] {
        // One without a source is about to use the address: all learn that it is taken.
        if asker.ip.is_unspecified() {
            return self.announcement();
        }
        self.message(asker.mac, asker.ip, ADVERTISEMENT, SOLICITED | OVERRIDE, self.ip)
    }

    /// Returns an advertisement that no neighbour has asked for: neighbours replace the entry of an earlier
    /// owner of the address.
    pub(crate) fn announcement(&self) -> [u8; NEIGHBOUR_FRAME] {
        self.message(group_mac(ALL_NODES), ALL_NODES, ADVERTISEMENT, OVERRIDE, self.ip)
    }

    /// Returns a solicitation for a neighbour, which learns the sender's address from it.
    pub(crate) fn solicit(&self, ip: Ipv6Addr) -> [u8; NEIGHBOUR_FRAME] {
        let group = solicited_node(ip);
        self.message(group_mac(group), group, SOLICITATION, 0, ip)
    }

    fn message(
        &self,
        to: MacAddr,
        destination: Ipv6Addr,
        kind: u8,
        flags: u8,
        target: Ipv6Addr,
    ) -> [u8; NEIGHBOUR_FRAME] {
        let mut frame = [0; NEIGHBOUR_FRAME];
        let (ethernet, packet) = frame.split_at_mut(ETHERNET_HEADER);
        ethernet.copy_from_slice(&header(to, self.mac, EtherType::Ipv6));
        let (ip, message) = packet.split_at_mut(IPV6_HEADER_LEN);
        ip[0] = 0x60;
        ip[4..6].copy_from_slice(&MESSAGE_LENGTH.to_be_bytes());
        (ip[NEXT_HEADER], ip[7]) = (ICMPV6, HOP_LIMIT);
        ip[8..24].copy_from_slice(&self.ip.octets());
        ip[24..].copy_from_slice(&destination.octets());
        (message[0], message[4]) = (kind, flags);
        message[8..24].copy_from_slice(&target.octets());
        message[24] = if kind == SOLICITATION { SOURCE_ADDRESS } else { TARGET_ADDRESS };
        message[25] = 1;
        message[26..].copy_from_slice(&self.mac.0);
        Icmpv6Packet::new_unchecked(message).fill_checksum(&self.ip, &destination);
        frame
    }
}

/// Returns the group in which solicitations for an address are sent (RFC 4291).
fn solicited_node(ip: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = ip.octets();
    let low = u16::from_be_bytes([b, c]);
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), low)
}

/// Returns the hardware address of a group (RFC 2464).
fn group_mac(group: Ipv6Addr) -> MacAddr {
    let [.., a, b, c, d] = group.octets();
    MacAddr([0x33, 0x33, a, b, c, d])
}

#[cfg(test)]
mod tests {
    use smoltcp::phy::ChecksumCapabilities;
    use smoltcp::wire::{
        EthernetAddress, Icmpv6Repr, Ipv6Packet, NdiscNeighborFlags, NdiscRepr, RawHardwareAddress,
    };

    use super::*;

    const GUEST: Neighbour = Neighbour {
        mac: MacAddr([0, 0x16, 0x3e, 0, 0, 1]),
        ip: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0x12, 0x3456),
    };
    const CLIENT: Neighbour = Neighbour {
        mac: MacAddr([2, 0, 0, 0, 0, 1]),
        ip: Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1),
    };

    /// Parses a frame by smoltcp, and checks that it is from the guest to this destination.
    fn check(frame: &[u8], to: [u8; 6], destination: Ipv6Addr, expected: NdiscRepr<'_>) {
        assert_eq!(frame[..6], to);
        let ip = Ipv6Packet::new_checked(&frame[ETHERNET_HEADER..]).unwrap();
        assert_eq!((ip.src_addr(), ip.dst_addr(), ip.hop_limit()), (GUEST.ip, destination, 255));
        let message = Icmpv6Packet::new_checked(ip.payload()).unwrap();
        let checksums = ChecksumCapabilities::default();
        let read = Icmpv6Repr::parse(&GUEST.ip, &destination, &message, &checksums).unwrap();
        assert_eq!(read, Icmpv6Repr::Ndisc(expected));
    }

    #[test]
    fn messages_are_as_smoltcp_reads_them() {
        let own = Some(RawHardwareAddress::from(EthernetAddress(GUEST.mac.0)));
        let advertisement =
            |flags| NdiscRepr::NeighborAdvert { flags, target_addr: GUEST.ip, lladdr: own };
        let all = [0x33, 0x33, 0, 0, 0, 1];
        let unsolicited = advertisement(NdiscNeighborFlags::OVERRIDE);
        check(&GUEST.announcement(), all, ALL_NODES, unsolicited);
        let probe = Neighbour { ip: Ipv6Addr::UNSPECIFIED, ..CLIENT };
        check(&GUEST.advertise_to(probe), all, ALL_NODES, unsolicited);
        let answer = advertisement(NdiscNeighborFlags::OVERRIDE | NdiscNeighborFlags::SOLICITED);
        check(&GUEST.advertise_to(CLIENT), CLIENT.mac.0, CLIENT.ip, answer);
        let target = "2001:db8::ab:cdef".parse().unwrap();
        let solicitation = NdiscRepr::NeighborSolicit { target_addr: target, lladdr: own };
        let group = "ff02::1:ffab:cdef".parse().unwrap();
        let to = [0x33, 0x33, 0xff, 0xab, 0xcd, 0xef];
        check(&GUEST.solicit(target), to, group, solicitation);
    }

    #[test]
    fn solicitations_for_the_guest_are_recognized() {
        let frame = CLIENT.solicit(GUEST.ip);
        assert_eq!(GUEST.receive(&frame), Some(ReceivedIpv6::Solicitation(CLIENT)));
        // Linux asks one station when it refreshes an entry.
        let mut unicast = frame;
        unicast[..6].copy_from_slice(&GUEST.mac.0);
        assert_eq!(GUEST.receive(&unicast), Some(ReceivedIpv6::Solicitation(CLIENT)));
        for length in 0..frame.len() {
            assert_eq!(GUEST.receive(&frame[..length]), None, "{length} bytes");
        }
        // Another station, a group as sender, another version, a smaller hop limit, another code,
        // another target, a wrong checksum.
        for (at, byte) in [(5, 1), (6, 3), (14, 0x40), (21, 64), (55, 1), (77, 1), (56, 9)] {
            let mut frame = frame;
            frame[at] = byte;
            assert_eq!(GUEST.receive(&frame), None, "byte {at}");
        }
        assert_eq!(GUEST.receive(&CLIENT.announcement()), None);
    }

    #[test]
    fn packets_for_the_guest_are_answered_where_they_came_from() {
        let mut frame = [0; 74];
        frame[..14].copy_from_slice(&header(GUEST.mac, CLIENT.mac, EtherType::Ipv6));
        (frame[14], frame[20]) = (0x60, 6);
        let answer = header(CLIENT.mac, GUEST.mac, EtherType::Ipv6);
        assert_eq!(GUEST.receive(&frame), Some(ReceivedIpv6::Packet(answer)));
        frame[..6].copy_from_slice(&[0x33, 0x33, 0, 0, 0, 1]);
        assert_eq!(GUEST.receive(&frame), None, "a group");
    }
}
