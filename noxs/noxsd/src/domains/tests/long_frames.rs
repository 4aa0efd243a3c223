// SPDX-License-Identifier: GPL-3.0-or-later
//! Tests of frames in several slots, with blank checksums, and to be segmented.

use noxs::VifFeatures;
use xen_abi::io::netif::{
    ExtraInfo, NETRXF_CSUM_BLANK, NETRXF_DATA_VALIDATED, NETRXF_EXTRA_INFO, NETRXF_MORE_DATA,
    NETTXF_CSUM_BLANK, NETTXF_EXTRA_INFO, NETTXF_MORE_DATA,
};

use super::*;
use crate::net::offload_tests::{is_right, prepare};
use crate::net::waiting::{HOLD, MOST_BYTES_OF_ONE, OVERHEAD};

/// The flags of the first slot of a packet of TCP without a checksum.
const BLANK: u16 = NETRXF_CSUM_BLANK | NETRXF_DATA_VALIDATED;

fn gso(size: u16) -> ExtraInfo {
    ExtraInfo { kind: 1, size, gso_type: 1, ..ExtraInfo::default() }
}

/// The tap's header of a packet of TCP over IPv4 that is to be segmented.
fn header(size: u16) -> [u8; 10] {
    let [low, high] = size.to_ne_bytes();
    let [header, start, offset] = [54u16, 34, 16].map(u16::to_ne_bytes);
    [1, 1, header[0], header[1], low, high, start[0], start[1], offset[0], offset[1]]
}

/// Returns a frame with a packet of TCP with that much data, as its sender and receiver see it: with
/// the sum of the pseudo-header.
fn long(to: u16, from: u16, length: usize) -> Vec<u8> {
    let mut frame = build::tcp(mac(to), mac(from), ip(from), length);
    prepare(&mut frame);
    frame
}

fn parts(length: usize) -> Vec<usize> {
    (0..length).step_by(4096).map(|at| (length - at).min(4096)).collect()
}

/// Checks that these parts are a frame, with an extra info behind the first one. `posted` is the
/// number of the page that the extra info's slot had.
fn assert_long(parts: &[(u16, Vec<u8>)], frame: &[u8]) {
    let mut data: Vec<u8> = Vec::new();
    for (number, (flags, bytes)) in parts.iter().enumerate() {
        match number {
            0 => assert_eq!(*flags, BLANK | NETRXF_EXTRA_INFO | NETRXF_MORE_DATA),
            1 => continue,
            _ => assert_eq!(*flags, if number + 1 < parts.len() { NETRXF_MORE_DATA } else { 0 }),
        }
        data.extend(bytes);
    }
    assert!(data == frame, "{} bytes of {}", data.len(), frame.len());
}

#[test]
fn a_long_packet_passes_whole_if_its_receiver_accepts_it() {
    let mut bed = Bed::new();
    let one = bed.running(1);
    bed.running(2);
    for domid in [1, 2] {
        bed.accept(domid, VifFeatures::ALL);
        bed.post(domid, 200);
    }
    let frame = long(1, 99, 60_000);
    bed.frame_in_with(header(1460), &frame);
    assert_long(&bed.received_parts(1, 0), &frame);
    let extra = frontend::rx_slot(&bed.page(1, RX_REF), 1);
    assert_eq!(ExtraInfo::from(extra), gso(1460));
    assert_eq!((bed.traffic(&one).to_guest_frames, bed.traffic(&one).dropped_frames), (1, 0));

    // From guest to guest, in parts of other sizes.
    let frame = long(2, 1, 8000);
    let sizes = [54, 4000, 1, 3999];
    let slots = bed.send_parts(1, 210, &frame, &sizes, (NETTXF_CSUM_BLANK, Some(gso(1000))));
    bed.run(1);
    assert_eq!(bed.sent(1), [(210, 0), (211, 0), (212, 0), (213, 0), (0, 1)]);
    assert_eq!(bed.sent(1).len(), usize::from(slots));
    assert_long(&bed.received_parts(2, 0), &frame);

    // To the tap.
    let frame = long(99, 1, 60_000);
    bed.send_parts(1, 220, &frame, &parts(frame.len()), (NETTXF_CSUM_BLANK, Some(gso(1448))));
    bed.run(1);
    assert!(bed.frame_out_with_header() == Some((header(1448), frame)));
    assert_eq!(bed.traffic(&one).dropped_frames, 0);
}

