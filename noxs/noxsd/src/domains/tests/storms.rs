// SPDX-License-Identifier: GPL-3.0-or-later
//! Tests of guests that cause turns for nothing.

use super::*;

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

#[test]
fn requests_that_are_all_refused_are_taken_ever_more_slowly() {
    let mut bed = Bed::new();
    bed.running(1);
    let ring = bed.page(1, TX_REF);
    let fill = |ring: &FakePage, sent: &mut u32| {
        while *sent < frontend::responses(ring) + NetTx::SLOTS {
            // No header, and no byte that a rate counts.
            frontend::send(ring, 0, 0, 0, 0, 0);
            *sent += 1;
        }
    };
    let (mut sent, port, end) = (0, bed.vif_port(1), bed.now + Duration::from_secs(1));
    fill(&ring, &mut sent);
    bed.domains.event(port);
    while bed.now < end {
        bed.domains.turn(bed.now, &mut bed.clients);
        fill(&ring, &mut sent);
        bed.now += Duration::from_micros(10);
    }
    let answered = frontend::responses(&ring);
    assert!(answered < 64 * 80, "{answered} requests in a second");
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
