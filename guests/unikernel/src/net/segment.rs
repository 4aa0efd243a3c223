// SPDX-License-Identifier: MIT OR Apache-2.0
//! Finds and verifies TCP segments in received packets.
//!
//! smoltcp would verify the checksum of every segment. A segment from dom0 or from another guest on
//! this machine never left its memory, and the backend marks it as validated; only others are
//! verified here.

#[cfg(feature = "ipv6")]
use smoltcp::wire::{IPV6_HEADER_LEN, Ipv6Packet};
use smoltcp::wire::{IpAddress, IpProtocol, Ipv4Packet, TCP_HEADER_LEN, TcpPacket};

/// The TCP segment in a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    /// The sender's address and port.
    pub(crate) remote: (IpAddress, u16),
    /// The destination port.
    pub(crate) local_port: u16,
    /// Whether the destination is the guest's link-local address.
    #[cfg(feature = "ipv6")]
    pub(crate) to_link_local: bool,
    /// Whether it opens a connection: SYN without ACK or RST.
    pub(crate) opens: bool,
    /// The maximum segment size of a client that opens a connection, if it says one.
    pub(crate) mss: Option<Mss>,
}

/// A client's maximum segment size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mss {
    /// Bytes of data in a segment.
    pub(crate) size: u16,
    /// Where it is in the packet.
    at: usize,
}

impl Mss {
    /// Replaces the size in the packet, so that smoltcp sends longer segments. The checksum is not
    /// updated: nothing verifies it any more.
    pub(crate) fn replace(self, packet: &mut [u8], size: u16) {
        if let Some(to) = packet.get_mut(self.at..self.at + 2) {
            to.copy_from_slice(&size.to_be_bytes());
        }
    }
}

/// The contents of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// A TCP segment.
    Segment(Segment),
    /// Something else, which smoltcp handles.
    Other,
    /// A TCP segment with a wrong checksum.
    Damaged,
    /// A part of a packet, which nothing here puts together.
    Fragment {
        /// The sender's address.
        from: IpAddress,
    },
}

/// Parses a packet. With `validated`, the checksum is not verified.
pub(crate) fn inspect(packet: &[u8], validated: bool) -> Content {
    segment(packet, validated).unwrap_or(Content::Other)
}

fn segment(packet: &[u8], validated: bool) -> Option<Content> {
    #[cfg(feature = "ipv6")]
    if packet.first().is_some_and(|first| first >> 4 == 6) {
        return segment_ipv6(packet, validated);
    }
    let ip = Ipv4Packet::new_checked(packet).ok()?;
    let (from, to) = (IpAddress::Ipv4(ip.src_addr()), IpAddress::Ipv4(ip.dst_addr()));
    if ip.more_frags() || ip.frag_offset() != 0 {
        return Some(Content::Fragment { from });
    }
    if ip.next_header() != IpProtocol::Tcp {
        return None;
    }
    segment_in(ip.payload(), usize::from(ip.header_len()), (from, to), validated)
}

/// Parses an IPv6 packet. A segment behind extension headers is left to smoltcp, which refuses it.
#[cfg(feature = "ipv6")]
fn segment_ipv6(packet: &[u8], validated: bool) -> Option<Content> {
    let ip = Ipv6Packet::new_checked(packet).ok()?;
    let (from, to) = (IpAddress::Ipv6(ip.src_addr()), IpAddress::Ipv6(ip.dst_addr()));
    match ip.next_header() {
        IpProtocol::Ipv6Frag => Some(Content::Fragment { from }),
        IpProtocol::Tcp => segment_in(ip.payload(), IPV6_HEADER_LEN, (from, to), validated),
        _ => None,
    }
}

/// Parses a segment behind an IP header of `header` bytes.
fn segment_in(
    segment: &[u8],
    header: usize,
    (from, to): (IpAddress, IpAddress),
    validated: bool,
) -> Option<Content> {
    let tcp = TcpPacket::new_checked(segment).ok()?;
    if !validated && !tcp.verify_checksum(&from, &to) {
        return Some(Content::Damaged);
    }
    let opens = tcp.syn() && !tcp.ack() && !tcp.rst();
    Some(Content::Segment(Segment {
        remote: (from, tcp.src_port()),
        local_port: tcp.dst_port(),
        #[cfg(feature = "ipv6")]
        to_link_local: matches!(to, IpAddress::Ipv6(to) if to.is_unicast_link_local()),
        opens,
        mss: if opens { mss(tcp.options(), header + TCP_HEADER_LEN) } else { None },
    }))
}

