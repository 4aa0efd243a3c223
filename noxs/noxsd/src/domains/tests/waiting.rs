// SPDX-License-Identifier: GPL-3.0-or-later
//! Tests of frames that wait for pages of their receiver, or because of the rate of their sender.

use super::*;
use crate::net::waiting::{AGE, ALL_BYTES, CROWDED_AGE, HOLD, MOST_OF_ONE, OVERHEAD};

#[test]
fn a_burst_waits_for_pages_in_order() {
    let mut bed = Bed::new();
    let one = bed.running(1);
    bed.post(1, 30);
    for length in 0..100 {
        bed.frame_in(&[&frame_to(1, 99)[..], &vec![0; length]].concat());
    }
    assert_eq!(bed.received(1).len(), 30);
    assert_eq!(
        bed.domains.net.waiting_bytes(),
        (30..100).map(|length| 60 + length + OVERHEAD).sum::<usize>()
    );
    bed.post(1, 50);
    bed.run(1);
    bed.post(1, 50);
    bed.run(1);
    assert_eq!(bed.received(1), (60..160).collect::<Vec<i16>>());
    assert_eq!(bed.traffic(&one).dropped_frames, 0);
    assert_eq!(bed.domains.net.waiting_bytes(), 0);
    // Pages that are left over take new frames at once.
    bed.frame_in(&frame_to(1, 99));
    assert_eq!(bed.received(1).len(), 101);
}

#[test]
fn waiting_frames_are_bounded_and_dropped_with_the_guest() {
    let mut bed = Bed::new();
    let one = bed.running(1);
    let two = bed.running(2);
    for _ in 0..600 {
        bed.frame_in(&frame_to(1, 99));
    }
    bed.frame_in(&build::ipv4(MacAddr([0xff; 6]), mac(99), ip(99)));
    assert_eq!(bed.domains.net.waiting_bytes(), 512 * (60 + OVERHEAD));
    assert_eq!(bed.traffic(&one).dropped_frames, 89);
    assert_eq!(bed.traffic(&two).dropped_frames, 1, "a flooded frame does not wait");
    bed.domains.detach(one.id, &mut bed.clients).unwrap();
    assert_eq!(bed.domains.net.waiting_bytes(), 0);
}

#[test]
fn a_guest_over_its_rate_still_receives() {
    let mut bed = Bed::new();
    bed.guest(1);
    let mut limited = attach(1);
    first(&mut limited).rate = Some(Rate { bytes: 60, interval_us: 1_000_000 });
    bed.attach(&limited).unwrap();
    let (_, port) = bed.ports(1);
    for slot in 0..200 {
        bed.send(1, slot, &frame_to(99, 1));
    }
    bed.run(1);
    assert!(bed.sent(1).len() < 200);
    for _ in 0..5 {
        bed.frame_in(&frame_to(1, 99));
    }
    assert!(bed.domains.host.unmasked.contains(&port), "so that posted pages are noticed");
    assert_eq!(bed.domains.turns.waiting(), 1);
    bed.post(1, 10);
    bed.run(1);
    assert_eq!(bed.received(1), [60; 5]);
    assert_eq!(bed.domains.turns.waiting(), 1);
}

#[test]
fn a_guest_over_its_rate_waits_and_loses_no_frame() {
    let mut bed = Bed::new();
    bed.guest(1);
    let mut limited = attach(1);
    first(&mut limited).rate = Some(Rate { bytes: 6000, interval_us: 50_000 });
    bed.attach(&limited).unwrap();
    let (_, port) = bed.ports(1);
    for slot in 0..200 {
        bed.send(1, slot, &frame_to(99, 1));
    }
    let start = bed.now;
    bed.run(1);
    assert_eq!(bed.sent(1).len(), 100, "6000 bytes are 100 frames");
    assert!(!bed.domains.host.unmasked.contains(&port), "only the time wakes the vif");
    while let Some(deadline) = bed.domains.deadline() {
        assert!(deadline > bed.now);
        bed.now = deadline;
        bed.domains.turn(bed.now, &mut bed.clients);
        bed.settle();
        while bed.frame_out().is_some() {}
    }
    assert_eq!(bed.sent(1).len(), 200);
    let took = bed.now - start;
    assert!(took >= Duration::from_millis(50) && took < Duration::from_millis(52), "{took:?}");
    assert!(bed.domains.host.unmasked.contains(&port));
}