#[test]
fn a_receiver_that_accepts_nothing_gets_segments_with_checksums() {
    for accepted in [VifFeatures::NONE, VifFeatures::BLANK_CHECKSUM | VifFeatures::SCATTER] {
        let mut bed = Bed::new();
        bed.running(1);
        bed.running(2);
        bed.accept(2, accepted);
        bed.post(2, 250);
        let frame = long(2, 1, 64_000);
        // More segments than there is room for at once.
        bed.send_parts(1, 0, &frame, &parts(frame.len()), (NETTXF_CSUM_BLANK, Some(gso(600))));
        bed.run(1);
        let segments = bed.received_parts(2, 0);
        assert_eq!(segments.len(), 64_000usize.div_ceil(600));
        let mut data: Vec<u8> = Vec::new();
        for (flags, segment) in &segments {
            assert_eq!(*flags, NETRXF_DATA_VALIDATED);
            assert!(is_right(segment));
            data.extend(&segment[54..]);
        }
        assert!(data == frame[54..]);
    }
}

#[test]
fn segments_wait_for_pages_in_order() {
    let mut bed = Bed::new();
    bed.running(1);
    bed.post(1, 10);
    let frame = long(1, 99, 60_000);
    bed.frame_in_with(header(1000), &frame);
    assert_eq!(bed.received(1).len(), 10);
    let first = bed.received_parts(1, 0);
    bed.post(1, 100);
    bed.run(1);
    let data = first.into_iter().chain(bed.received_parts(1, 10));
    let data: Vec<u8> = data.flat_map(|(_, segment)| segment[54..].to_vec()).collect();
    assert!(data == frame[54..]);
}

#[test]
fn a_blank_checksum_is_computed_for_those_who_do_not_accept_it() {
    let mut bed = Bed::new();
    for domid in 1..=3 {
        bed.running(domid);
        bed.post(domid, 20);
    }
    bed.accept(3, VifFeatures::BLANK_CHECKSUM);
    for to in [2, 3] {
        let frame = long(to, 1, 1000);
        bed.send_parts(1, 100 + to, &frame, &[frame.len()], (NETTXF_CSUM_BLANK, None));
    }
    bed.run(1);
    let [(flags, frame)] = &bed.received_parts(2, 0)[..] else { panic!("not one frame") };
    assert_eq!((*flags, is_right(frame)), (NETRXF_DATA_VALIDATED, true));
    let [(flags, frame)] = &bed.received_parts(3, 0)[..] else { panic!("not one frame") };
    assert_eq!((*flags, is_right(frame)), (BLANK, false));

    // A flooded frame is the same for all.
    let mut frame = long(1, 99, 100);
    frame[..6].fill(0xff);
    let mut header = header(0);
    header[1] = 0;
    bed.frame_in_with(header, &frame);
    for domid in 1..=3 {
        let (flags, frame) = bed.received_parts(domid, 0).pop().unwrap();
        assert_eq!((flags, is_right(&frame)), (NETRXF_DATA_VALIDATED, true), "guest {domid}");
    }
}

#[test]
fn a_long_packet_for_all_is_dropped() {
    let mut bed = Bed::new();
    let one = bed.running(1);
    bed.running(2);
    bed.accept(2, VifFeatures::ALL);
    bed.post(2, 200);
    let mut frame = long(2, 1, 10_000);
    frame[..6].fill(0xff);
    bed.send_parts(1, 0, &frame, &parts(frame.len()), (NETTXF_CSUM_BLANK, Some(gso(1460))));
    bed.run(1);
    assert!(bed.received(2).is_empty() && bed.frame_out().is_none());
    assert_eq!(bed.traffic(&one).dropped_frames, 1);
    frame[6..12].copy_from_slice(&mac(99).0);
    bed.frame_in_with(header(1460), &frame);
    assert!(bed.received(2).is_empty());
}

