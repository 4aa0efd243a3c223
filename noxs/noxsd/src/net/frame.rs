// SPDX-License-Identifier: GPL-3.0-or-later
//! Reads the headers of an Ethernet frame.

use std::net::{Ipv4Addr, Ipv6Addr};

use noxs::MacAddr;

/// Bytes of an Ethernet header.
pub const HEADER: usize = 14;

/// [`HEADER`], for sums with lengths of 16 bits.
pub const HEADER_LENGTH: u16 = 14;

const _: () = assert!(HEADER_LENGTH as usize == HEADER);

const TYPE_IPV4: u16 = 0x0800;
const TYPE_ARP: u16 = 0x0806;
const TYPE_IPV6: u16 = 0x86dd;

/// Bytes of an IPv6 header, and the number of ICMPv6 in it.
pub(super) const IPV6_HEADER: usize = 40;
pub(super) const ICMPV6: u8 = 58;

/// Types of ICMPv6 (RFC 4861).
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;

/// Types of VLAN tags: IEEE 802.1Q, 802.1ad, and what switches used before 802.1ad.
const TYPES_TAGGED: [u16; 5] = [0x8100, 0x88a8, 0x9100, 0x9200, 0x9300];

/// An ARP packet for IPv4 over Ethernet (RFC 826).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arp {
    /// Whether it is a request rather than a reply.
    pub request: bool,
    /// The MAC address that it claims to come from.
    pub sender_mac: MacAddr,
    /// The IPv4 address that it claims to come from.
    pub sender: Ipv4Addr,
    /// The IPv4 address that it asks for or replies to.
    pub target: Ipv4Addr,
}

impl Arp {
    /// Returns whether the sender announces its own address (RFC 5227).
    #[must_use]
    pub fn is_announcement(&self) -> bool {
        self.sender == self.target
    }
}

/// Whether an IPv6 packet is a message about a neighbour (RFC 4861), as far as the switch needs it.
///
/// This is not for checks of what a guest may send: extension headers hide the message here, and
/// the packet may be malformed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discovery {
    /// It asks for the neighbour that has this address.
    Solicitation(Ipv6Addr),
    /// It says where a neighbour is.
    Advertisement,
    /// It is none of these.
    Other,
}

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// An IPv4 packet from this source.
    Ipv4 {
        /// The source.
        source: Ipv4Addr,
        /// The number of the protocol inside.
        protocol: u8,
    },
    /// An ARP packet.
    Arp(Arp),
    /// An IPv6 packet.
    Ipv6(Discovery),
    /// IPv4 or ARP with a header that is cut short or invalid.
    Malformed,
    /// A frame with a VLAN tag.
    Tagged,
    /// Anything else.
    Other,
}

/// What the headers of a frame say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameFacts {
    /// The MAC address that it is for.
    pub destination: MacAddr,
    /// The MAC address that it claims to come from.
    pub source: MacAddr,
    /// What it carries.
    pub payload: Payload,
}

impl FrameFacts {
    /// Reads a frame's headers. Returns `None` if it is shorter than an Ethernet header.
    #[must_use]
    pub fn of(frame: &[u8]) -> Option<Self> {
        let destination = MacAddr(array(frame, 0)?);
        let source = MacAddr(array(frame, 6)?);
        let ethertype = u16::from_be_bytes(array(frame, 12)?);
        let body = &frame[HEADER..];
        let payload = match ethertype {
            TYPE_IPV4 => ipv4(body).unwrap_or(Payload::Malformed),
            TYPE_ARP => arp(body).unwrap_or(Payload::Malformed),
            TYPE_IPV6 => Payload::Ipv6(discovery(body)),
            _ if TYPES_TAGGED.contains(&ethertype) => Payload::Tagged,
            _ => Payload::Other,
        };
        Some(Self { destination, source, payload })
    }
}

fn ipv4(body: &[u8]) -> Option<Payload> {
    let header: [u8; 20] = array(body, 0)?;
    (header[0] >> 4 == 4).then_some(())?;
    let source = Ipv4Addr::from(array::<4>(&header, 12)?);
    Some(Payload::Ipv4 { source, protocol: header[9] })
}

fn discovery(body: &[u8]) -> Discovery {
    if body.get(6) != Some(&ICMPV6) {
        return Discovery::Other;
    }
    match body.get(IPV6_HEADER) {
        Some(&SOLICITATION) => array::<16>(body, IPV6_HEADER + 8)
            .map_or(Discovery::Other, |target| Discovery::Solicitation(target.into())),
        Some(&ADVERTISEMENT) => Discovery::Advertisement,
        _ => Discovery::Other,
    }
}

fn arp(body: &[u8]) -> Option<Payload> {
    let packet: [u8; 28] = array(body, 0)?;
    // Hardware type Ethernet, protocol IPv4, address lengths 6 and 4.
    (packet[..6] == [0, 1, 8, 0, 6, 4]).then_some(())?;
    let operation = u16::from_be_bytes(array(&packet, 6)?);
    (operation == 1 || operation == 2).then_some(())?;
    Some(Payload::Arp(Arp {
        request: operation == 1,
        sender_mac: MacAddr(array(&packet, 8)?),
        sender: Ipv4Addr::from(array::<4>(&packet, 14)?),
        target: Ipv4Addr::from(array::<4>(&packet, 24)?),
    }))
}

/// Returns the bytes at an offset; `None` if there are too few.
pub(super) fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

#[cfg(any(test, feature = "fuzzing"))]
#[cfg_attr(not(test), allow(dead_code))]
#[allow(clippy::unwrap_used)]
pub(crate) mod build {
    //! Frames for tests.

    use super::*;

