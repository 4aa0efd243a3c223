// SPDX-License-Identifier: GPL-3.0-or-later
//! Tests of checksums, of the tap's header, and of segmentation.

use std::net::Ipv4Addr;

use noxs::MacAddr;
use proptest::prelude::*;

use super::checksum::{Transport, fold, pseudo_header, sum};
use super::frame::build;
use super::offload::{Checksum, MAX_SEGMENTS, Offload, VnetHeader};
use super::segments;

const TO: MacAddr = MacAddr([0, 0x16, 0x3e, 0, 0, 2]);
const FROM: MacAddr = MacAddr([0, 0x16, 0x3e, 0, 0, 1]);
const SOURCE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

/// The header that Linux writes for a packet of TCP over IPv4 in segments of `size` bytes; 0 for one
/// that is not to be segmented.
fn header(size: u16) -> [u8; 10] {
    let mut header = [0; 10];
    (header[0], header[1]) = (1, u8::from(size > 0));
    for (at, field) in [(2, if size > 0 { 54 } else { 0 }), (4, size), (6, 34), (8, 16)] {
        header[at..at + 2].copy_from_slice(&u16::to_ne_bytes(field));
    }
    header
}

fn from_tap(size: u16, frame: &mut [u8]) -> Option<Offload> {
    VnetHeader::decode(header(size)).offload(frame)
}

/// Returns whether the checksum of TCP or UDP in a frame is right, as a receiver computes it.
pub(crate) fn is_right(frame: &[u8]) -> bool {
    let transport = Transport::find(frame).unwrap();
    let covered = &frame[transport.start..transport.packet_end];
    fold(sum(covered) + pseudo_header(frame, &transport, covered.len())) == 0xffff
}

/// Writes the sum of the pseudo-header into a frame, as its sender does.
pub(crate) fn prepare(frame: &mut [u8]) {
    assert!(Offload::of_guest(frame, None).is_some());
}

#[test]
fn the_sum_is_that_of_16_bit_words() {
    let bytes: Vec<u8> = (0..=255).cycle().take(1001).collect();
    for length in 0..bytes.len() {
        let words = bytes[..length].chunks(2);
        let expected: u64 = words
            .map(|word| u64::from(word[0]) << 8 | u64::from(word.get(1).copied().unwrap_or(0)))
            .sum();
        assert_eq!(fold(sum(&bytes[..length])), fold(expected), "{length} bytes");
    }
    assert_eq!((fold(0), fold(0xffff), fold(0x1_0000)), (0, 0xffff, 1));
}

#[test]
fn blank_checksums_are_completed() {
    let source = [0xfe; 16];
    for length in [0, 1, 2, 999, 1460] {
        let frames = [build::tcp(TO, FROM, SOURCE, length), build::udp6(TO, FROM, source, length)];
        for mut frame in frames {
            frame.extend([0; 3]);
            let mut offload = Offload::of_guest(&mut frame, None).unwrap();
            assert_eq!(offload.checksum, Checksum::Blank);
            offload.complete(&mut frame);
            assert_eq!(offload.checksum, Checksum::Valid);
            assert!(is_right(&frame), "{length} bytes");
        }
    }
}

