// SPDX-License-Identifier: GPL-3.0-or-later
//! Tests of frames between guests and the tap.

use super::*;

#[test]
fn frames_go_between_guests_and_the_tap() {
    let mut bed = Bed::new();
    let one = bed.running(1);
    bed.running(2);
    bed.post(2, 4);
    bed.send(1, 0, &frame_to(2, 1));
    bed.send(1, 1, &frame_to(99, 1));
    bed.run(1);
    assert_eq!(bed.sent(1), [(0, 0), (1, 0)]);
    assert_eq!(bed.received(2), [60]);
    let mut arrived = [0; 60];
    bed.page(2, DATA_REF).read(0, &mut arrived);
    assert_eq!(arrived[..], frame_to(2, 1)[..]);
    assert_eq!(bed.frame_out(), Some(frame_to(99, 1)));
    assert_eq!(bed.frame_out(), None);

    bed.frame_in(&frame_to(2, 99));
    assert_eq!(bed.received(2), [60, 60]);
    let traffic = bed.traffic(&one);
    assert_eq!((traffic.from_guest_frames, traffic.from_guest_bytes), (2, 120));
}

#[test]
fn many_frames_take_few_copies() {
    let mut bed = Bed::new();
    bed.running(1);
    bed.running(2);
    bed.post(2, 256);
    for slot in 0..128 {
        bed.send(1, slot, &frame_to(2, 1));
    }
    bed.run(1);
    assert_eq!(bed.received(2), [60; 128]);
    // Two batches, each fetched in one call and delivered in one.
    assert_eq!(bed.domains.host.copies, 4);
}

#[test]
fn a_forged_source_is_dropped_and_counted() {
    let mut bed = Bed::new();
    let one = bed.running(1);
    bed.running(2);
    bed.post(2, 4);
    bed.send(1, 0, &build::ipv4(mac(2), mac(9), ip(1)));
    bed.send(1, 1, &build::ipv4(mac(2), mac(1), ip(9)));
    bed.send(1, 2, &build::arp(mac(1), 2, ip(2), ip(1)));
    bed.run(1);
    assert_eq!(bed.sent(1), [(0, 0), (1, 0), (2, 0)]);
    assert!(bed.received(2).is_empty());
    assert_eq!(bed.frame_out(), None);
    assert_eq!(bed.traffic(&one).dropped_frames, 3);
}

#[test]
fn requests_that_cannot_be_served_get_an_error() {
    let mut bed = Bed::new();
    let one = bed.running(1);
    let ring = bed.page(1, TX_REF);
    let bad = [
        (9999, 0, 0, 60),        // no such grant
        (DATA_REF, 0, 1, 60),    // no checksum, and no place for one
        (DATA_REF, 0, 0, 13),    // no header
        (DATA_REF, 0, 0, 1515),  // over the MTU
        (DATA_REF, 4040, 0, 60), // past the page
        (DATA_REF, u16::MAX, 0, u16::MAX),
    ];
    for (id, (gref, offset, flags, size)) in (0..).zip(bad) {
        frontend::send(&ring, gref, offset, flags, id, size);
    }
    bed.run(1);
    let mut sent = bed.sent(1);
    sent.sort_unstable();
    assert_eq!(sent, (0..6).map(|id| (id, -1)).collect::<Vec<_>>());
    assert_eq!(bed.traffic(&one).dropped_frames, 6);
    assert_eq!(bed.broken(&one), [None, None]);
}

#[test]
fn a_bad_page_for_receiving_is_an_error() {
    let mut bed = Bed::new();
    let one = bed.running(1);
    frontend::post(&bed.page(1, RX_REF), 0, 9999);
    bed.post(1, 1);
    bed.frame_in(&frame_to(1, 99));
    bed.frame_in(&frame_to(1, 99));
    bed.frame_in(&[0xff; 5]);
    bed.frame_in(&[&frame_to(1, 99)[..], &[0; 1500]].concat());
    assert_eq!(bed.received(1), [-1, 60]);
    assert_eq!(bed.traffic(&one).dropped_frames, 2);
}