    pub(crate) fn ethernet(to: MacAddr, from: MacAddr, ethertype: u16, body: &[u8]) -> Vec<u8> {
        [&to.0[..], &from.0, &ethertype.to_be_bytes(), body].concat()
    }

    pub(crate) fn ipv4(to: MacAddr, from: MacAddr, source: Ipv4Addr) -> Vec<u8> {
        let mut body = [0; 46];
        (body[0], body[3]) = (0x45, 46);
        body[12..16].copy_from_slice(&source.octets());
        ethernet(to, from, TYPE_IPV4, &body)
    }

    /// Returns a packet of TCP over IPv4 with a blank checksum, all flags but RST, and data that
    /// count from 0 on.
    pub(crate) fn tcp(to: MacAddr, from: MacAddr, source: Ipv4Addr, length: usize) -> Vec<u8> {
        let mut packet = vec![0; 40];
        packet[0] = 0x45;
        packet[2..4].copy_from_slice(&u16::try_from(40 + length).unwrap().to_be_bytes());
        (packet[8], packet[9]) = (64, 6);
        packet[12..16].copy_from_slice(&source.octets());
        packet[16..20].copy_from_slice(&[10, 0, 0, to.0[5]]);
        packet[20..24].copy_from_slice(&[1, 2, 3, 4]);
        packet[24..28].copy_from_slice(&(u32::MAX - 1000).to_be_bytes());
        (packet[32], packet[33]) = (0x50, 0xfb);
        packet.extend((0..length).map(|at| at.to_le_bytes()[0] ^ at.to_le_bytes()[1]));
        ethernet(to, from, TYPE_IPV4, &packet)
    }

    /// Returns a packet of UDP over IPv6 with a blank checksum.
    pub(crate) fn udp6(to: MacAddr, from: MacAddr, source: [u8; 16], length: usize) -> Vec<u8> {
        let mut packet = vec![0; 48];
        packet[0] = 0x60;
        let size = u16::try_from(8 + length).unwrap().to_be_bytes();
        packet[4..6].copy_from_slice(&size);
        (packet[6], packet[7]) = (17, 64);
        packet[8..24].copy_from_slice(&source);
        packet[24..40].copy_from_slice(&[0xfe; 16]);
        packet[40..44].copy_from_slice(&[1, 2, 3, 4]);
        packet[44..46].copy_from_slice(&size);
        packet.extend((0..length).map(|at| at.to_le_bytes()[0]));
        ethernet(to, from, TYPE_IPV6, &packet)
    }

    /// Returns a frame to a group with a message of neighbour discovery: a solicitation (135) or an
    /// advertisement (136).
    pub(crate) fn neighbour(from: MacAddr, source: Ipv6Addr, kind: u8, about: Ipv6Addr) -> Vec<u8> {
        let group = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        let packet = [
            &[0x60, 0, 0, 0, 0, 24, ICMPV6, 255][..],
            &source.octets(),
            &group,
            &[kind, 0, 0, 0, 0, 0, 0, 0],
            &about.octets(),
        ];
        ethernet(MacAddr([0x33, 0x33, 0, 0, 0, 1]), from, TYPE_IPV6, &packet.concat())
    }

    pub(crate) fn arp(
        from: MacAddr,
        operation: u16,
        sender: Ipv4Addr,
        target: Ipv4Addr,
    ) -> Vec<u8> {
        let body = [
            &[0, 1, 8, 0, 6, 4][..],
            &operation.to_be_bytes(),
            &from.0,
            &sender.octets(),
            &[0; 6],
            &target.octets(),
        ]
        .concat();
        ethernet(MacAddr([0xff; 6]), from, TYPE_ARP, &body)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ME: MacAddr = MacAddr([0, 0x16, 0x3e, 0, 0, 1]);
    const MY_IP: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

    #[test]
    fn arp_fields_are_read() {
        let frame = build::arp(ME, 1, MY_IP, MY_IP);
        let Some(FrameFacts { payload: Payload::Arp(arp), .. }) = FrameFacts::of(&frame) else {
            panic!("no ARP");
        };
        assert!(arp.is_announcement() && arp.request && arp.sender_mac == ME);
        for (at, wrong) in [(1, 6), (3, 1), (4, 8), (5, 16), (7, 3)] {
            let mut frame = frame.clone();
            frame[HEADER + at] = wrong;
            assert_eq!(FrameFacts::of(&frame).unwrap().payload, Payload::Malformed, "byte {at}");
        }
    }

    #[test]
    fn messages_about_neighbours_are_recognized() {
        let [source, about] = ["fe80::1", "2001:db8::2"].map(|text| text.parse().unwrap());
        let kind = |frame: &[u8]| match FrameFacts::of(frame).unwrap().payload {
            Payload::Ipv6(discovery) => discovery,
            payload => panic!("{payload:?}"),
        };
        let solicitation = build::neighbour(ME, source, SOLICITATION, about);
        assert_eq!(kind(&solicitation), Discovery::Solicitation(about));
        let advertisement = build::neighbour(ME, source, ADVERTISEMENT, about);
        assert_eq!(kind(&advertisement), Discovery::Advertisement);
        assert_eq!(kind(&solicitation[..solicitation.len() - 1]), Discovery::Other, "cut short");
        assert_eq!(kind(&build::neighbour(ME, source, 134, about)), Discovery::Other);
        let mut other = solicitation;
        other[HEADER + 6] = 17;
        assert_eq!(kind(&other), Discovery::Other);
    }

    proptest! {
        #[test]
        fn no_bytes_cause_a_panic(frame in proptest::collection::vec(any::<u8>(), 0..80)) {
            prop_assert_eq!(FrameFacts::of(&frame).is_some(), frame.len() >= HEADER);
        }
    }
}