#[test]
fn the_taps_header_says_what_is_left_to_do() {
    let mut frame = build::tcp(TO, FROM, SOURCE, 4000);
    for size in [0, 1460] {
        let offload = from_tap(size, &mut frame).unwrap();
        assert_eq!(offload.checksum, Checksum::Blank);
        assert_eq!(offload.segmentation.map_or(0, |one| one.size), size);
        assert_eq!(VnetHeader::of(&frame, offload).unwrap().encode(), header(size));
    }
    let offload = from_tap(4000, &mut frame).unwrap();
    assert_eq!(offload.segmentation, None, "one segment");
    let none = VnetHeader::default();
    assert_eq!(none.offload(&mut frame), Some(Offload::default()));
    assert_eq!(VnetHeader::of(&frame, Offload::default()), Some(none));
    let valid = VnetHeader::decode([2, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(valid.offload(&mut frame).unwrap().checksum, Checksum::Valid);
    // Kinds that noxsd has not asked the kernel for: UDP, and TCP with ECN; and a packet that is to
    // be segmented without a checksum.
    for (flags, kind) in [(1, 3), (1, 5), (1, 0x81), (0, 1)] {
        let mut wrong = header(1460);
        (wrong[0], wrong[1]) = (flags, kind);
        assert_eq!(VnetHeader::decode(wrong).offload(&mut frame), None, "{flags} {kind}");
    }
}

#[test]
fn a_checksum_in_another_place_is_computed() {
    // As for a packet inside of a tunnel.
    let mut frame = build::udp6(TO, FROM, [0xfe; 16], 200);
    let (start, field) = (100, 110);
    frame[field..field + 2].copy_from_slice(&0x1234u16.to_be_bytes());
    let expected = !fold(sum(&frame[start..]));
    let mut header = header(0);
    header[6..8].copy_from_slice(&100u16.to_ne_bytes());
    header[8..10].copy_from_slice(&10u16.to_ne_bytes());
    let offload = VnetHeader::decode(header).offload(&mut frame);
    assert_eq!(offload.map(|offload| offload.checksum), Some(Checksum::Valid));
    assert_eq!(frame[field..field + 2], expected.to_be_bytes());
    for (start, offset) in [(0u16, 16u16), (13, 2), (300, 0), (100, 200), (u16::MAX, u16::MAX)] {
        header[6..8].copy_from_slice(&start.to_ne_bytes());
        header[8..10].copy_from_slice(&offset.to_ne_bytes());
        assert_eq!(VnetHeader::decode(header).offload(&mut frame), None, "{start} {offset}");
    }
}

#[test]
fn a_packet_is_segmented_as_its_receiver_expects() {
    for (length, size) in [(4000, 1460u16), (2920, 1460), (2921, 1460), (64000, 536)] {
        let mut frame = build::tcp(TO, FROM, SOURCE, length);
        let segmentation = from_tap(size, &mut frame).unwrap().segmentation.unwrap();
        let count = segments::count(segmentation, frame.len());
        assert_eq!(count, length.div_ceil(size.into()));
        let mut data: Vec<u8> = Vec::new();
        for number in 0..count {
            let mut to = [0xaa; 2000];
            let length = segments::write(&frame, segmentation, number, &mut to).unwrap();
            let segment = &to[..length];
            assert!(is_right(segment));
            assert_eq!(fold(sum(&segment[14..34])), 0xffff, "the header's checksum");
            assert_eq!(segment[16..18], u16::try_from(length - 14).unwrap().to_be_bytes());
            assert_eq!(usize::from(segment[19]), number % 256, "the identification");
            let sequence = u32::from_be_bytes(segment[38..42].try_into().unwrap());
            assert_eq!(sequence.wrapping_add(1001), u32::try_from(data.len()).unwrap());
            let flags = match number {
                0 => 0xf2,
                _ if number == count - 1 => 0x7b,
                _ => 0x72,
            };
            assert_eq!(segment[47], flags, "segment {number}");
            data.extend(&segment[54..]);
        }
        assert!(data == frame[54..]);
        let mut short = [0; 500];
        assert_eq!(segments::write(&frame, segmentation, 0, &mut short), None);
    }
}

#[test]
fn a_guests_packet_must_be_one_that_can_be_segmented() {
    use xen_abi::io::netif::ExtraInfo;
    let extra =
        |size, gso_type| Some(ExtraInfo { kind: 1, size, gso_type, ..ExtraInfo::default() });
    let packet = |length| build::tcp(TO, FROM, SOURCE, length);
    let of = |mut frame: Vec<u8>, extra| Offload::of_guest(&mut frame, extra);
    assert!(of(packet(4000), extra(1460, 1)).is_some());
    assert!(of(packet(4000), extra(1460, 2)).is_none(), "of IPv6");
    assert!(of(packet(4000), extra(1460, 0)).is_none());
    assert!(of(packet(4000), extra(0, 1)).is_none());
    assert!(of(packet(4000), extra(4000, 1)).is_none(), "one segment");
    assert!(of(packet(4000), extra(u16::MAX, 1)).is_none());
    assert!(of(packet(MAX_SEGMENTS * 100), extra(100, 1)).is_some());
    assert!(of(packet(MAX_SEGMENTS * 100 + 1), extra(100, 1)).is_none(), "too many segments");
    assert!(of(packet(0), extra(1, 1)).is_none(), "no data");
    let padded = [&packet(4000)[..], &[0]].concat();
    assert!(of(padded, extra(1460, 1)).is_none(), "more than the packet");
    assert!(of(build::udp6(TO, FROM, [0xfe; 16], 4000), extra(1460, 2)).is_none(), "UDP");
    // No place for a checksum.
    let changed = |at: usize, value: u8| {
        let mut frame = packet(100);
        frame[at] = value;
        of(frame, None)
    };
    assert!(changed(20, 0x40).is_some(), "don't fragment");
    assert!(changed(46, 0xf0).is_some(), "options");
    let versions = [(12, 9), (14, 0x55), (14, 0x44), (14, 0x4f)];
    for (at, value) in
        versions.into_iter().chain([(16, 9), (20, 0x20), (21, 1), (23, 1), (46, 0x40)])
    {
        assert!(changed(at, value).is_none(), "{value:#x} at {at}");
    }
    for length in 0..54 {
        assert!(of(packet(0)[..length].to_vec(), None).is_none(), "{length} bytes");
    }
}

proptest! {
    #[test]
    fn no_frame_and_no_header_cause_a_panic(
        frame in proptest::collection::vec(any::<u8>(), 0..200),
        header: [u8; 10],
        is_ip: bool,
        version in 0u8..3,
        protocol in prop_oneof![Just(6u8), Just(17u8), any::<u8>()],
        size: u16,
    ) {
        use xen_abi::io::netif::ExtraInfo;
        let mut frame = frame;
        if is_ip && frame.len() > 24 {
            frame[12..15].copy_from_slice(if version == 1 { &[8, 0, 0x45] } else { &[0x86, 0xdd, 0x60] });
            frame[if version == 1 { 23 } else { 20 }] = protocol;
        }
        let mut other = frame.clone();
        let extra = ExtraInfo { kind: 1, size, gso_type: version, ..ExtraInfo::default() };
        for offload in [
            VnetHeader::decode(header).offload(&mut other),
            Offload::of_guest(&mut frame, None),
            Offload::of_guest(&mut frame, Some(extra)),
        ].into_iter().flatten() {
            let _ = VnetHeader::of(&frame, offload);
            if let Some(segmentation) = offload.segmentation {
                for number in 0..segments::count(segmentation, frame.len()) {
                    let _ = segments::write(&frame, segmentation, number, &mut [0; 300]);
                }
            }
            let mut offload = offload;
            offload.complete(&mut frame);
        }
        prop_assert_eq!(VnetHeader::decode(VnetHeader::decode(header).encode()), VnetHeader::decode(header));
    }
}
