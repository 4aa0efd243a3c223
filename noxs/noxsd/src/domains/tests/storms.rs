// SPDX-License-Identifier: GPL-3.0-or-later
//! Tests of guests that cause turns for nothing.

use super::*;
use crate::net::transfer::{BATCH, SHARED_BATCH};

/// A second of a guest that sends an event as soon as its port is unmasked. Returns how many events
/// were taken.
fn storm(bed: &mut Bed, port: LocalPort) -> usize {
    let end = bed.now + Duration::from_secs(1);
    let mut events = 0;
    bed.domains.event(port);
    while bed.now < end {
        bed.domains.turn(bed.now, &mut bed.clients);
        if bed.domains.host.unmasked.drain(..).any(|unmasked| unmasked == port) {
            events += 1;
            bed.domains.event(port);
        }
        // Each round takes 10 us.
        bed.now += Duration::from_micros(10);
    }
    events
}

#[test]
fn events_for_nothing_are_taken_ever_more_slowly() {
    let mut bed = Bed::new();
    bed.guest(1);
    let one = shared_port::shared(1);
    bed.attach(&one).unwrap();
    let (port, _) = bed.ports(1);
    let events = storm(&mut bed, port);
    assert!(events < 80, "{events} events in a second");

    // With work to do it is served at once again, after the current delay at most.
    bed.send(1, 0, &frame_to(99, 1));
    let start = bed.now;
    while bed.sent(1).is_empty() {
        bed.now = bed.domains.deadline().unwrap().max(bed.now);
        bed.domains.turn(bed.now, &mut bed.clients);
    }
    assert!(bed.now - start <= Duration::from_millis(16));
    bed.settle();
    bed.send(1, 1, &frame_to(99, 1));
    bed.domains.event(port);
    bed.domains.turn(bed.now, &mut bed.clients);
    assert_eq!(bed.sent(1).len(), 2);
}

#[test]
fn a_storm_before_configure_masks_the_port_until_then() {
    let mut bed = Bed::new();
    bed.guest(1);
    let mut one = Attach { console: None, ..attach(1) };
    let identity = one.vifs[0].identity.take().unwrap();
    bed.attach(&one).unwrap();
    let port = bed.devices(1)[0].port.unwrap();
    let events = storm(&mut bed, port);
    assert!(events < 10, "{events} events in a second");
    bed.configure(one.id, &[identity]).unwrap();
    bed.domains.turn(bed.now, &mut bed.clients);
    assert!(bed.domains.host.unmasked.contains(&port));
    bed.send(1, 0, &frame_to(99, 1));
    bed.domains.event(port);
    bed.now = bed.domains.deadline().map_or(bed.now, |deadline| deadline.max(bed.now));
    bed.domains.turn(bed.now, &mut bed.clients);
    assert_eq!(bed.sent(1), [(0, 0)]);
}

/// A fifth of a second of a guest whose ring is always full of requests for the page [`DATA_REF`].
/// Returns how many were answered.
fn flood(bed: &mut Bed, domid: u16, length: u16) -> u32 {
    let ring = bed.page(domid, TX_REF);
    let before = frontend::responses(&ring);
    let mut sent = before;
    let fill = |sent: &mut u32| {
        while *sent < frontend::responses(&ring) + NetTx::SLOTS {
            frontend::send(&ring, DATA_REF, 0, 0, 0, length);
            *sent += 1;
        }
    };
    let (port, end) = (bed.vif_port(domid), bed.now + Duration::from_millis(200));
    fill(&mut sent);
    bed.domains.event(port);
    while bed.now < end {
        bed.domains.turn(bed.now, &mut bed.clients);
        while bed.frame_out().is_some() {}
        fill(&mut sent);
        bed.now += Duration::from_micros(40);
    }
    frontend::responses(&ring) - before
}