#[test]
fn a_long_frame_waits_until_all_its_pages_are_posted() {
    let mut bed = Bed::new();
    let one = bed.running(1);
    bed.accept(1, VifFeatures::ALL);
    let frame = long(1, 99, 60_000);
    let slots = parts(frame.len()).len() + 1;
    for posted in 0..slots {
        assert!(bed.received(1).is_empty(), "{posted} of {slots} pages");
        let ring = bed.page(1, RX_REF);
        if posted == 0 {
            bed.frame_in_with(header(1460), &frame);
            assert_eq!(bed.domains.net.waiting_bytes(), frame.len() + OVERHEAD);
        }
        let before = frontend::producer(&ring);
        let id = u16::try_from(posted).unwrap();
        frontend::post(&ring, id, DATA_REF + u32::from(id));
        // An event comes with the last page only.
        assert_eq!(frontend::asked_for_event(&ring, before), posted + 1 == slots);
    }
    bed.run(1);
    assert_long(&bed.received_parts(1, 0), &frame);
    assert_eq!(bed.domains.net.waiting_bytes(), 0);

    // One that takes no long packets any more loses those that wait.
    bed.frame_in_with(header(1460), &frame);
    bed.accept(1, VifFeatures::NONE);
    bed.post(1, 100);
    bed.run(1);
    assert_eq!((bed.received(1).len(), bed.traffic(&one).dropped_frames), (slots, 1));
}

#[test]
fn long_frames_of_one_origin_leave_room_for_others() {
    let mut bed = Bed::new();
    for domid in 1..=3 {
        bed.running(domid);
    }
    bed.accept(3, VifFeatures::ALL);
    let frame = long(3, 1, 64_000);
    let sizes = parts(frame.len());
    let mut sent = 0;
    for _ in 0..25 {
        sent +=
            usize::from(bed.send_parts(1, 0, &frame, &sizes, (NETTXF_CSUM_BLANK, Some(gso(1460)))));
        bed.run(1);
        assert_eq!(bed.sent(1).len(), sent);
    }
    let waiting = bed.domains.net.waiting_bytes();
    assert!(waiting > MOST_BYTES_OF_ONE && waiting <= 2 << 20, "{waiting} bytes wait");
    bed.send(2, 0, &frame_to(3, 2));
    bed.run(2);
    // The receiver is shared now: the next long frame makes its sender wait.
    bed.send_parts(1, 0, &frame, &sizes, (NETTXF_CSUM_BLANK, Some(gso(1460))));
    bed.run(1);
    sent += sizes.len() + 1;
    bed.send_parts(1, 0, &frame, &sizes, (NETTXF_CSUM_BLANK, Some(gso(1460))));
    bed.run(1);
    assert_eq!(bed.sent(1).len(), sent, "the sender is held");
    bed.now += HOLD;
    bed.settle();
    let port = bed.vif_port(1);
    bed.domains.event(port);
    bed.domains.turn(bed.now, &mut bed.clients);
    bed.settle();
    assert_eq!(bed.sent(1).len(), sent + sizes.len() + 1);
    // The short frame is still there.
    bed.post(3, 100);
    bed.run(3);
    assert!(bed.received(3).contains(&60));
}

#[test]
fn a_turn_copies_a_bounded_number_of_pages() {
    let mut bed = Bed::new();
    bed.running(1);
    bed.running(2);
    bed.accept(2, VifFeatures::ALL);
    bed.post(2, 250);
    let frame = long(2, 1, 64_000);
    for _ in 0..13 {
        bed.send_parts(1, 0, &frame, &parts(frame.len()), (NETTXF_CSUM_BLANK, Some(gso(1460))));
    }
    let port = bed.vif_port(1);
    bed.domains.event(port);
    while bed.domains.has_work() {
        let before = bed.domains.host.copied;
        bed.domains.turn(bed.now, &mut bed.clients);
        let copied = bed.domains.host.copied - before;
        assert!(copied <= 2 * 80, "{copied} pages in one turn");
    }
    assert_eq!(bed.sent(1).len(), 13 * 17);
}