#[test]
fn frames_for_guests_that_take_none_make_room_for_others() {
    const SILENT: u16 = 57;
    let mut bed = Bed::new();
    let good = bed.running(200);
    for domid in 1..=SILENT {
        bed.running(domid);
        for _ in 0..512 {
            bed.frame_in(&[&frame_to(domid, 99)[..], &[0; 1400]].concat());
        }
    }
    let held = bed.domains.net.waiting_bytes();
    assert!(held > ALL_BYTES / 2 && held < ALL_BYTES, "{held}");
    // A live guest has its share even so.
    let burst = |bed: &mut Bed| {
        for _ in 0..100 {
            bed.frame_in(&[&frame_to(200, 99)[..], &[0; 1400]].concat());
        }
        bed.post(200, 100);
        bed.run(200);
    };
    burst(&mut bed);
    assert!(bed.received(200).len() > 50);

    // After a second the guests that take nothing lose what is held, until the store is half empty.
    let later = bed.domains.deadline().unwrap();
    assert!(later <= bed.now + CROWDED_AGE);
    bed.now += CROWDED_AGE;
    while bed.domains.deadline().is_some_and(|deadline| deadline <= bed.now) {
        bed.domains.turn(bed.now, &mut bed.clients);
    }
    assert!(bed.domains.net.waiting_bytes() <= ALL_BYTES / 2);
    let lost = bed.traffic(&good).dropped_frames;
    burst(&mut bed);
    assert_eq!(bed.traffic(&good).dropped_frames, lost);
}

#[test]
fn the_vifs_of_a_guest_share_what_may_wait_for_it() {
    let mut bed = Bed::new();
    bed.guest(1);
    let mut attach = Attach { console: None, ..attach(1) };
    for index in 1..8 {
        let ring = DATA_REF + 2 * u32::from(index);
        let identity = Some(VifIdentity { mac: mac(10 + index), ipv4: None, ..identity(1) });
        let (tx_ring, rx_ring) = (ring, ring + 1);
        let first = attach.vifs[0].clone();
        attach.vifs.push(VifDevice { index, tx_ring, rx_ring, identity, ..first });
    }
    bed.attach(&attach).unwrap();
    for to in [1, 11, 12, 13, 14, 15, 16, 17] {
        for _ in 0..512 {
            bed.frame_in(&[&frame_to(to, 99)[..], &[0; 1400]].concat());
        }
    }
    let held = bed.domains.net.waiting_bytes();
    assert!(held > ALL_BYTES / 32 && held <= ALL_BYTES / 16, "{held}");
}

#[test]
fn nothing_is_kept_for_a_guest_that_has_posted_no_page_for_long() {
    let mut bed = Bed::new();
    let one = bed.running(1);
    let start = bed.now;
    bed.frame_in(&frame_to(1, 99));
    bed.now = start + AGE - CROWDED_AGE / 2;
    bed.frame_in(&frame_to(1, 99));
    assert_eq!(bed.domains.net.waiting_bytes(), 2 * (60 + OVERHEAD));
    // No further frame and no event comes: the timer alone frees the memory.
    while let Some(deadline) = bed.domains.deadline() {
        bed.now = deadline.max(bed.now);
        bed.domains.turn(bed.now, &mut bed.clients);
    }
    assert!(bed.now <= start + AGE + 2 * CROWDED_AGE);
    assert_eq!((bed.domains.net.waiting_bytes(), bed.traffic(&one).dropped_frames), (0, 2));
    bed.frame_in(&frame_to(1, 99));
    assert_eq!(bed.domains.net.waiting_bytes(), 0, "the guest still takes nothing");

    // As soon as it posts a page it receives again, and frames wait for it as before.
    bed.post(1, 1);
    bed.frame_in(&frame_to(1, 99));
    bed.frame_in(&frame_to(1, 99));
    assert_eq!(bed.received(1), [60]);
    assert_eq!(bed.domains.net.waiting_bytes(), 60 + OVERHEAD);
    bed.domains.detach(one.id, &mut bed.clients).unwrap();
    assert_eq!((bed.domains.net.waiting_bytes(), bed.domains.deadline()), (0, None));
}