/// Returns the maximum segment size in the options of a SYN, which begin at `begin` in the packet.
fn mss(options: &[u8], begin: usize) -> Option<Mss> {
    const END: u8 = 0;
    const NOTHING: u8 = 1;
    const MAXIMUM_SEGMENT_SIZE: [u8; 2] = [2, 4];

    let mut at = 0;
    loop {
        let option = options.get(at..)?;
        match *option {
            [END, ..] | [] => return None,
            [NOTHING, ..] => at += 1,
            [kind, length, high, low, ..] if [kind, length] == MAXIMUM_SEGMENT_SIZE => {
                let size = u16::from_be_bytes([high, low]);
                return Some(Mss { size, at: begin + at + 2 });
            }
            [_, length, ..] if length >= 2 => at += usize::from(length),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use smoltcp::phy::ChecksumCapabilities;
    use smoltcp::wire::{Ipv4Address, Ipv4Repr, TcpControl, TcpRepr, TcpSeqNumber};

    use super::*;

    const HERE: Ipv4Address = Ipv4Address::new(10, 0, 0, 2);
    const THERE: Ipv4Address = Ipv4Address::new(10, 0, 0, 1);

    fn packet(control: TcpControl, ack: bool) -> Vec<u8> {
        let tcp = TcpRepr {
            src_port: 5555,
            dst_port: 80,
            control,
            seq_number: TcpSeqNumber(1),
            ack_number: ack.then_some(TcpSeqNumber(7)),
            window_len: 100,
            window_scale: None,
            max_seg_size: None,
            sack_permitted: false,
            sack_ranges: [None; 3],
            timestamp: None,
            payload: b"hello",
        };
        let ip = Ipv4Repr {
            src_addr: THERE,
            dst_addr: HERE,
            next_header: IpProtocol::Tcp,
            payload_len: tcp.buffer_len(),
            hop_limit: 64,
        };
        let checksums = ChecksumCapabilities::default();
        let mut bytes = std::vec![0; ip.buffer_len() + tcp.buffer_len()];
        ip.emit(&mut Ipv4Packet::new_unchecked(&mut bytes), &checksums);
        tcp.emit(
            &mut TcpPacket::new_unchecked(&mut bytes[20..]),
            &THERE.into(),
            &HERE.into(),
            &checksums,
        );
        bytes
    }

    #[test]
    fn a_segment_is_found() {
        let expected = |opens| {
            let remote = (THERE.into(), 5555);
            Content::Segment(Segment {
                remote,
                local_port: 80,
                #[cfg(feature = "ipv6")]
                to_link_local: false,
                opens,
                mss: None,
            })
        };
        assert_eq!(inspect(&packet(TcpControl::Syn, false), false), expected(true));
        assert_eq!(inspect(&packet(TcpControl::Syn, true), false), expected(false));
        assert_eq!(inspect(&packet(TcpControl::Psh, true), false), expected(false));
        assert_eq!(inspect(&packet(TcpControl::Rst, false), false), expected(false));
    }

    #[test]
    fn a_client_says_how_long_its_segments_may_be() {
        let found = |at: usize, size| Some(Mss { size, at: 40 + at });
        for (options, expected) in [
            (&[2, 4, 5, 0xb4][..], found(2, 1460)),
            (&[1, 1, 4, 2, 2, 4, 2, 0], found(6, 512)),
            (&[4, 2], None),
            (&[0, 2, 4, 5, 0xb4], None),
            (&[2, 4, 5], None),
            (&[8, 0], None),
            (&[8], None),
            (&[], None),
        ] {
            assert_eq!(mss(options, 40), expected, "{options:?}");
        }
    }

    #[test]
    fn a_damaged_segment_is_noticed_unless_it_is_marked_as_validated() {
        let mut bytes = packet(TcpControl::Psh, true);
        *bytes.last_mut().unwrap() ^= 1;
        assert_eq!(inspect(&bytes, false), Content::Damaged);
        assert!(matches!(inspect(&bytes, true), Content::Segment(_)));
    }

    #[test]
    fn truncated_packets_are_not_segments() {
        let whole = packet(TcpControl::Psh, true);
        for length in 0..whole.len() {
            assert_eq!(inspect(&whole[..length], false), Content::Other, "{length} bytes");
        }
    }

    /// The first fragment, one in the middle and the last one, of any protocol.
    #[test]
    fn fragments_are_told_from_other_packets() {
        for (flags, offset) in [(0x20, 0), (0x20, 185), (0, 185)] {
            for protocol in [1, 6, 17] {
                let mut fragment = packet(TcpControl::Psh, true);
                (fragment[6], fragment[7], fragment[9]) = (flags, offset, protocol);
                assert_eq!(inspect(&fragment, true), Content::Fragment { from: THERE.into() });
            }
        }
        let mut whole = packet(TcpControl::Psh, true);
        whole[6] = 0x40; // "don't fragment"
        assert!(matches!(inspect(&whole, true), Content::Segment(_)));
    }
}