#[test]
fn floods_are_limited_and_never_return_to_their_sender() {
    let mut bed = Bed::new();
    let one = bed.running(1);
    bed.running(2);
    bed.post(1, 200);
    bed.post(2, 200);
    let broadcast = build::ipv4(MacAddr([0xff; 6]), mac(1), ip(1));
    for slot in 0..100 {
        bed.send(1, slot, &broadcast);
    }
    bed.run(1);
    assert_eq!(bed.received(2).len(), 64);
    assert!(bed.received(1).is_empty());
    assert_eq!(bed.traffic(&one).dropped_frames, 36);
    bed.frame_in(&build::ipv4(MacAddr([0xff; 6]), mac(99), ip(99)));
    assert_eq!((bed.received(1).len(), bed.received(2).len()), (1, 65));
}

#[test]
fn drops_are_listed_by_domid_in_several_replies() {
    let mut bed = Bed::new();
    bed.guest(5);
    let template = attach(5);
    let many = u16::try_from(MAX_DROPPED).unwrap() + 10;
    for domid in 1..=many {
        bed.domains.host.guest_rings(domid);
        let mut attach = template.clone();
        attach.id.domid = domid;
        let [high, low] = domid.to_be_bytes();
        first(&mut attach).mac = MacAddr([0, 0x16, 0x3e, 1, high, low]);
        first(&mut attach).ipv4 = Some([10, 1, high, low].into());
        bed.attach(&attach).unwrap();
    }
    assert_eq!(bed.domains.dropped(0), (vec![], None));
    // A request that is too short for a frame.
    for domid in (1..=many).filter(|domid| *domid != 7) {
        frontend::send(&bed.page(domid, TX_REF), 0, 0, 0, 0, 1);
        bed.run(domid);
    }
    let (first, next) = bed.domains.dropped(0);
    assert!(first.len() <= MAX_DROPPED);
    let (rest, end) = bed.domains.dropped(next.unwrap());
    assert_eq!(end, None);
    let listed: Vec<u16> = first.iter().chain(&rest).map(|vif| vif.id.domid).collect();
    let expected: Vec<u16> = (1..=many).filter(|domid| *domid != 7).collect();
    assert_eq!(listed, expected);
    assert_eq!((first[0].index, first[0].frames), (0, 1));
    assert_eq!(bed.domains.dropped(u16::MAX), (vec![], None));
}

#[test]
fn counters_are_reported_of_all_domains_in_parts_that_fit_in_a_packet() {
    let mut bed = Bed::new();
    let mut all = vec![bed.running(1), bed.running(2)];
    for domid in 3..1200 {
        bed.guest(domid);
        let mut attach = attach(3);
        attach.id.domid = domid;
        let [high, low] = domid.to_be_bytes();
        let identity = first(&mut attach);
        (identity.mac, identity.ipv4, identity.ipv6) =
            (MacAddr([0, 0x16, 0x3e, 1, high, low]), None, None);
        bed.attach(&attach).unwrap();
        all.push(attach);
    }
    bed.post(2, 4);
    bed.send(1, 0, &frame_to(2, 1));
    bed.run(1);
    bed.received(2);
    let (mut counted, mut from, mut parts) = (Vec::new(), Some(0), 0);
    while let Some(first) = from {
        let (counters, next) = bed.domains.counters(first);
        let reply = Reply::Counters { counters, next };
        assert!(noxs_control::encode(&reply).is_some(), "it fits in a packet");
        let Reply::Counters { counters, .. } = reply else { unreachable!() };
        assert_eq!(counters.vbds, [], "a console is not counted");
        counted.extend(counters.vifs);
        (from, parts) = (next, parts + 1);
    }
    assert_eq!(parts, 2);
    assert_eq!(counted.len(), all.len());
    assert!(counted.iter().zip(&all).all(|(counted, attach)| counted.id == attach.id));
    let (one, two) = (counted[0].counters, counted[1].counters);
    assert_eq!((one.from_guest_frames, one.from_guest_bytes), (1, 60));
    assert_eq!((two.to_guest_frames, two.to_guest_bytes), (1, 60));
}