#[test]
fn requests_that_are_all_refused_are_taken_ever_more_slowly() {
    let mut bed = Bed::new();
    bed.running(1);
    // No header, and no byte that a rate counts.
    let answered = flood(&mut bed, 1, 0);
    assert!(answered < 64 * 40, "{answered} requests");
}

#[test]
fn frames_that_are_all_dropped_are_taken_ever_more_slowly() {
    let frames = [
        ("with a false source", frame_to(99, 9)),
        ("to all, over the limit", build::ipv4(MacAddr([0xff; 6]), mac(1), ip(1))),
        ("to a guest that posts no page", frame_to(2, 1)),
        ("to itself", frame_to(1, 1)),
    ];
    let answered = |frame: &[u8]| {
        let mut bed = Bed::new();
        for domid in 1..=3 {
            bed.running(domid);
        }
        bed.page(1, DATA_REF).write(0, frame);
        flood(&mut bed, 1, 60)
    };
    for (what, frame) in frames {
        let answered = answered(&frame);
        assert!(answered < 64 * 40, "{what}: {answered} requests");
    }
    assert!(answered(&frame_to(99, 1)) > 64 * 40, "frames that reach the tap are not delayed");
}

#[test]
fn a_guest_whose_frames_are_dropped_now_and_then_is_never_delayed() {
    let mut bed = Bed::new();
    bed.running(1);
    let port = bed.vif_port(1);
    for round in 0..100u16 {
        bed.now += Duration::from_millis(100);
        bed.send(1, round, &frame_to(99, 9));
        bed.domains.event(port);
        bed.domains.turn(bed.now, &mut bed.clients);
        assert_eq!(bed.sent(1).len(), usize::from(round) + 1);
        assert_eq!(bed.domains.deadline(), None);
    }
}

#[test]
fn a_guest_gets_small_batches_only_while_others_are_served() {
    let mut bed = Bed::new();
    for domid in 1..=2 {
        bed.running(domid);
    }
    let (one, two) = (bed.vif_port(1), bed.vif_port(2));
    let send = |bed: &mut Bed, domid: u16, port| {
        for slot in 0..200 {
            bed.send(domid, slot, &frame_to(99, domid));
        }
        bed.domains.event(port);
        bed.domains.turn(bed.now, &mut bed.clients);
    };
    send(&mut bed, 1, one);
    assert_eq!(bed.sent(1).len(), BATCH, "it is alone");
    bed.domains.event(two);
    bed.domains.turn(bed.now, &mut bed.clients);
    let before = bed.sent(1).len();
    bed.domains.turn(bed.now, &mut bed.clients);
    assert_eq!(bed.sent(1).len(), before + SHARED_BATCH);
    bed.now += Duration::from_millis(10);
    let before = bed.sent(1).len();
    bed.domains.turn(bed.now, &mut bed.clients);
    assert!(bed.sent(1).len() > before + SHARED_BATCH, "it is alone again");
}

#[test]
fn a_guest_that_sends_and_prints_is_never_delayed() {
    let mut bed = Bed::new();
    bed.guest(1);
    bed.attach(&shared_port::shared(1)).unwrap();
    let (port, _) = bed.ports(1);
    for round in 0..200u16 {
        // An event with work, and one for what was done already, as Linux' console sends it.
        if round % 3 == 0 {
            console_frontend::print(&bed.page(1, CONSOLE_REF), b"line\n");
        } else {
            bed.send(1, round, &frame_to(99, 1));
        }
        for _ in 0..3 {
            bed.domains.event(port);
            bed.domains.turn(bed.now, &mut bed.clients);
            assert!(bed.domains.host.unmasked.drain(..).any(|unmasked| unmasked == port));
            assert_eq!(bed.domains.deadline(), None);
        }
        bed.domains.event(port);
        bed.domains.turn(bed.now, &mut bed.clients);
        while bed.frame_out().is_some() {}
    }
    assert_eq!(bed.sent(1).len(), (0..200).filter(|round| round % 3 != 0).count());
}
