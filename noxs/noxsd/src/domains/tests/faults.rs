// SPDX-License-Identifier: GPL-3.0-or-later
//! Tests of guests that break their rings.

use xen_abi::io::ring::RSP_EVENT;

use super::*;
use crate::host::serving;

#[test]
fn an_impossible_index_costs_one_guest_its_device() {
    let mut bed = Bed::new();
    let one = bed.running(1);
    let two = bed.running(2);
    bed.post(1, 1);
    frontend::set_producer(&bed.page(1, TX_REF), NetTx::SLOTS + 1);
    let bound = bed.domains.host.bound.len();
    bed.run(1);
    assert_eq!(bed.domains.host.bound.len(), bound - 1);
    let broken = bed.broken(&one);
    assert!(broken[0].is_none());
    assert!(broken[1].as_ref().is_some_and(|why| why.contains("transmit")), "{broken:?}");
    assert_eq!(bed.domains.broken().map(|s| s.id).collect::<Vec<_>>(), [one.id]);

    // The other guest is not affected, and frames for the address go to the tap.
    bed.send(2, 0, &frame_to(1, 2));
    bed.run(2);
    assert_eq!(bed.sent(2), [(0, 0)]);
    assert!(bed.frame_out().is_some());
    assert!(bed.received(1).is_empty());
    assert_eq!(bed.broken(&two), [None, None]);

    bed.domains.detach(one.id, &mut bed.clients).unwrap();
    assert_eq!(bed.domains.broken().count(), 0);
}

#[test]
fn a_broken_receive_ring_does_not_stop_the_sender() {
    let mut bed = Bed::new();
    bed.running(1);
    let two = bed.running(2);
    let three = bed.running(3);
    bed.post(3, 4);
    frontend::set_producer(&bed.page(2, RX_REF), u32::MAX);
    for slot in 0..4 {
        bed.send(1, slot, &frame_to(2 + slot % 2, 1));
    }
    bed.run(1);
    assert_eq!(bed.received(3), [60, 60]);
    assert!(bed.broken(&two)[1].is_some());
    assert_eq!(bed.broken(&three), [None, None]);
}

proptest::proptest! {
    // Few cases, because each creates a whole bed.
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    /// Whatever guests write into their rings, the devices of other guests keep working, and a
    /// frame for a well-behaved guest still arrives.
    #[test]
    fn hostile_guests_harm_only_themselves(
        writes in proptest::collection::vec(
            (1u16..3, 0usize..3, 0usize..1024, proptest::prelude::any::<u32>()), 0..100),
        indices in proptest::collection::vec((1u16..3, 0usize..3, 0u32..600), 0..20),
    ) {
        let mut bed = Bed::new();
        bed.running(1);
        bed.guest(2);
        bed.attach(&shared_port::shared(2)).unwrap();
        let good = bed.running(3);
        bed.post(3, 1);
        let rings = [CONSOLE_REF, TX_REF, RX_REF];
        for (domid, ring, word, value) in writes {
            bed.page(domid, rings[ring]).store(word * 4, value);
        }
        for (domid, ring, index) in indices {
            let page = bed.page(domid, rings[ring]);
            if ring == 0 {
                console_frontend::set_output_index(&page, index);
            } else {
                frontend::set_producer(&page, index);
            }
            bed.domains.events_lost();
            for _ in 0..20 {
                bed.domains.turn(bed.now, &mut bed.clients);
            }
            while bed.frame_out().is_some() {}
        }
        bed.frame_in_once(&frame_to(3, 99));
        proptest::prop_assert!(bed.received(3).contains(&60));
        proptest::prop_assert_eq!(bed.broken(&good), [None, None]);
    }
}

#[test]
fn a_lost_vif_keeps_its_counters() {
    let mut bed = Bed::new();
    let one = bed.running(1);
    bed.post(1, 2);
    bed.frame_in(&frame_to(1, 99));
    bed.send(1, 0, &frame_to(99, 1));
    bed.run(1);
    let before = bed.traffic(&one);
    assert_eq!((before.to_guest_frames, before.from_guest_frames), (1, 1));
    frontend::set_producer(&bed.page(1, RX_REF), u32::MAX);
    bed.frame_in(&frame_to(1, 99));
    assert!(bed.broken(&one)[1].is_some());
    assert_eq!(bed.traffic(&one), before);
}

#[test]
fn a_panic_would_be_attributed_to_the_guest_whose_ring_is_used() {
    let mut bed = Bed::new();
    let handles = [1, 2].map(|domid| {
        bed.guest(domid);
        let mut attach = Attach { console: None, ..attach(domid) };
        attach.id.handle = [domid.to_le_bytes()[0]; 16];
        bed.attach(&attach).unwrap();
        bed.post(domid, 8);
        attach.id.handle
    });
    let ports = [1, 2].map(|domid| bed.devices(domid)[0].port.unwrap());
    let notified_as = |bed: &mut Bed| {
        let host = &mut bed.domains.host;
        host.notified.drain(..).zip(host.served.drain(..)).collect::<Vec<_>>()
    };
    notified_as(&mut bed);
    for (domid, ring, responses) in [(1, TX_REF, 1), (2, RX_REF, 1)] {
        bed.page(domid, ring).store(RSP_EVENT, responses);
    }
    bed.send(1, 0, &frame_to(2, 1));
    bed.domains.event(ports[0]);
    bed.settle();
    assert_eq!(notified_as(&mut bed), [(ports[0], Some(handles[0])), (ports[1], Some(handles[1]))]);
    bed.page(2, RX_REF).store(RSP_EVENT, 2);
    bed.frame_in(&frame_to(2, 99));
    assert_eq!(notified_as(&mut bed), [(ports[1], Some(handles[1]))]);
    assert_eq!(serving::handle(), None, "between turns no guest is served");
}