#[test]
fn a_guest_that_takes_frames_slowly_loses_none() {
    let mut bed = Bed::new();
    let one = bed.running(1);
    for _ in 0..20 {
        bed.frame_in(&frame_to(1, 99));
    }
    for _ in 0..20 {
        bed.now += AGE * 9 / 10;
        bed.domains.turn(bed.now, &mut bed.clients);
        bed.post(1, 1);
        bed.run(1);
    }
    assert_eq!(bed.received(1).len(), 20);
    assert_eq!(bed.traffic(&one).dropped_frames, 0);
}

#[test]
fn the_origins_of_waiting_frames_take_turns_and_share_the_room() {
    let mut bed = Bed::new();
    let one = bed.running(1);
    bed.running(2);
    for count in [200, 200, 140] {
        for slot in 0..count {
            bed.send(2, slot, &frame_to(1, 2));
        }
        bed.run(2);
    }
    let lost = bed.traffic(&one).dropped_frames;
    assert_eq!(lost, 540 - 512, "the queue is full");
    // A flood of one guest takes no other's place, and no other's turn.
    for _ in 0..3 {
        bed.frame_in(&[&frame_to(1, 99)[..], &[0; 40]].concat());
    }
    assert_eq!(bed.domains.net.waiting_bytes(), 512 * (60 + OVERHEAD) + 3 * 40);
    assert_eq!(bed.traffic(&one).dropped_frames, lost + 3, "of the flood");
    bed.post(1, 8);
    bed.run(1);
    assert_eq!(bed.received(1), [60, 100, 60, 100, 60, 100, 60, 60]);
    // An origin that has no fewer frames than the others loses its own.
    for _ in 0..600 {
        bed.frame_in(&[&frame_to(1, 99)[..], &[0; 40]].concat());
    }
    let waiting = 256 * (60 + OVERHEAD) + 256 * (100 + OVERHEAD);
    assert_eq!(bed.domains.net.waiting_bytes(), waiting);
}

#[test]
fn a_guest_whose_frames_wait_for_a_receiver_of_others_is_held() {
    let mut bed = Bed::new();
    let one = bed.running(1);
    bed.running(2);
    bed.post(1, 10);
    bed.frame_in(&frame_to(1, 99));
    let port = bed.vif_port(2);
    for slot in 0..200 {
        bed.send(2, slot, &frame_to(1, 2));
    }
    bed.domains.event(port);
    bed.settle();
    let taken = bed.sent(2).len();
    assert!((9 + MOST_OF_ONE..9 + MOST_OF_ONE + 64).contains(&taken), "{taken}");
    // Neither events nor turns make it send before its time, and it loses nothing.
    for _ in 0..10 {
        bed.run(2);
    }
    assert_eq!(bed.sent(2).len(), taken);
    assert_eq!(bed.domains.deadline(), Some(bed.now + HOLD));
    assert_eq!(bed.traffic(&one).dropped_frames, 0);
    bed.frame_in(&frame_to(1, 99));
    bed.now += HOLD;
    bed.domains.turn(bed.now, &mut bed.clients);
    bed.settle();
    assert!(bed.sent(2).len() > taken);

    // Nothing holds it while it is the only one that sends to the receiver.
    bed.now += Duration::from_millis(20);
    bed.domains.turn(bed.now, &mut bed.clients);
    bed.settle();
    assert_eq!(bed.sent(2).len(), 200);
}