#[test]
fn requests_that_are_not_those_of_a_frame_cost_the_device() {
    let extra = |kind, flags| ExtraInfo { kind, flags, size: 1460, gso_type: 1, ..gso(0) };
    let more = NETTXF_MORE_DATA;
    type Attack<'a> = &'a dyn Fn(&FakePage);
    let attacks: &[(&str, Attack<'_>)] = &[
        ("did not publish", &|ring| frontend::send(ring, DATA_REF, 0, more, 0, 60)),
        ("did not publish", &|ring| frontend::send(ring, DATA_REF, 0, NETTXF_EXTRA_INFO, 0, 60)),
        ("did not publish", &|ring| {
            frontend::send(ring, DATA_REF, 0, NETTXF_EXTRA_INFO | more, 0, 60);
            frontend::send_extra(ring, extra(1, 0));
        }),
        ("did not publish", &|ring| {
            frontend::send(ring, DATA_REF, 0, NETTXF_EXTRA_INFO, 0, 60);
            frontend::send_extra(ring, extra(1, 1));
        }),
        ("more than 18 slots", &|ring| {
            (0..200).for_each(|id| frontend::send(ring, DATA_REF, 0, more, id, 60));
        }),
        ("more than 18 slots", &|ring| {
            (0..18).for_each(|id| frontend::send(ring, DATA_REF, 0, more, id, 60));
            frontend::send(ring, DATA_REF, 0, 0, 18, 60);
        }),
        ("extra info of type 0", &|ring| {
            frontend::send(ring, DATA_REF, 0, NETTXF_EXTRA_INFO, 0, 60);
            frontend::send_extra(ring, extra(0, 0));
        }),
        ("extra info of type 5", &|ring| {
            frontend::send(ring, DATA_REF, 0, NETTXF_EXTRA_INFO, 0, 60);
            frontend::send_extra(ring, extra(5, 0));
        }),
        ("extra info of type 4", &|ring| {
            frontend::send(ring, DATA_REF, 0, NETTXF_EXTRA_INFO, 0, 60);
            (0..200).for_each(|_| frontend::send_extra(ring, extra(4, 1)));
        }),
    ];
    for (number, (fault, attack)) in attacks.iter().enumerate() {
        let mut bed = Bed::new();
        let one = bed.running(1);
        bed.running(2);
        attack(&bed.page(1, TX_REF));
        bed.run(1);
        let [None, Some(text)] = &bed.broken(&one)[..] else {
            panic!("attack {number}: {:?}", bed.broken(&one))
        };
        assert!(text.contains(fault), "attack {number}: {text}");
        // The others are served.
        bed.send(2, 0, &frame_to(99, 2));
        bed.run(2);
        assert_eq!(bed.frame_out(), Some(frame_to(99, 2)));
    }
}

#[test]
fn a_frame_that_cannot_be_sent_is_answered_with_an_error_in_each_slot() {
    let mut bed = Bed::new();
    let one = bed.running(1);
    let ring = bed.page(1, TX_REF);
    let tcp = long(99, 1, 8000);
    bed.page(1, DATA_REF).write(0, &tcp[..4096]);
    bed.page(1, DATA_REF + 1).write(0, &tcp[4096..]);
    let whole = u16::try_from(tcp.len()).unwrap();
    let rest = whole - 4096;
    let more = NETTXF_MORE_DATA;
    let blank = NETTXF_CSUM_BLANK;
    // Length of the frame, flags, grant, offset and size of the second part, extra info.
    let refused = [
        (8055, blank, DATA_REF + 1, 0, rest, Some(gso(1460))), // more than the packet
        (4000, blank, DATA_REF + 1, 0, rest, Some(gso(1460))), // less than nothing in the first
        (rest + 13, blank, DATA_REF + 1, 0, rest, Some(gso(1460))), // no header in the first
        (rest, blank, DATA_REF + 1, 0, rest, Some(gso(1460))), // nothing in the first
        (0, blank, DATA_REF + 1, 0, 0, Some(gso(1460))),
        (whole, blank, DATA_REF + 1, 200, rest, Some(gso(1460))), // past the page
        (4096, blank, DATA_REF + 1, 0, 0, Some(gso(1460))),       // an empty part
        (whole, blank, 9999, 0, rest, Some(gso(1460))),           // no such grant
        (whole, blank, DATA_REF + 1, 0, rest, None),              // over the MTU
        (whole, 0, DATA_REF + 1, 0, rest, Some(gso(1460))),       // with a checksum
        (whole, blank, DATA_REF + 1, 0, rest, Some(gso(0))),
        (whole, blank, DATA_REF + 1, 0, rest, Some(gso(1))), // too many segments
        (whole, blank, DATA_REF + 1, 0, rest, Some(gso(1461))), // over the MTU
        (whole, blank, DATA_REF + 1, 0, rest, Some(gso(u16::MAX))),
        (whole, blank, DATA_REF + 1, 0, rest, Some(ExtraInfo { gso_type: 2, ..gso(1460) })),
        (whole, blank, DATA_REF + 1, 0, rest, Some(ExtraInfo { gso_type: 9, ..gso(1460) })),
        (whole, blank, DATA_REF + 1, 0, rest, Some(ExtraInfo { kind: 2, ..gso(1460) })),
    ];
    for (number, (length, flags, gref, offset, size, extra)) in refused.into_iter().enumerate() {
        let before = bed.sent(1).len();
        let has_extra = if extra.is_some() { NETTXF_EXTRA_INFO } else { 0 };
        frontend::send(&ring, DATA_REF, 0, flags | more | has_extra, 7, length);
        if let Some(extra) = extra {
            frontend::send_extra(&ring, extra);
        }
        frontend::send(&ring, gref, offset, 0, 8, size);
        // A guest whose frames are refused is served later.
        bed.run(1);
        bed.now += Duration::from_millis(20);
        bed.domains.turn(bed.now, &mut bed.clients);
        let expected: &[_] = match extra {
            Some(_) => &[(7, -1), (8, -1), (0, 1)],
            None => &[(7, -1), (8, -1)],
        };
        assert_eq!(bed.sent(1)[before..], *expected, "frame {number}");
        assert_eq!(bed.frame_out(), None, "frame {number}");
        assert_eq!(bed.traffic(&one).dropped_frames, number as u64 + 1);
    }
    assert_eq!(bed.broken(&one), [None, None]);
    let sizes = [4096, usize::from(rest)];
    bed.send_parts(1, 50, &tcp, &sizes, (blank, Some(gso(1460))));
    bed.run(1);
    bed.now += Duration::from_millis(20);
    bed.domains.turn(bed.now, &mut bed.clients);
    assert!(bed.frame_out_with_header() == Some((header(1460), tcp)));
}

#[test]
fn a_part_that_cannot_be_delivered_is_an_error_in_its_slot() {
    let mut bed = Bed::new();
    let one = bed.running(1);
    bed.accept(1, VifFeatures::ALL);
    bed.post(1, 2);
    frontend::post(&bed.page(1, RX_REF), 2, 9999);
    bed.post(1, 2);
    bed.frame_in_with(header(1460), &long(1, 99, 8000));
    // The first page, the extra info, and the second page.
    assert_eq!(bed.received(1)[0], 4096);
    assert_eq!(bed.received(1)[2], -1);
    assert_eq!(bed.traffic(&one).dropped_frames, 1);
}

#[test]
fn a_long_frame_passes_at_any_rate_and_counts_in_full() {
    let mut bed = Bed::new();
    bed.guest(1);
    let mut limited = attach(1);
    first(&mut limited).rate = Some(Rate { bytes: 2000, interval_us: 2000 });
    bed.attach(&limited).unwrap();
    let frame = long(99, 1, 60_000);
    for expected in [true, false] {
        bed.send_parts(1, 0, &frame, &parts(frame.len()), (NETTXF_CSUM_BLANK, Some(gso(1460))));
        let port = bed.ports(1).1;
        bed.domains.event(port);
        bed.settle();
        assert_eq!(bed.frame_out().is_some(), expected);
    }
    for (milliseconds, expected) in [(59, false), (2, true)] {
        bed.now += Duration::from_millis(milliseconds);
        bed.domains.turn(bed.now, &mut bed.clients);
        bed.settle();
        assert_eq!(bed.frame_out().is_some(), expected, "after the time that its bytes take");
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(200))]

    /// Chains of all kinds, and what a receiver accepts, change nothing for others.
    #[test]
    fn hostile_chains_harm_only_themselves(
        slots in proptest::collection::vec(
            (0u32..3, 0u16..4200, 0u16..16, proptest::prop_oneof![0u16..5000, 0u16..=u16::MAX]), 1..60),
        accepted in 0u32..16,
        posted in 0u16..60,
    ) {
        let mut bed = Bed::new();
        bed.running(1);
        bed.running(2);
        let good = bed.running(3);
        bed.accept(2, VifFeatures(accepted));
        bed.post(2, posted);
        bed.post(3, 1);
        let frame = long(2, 1, 8000);
        bed.page(1, DATA_REF).write(0, &frame[..4096]);
        bed.page(1, DATA_REF + 1).write(0, &frame[4096..]);
        let ring = bed.page(1, TX_REF);
        for (number, (kind, offset, flags, size)) in slots.into_iter().enumerate() {
            if kind == 2 {
                frontend::send_extra(&ring, gso(size));
            } else {
                let id = u16::try_from(number).unwrap();
                frontend::send(&ring, DATA_REF + kind, offset % 64, flags, id, size);
            }
        }
        let port = bed.vif_port(1);
        bed.domains.event(port);
        for _ in 0..20 {
            bed.domains.turn(bed.now, &mut bed.clients);
            while bed.frame_out().is_some() {}
        }
        bed.frame_in_once(&frame_to(3, 99));
        proptest::prop_assert!(bed.received(3).contains(&60));
        proptest::prop_assert_eq!(bed.broken(&good), [None, None]);
    }
}
