// SPDX-License-Identifier: GPL-3.0-or-later
//! Tests of frames for many ports: what they cost in all, and in one turn.

use super::*;
use crate::net::flood::{FRAME_COST, INTERVAL, RESERVE_COPIES, SWITCH_COPIES};
use crate::net::transfer::BATCH;

/// The MAC address of one of many guests.
fn many_mac(domid: u16) -> MacAddr {
    let [high, low] = domid.to_be_bytes();
    MacAddr([0, 0x16, 0x3e, 1, high, low])
}

fn many_ip(domid: u16) -> std::net::Ipv4Addr {
    let [high, low] = domid.to_be_bytes();
    [10, 1, high, low].into()
}

impl Bed {
    /// Attaches guests 1 to `count`, each with a vif, no console, and `posted` pages for frames.
    fn many(count: u16, posted: u16) -> Self {
        let mut bed = Self::new();
        let template = Attach { console: None, ..attach(1) };
        for domid in 1..=count {
            bed.domains.host.guest_rings(domid);
            bed.domains.host.pages.insert((domid, DATA_REF), FakePage::new(1));
            let mut attach = template.clone();
            attach.id.domid = domid;
            first(&mut attach).mac = many_mac(domid);
            first(&mut attach).ipv4 = Some(many_ip(domid));
            bed.attach(&attach).unwrap();
            for id in 0..posted {
                frontend::post(&bed.page(domid, RX_REF), id, DATA_REF);
            }
        }
        bed
    }

    /// Puts `count` broadcasts into the ring of one of [`many`](Self::many) guests, and raises its
    /// event.
    fn broadcast(&mut self, domid: u16, count: u16) {
        let frame = build::ipv4(MacAddr([0xff; 6]), many_mac(domid), many_ip(domid));
        self.page(domid, DATA_REF).write(0, &frame);
        for id in 0..count {
            frontend::send(&self.page(domid, TX_REF), DATA_REF, 0, 0, id, 60);
        }
        let port = self.devices(domid)[0].port.unwrap();
        self.domains.event(port);
    }

    fn received_by_many(&self, count: u16) -> usize {
        (1..=count).map(|domid| self.received(domid).len()).sum()
    }

    /// Serves until nothing is ready. Returns the most frames that one turn has copied, and the
    /// most calls that it has copied them with.
    fn longest_turn(&mut self) -> (usize, usize) {
        let mut longest = (0, 0);
        while self.domains.has_work() {
            let host = &self.domains.host;
            let before = (host.copied, host.copies);
            self.domains.turn(self.now, &mut self.clients);
            let host = &self.domains.host;
            longest.0 = longest.0.max(host.copied - before.0);
            longest.1 = longest.1.max(host.copies - before.1);
            while self.frame_out().is_some() {}
        }
        longest
    }
}

#[test]
fn the_longest_turn_does_not_grow_with_the_number_of_ports() {
    for ports in [100, 4000] {
        let mut bed = Bed::many(ports, 16);
        bed.broadcast(1, 64);
        bed.broadcast(2, 64);
        let announcement = build::arp(mac(99), 1, ip(99), ip(99));
        for _ in 0..20 {
            bed.write_to_tap(&announcement);
        }
        bed.domains.tap_ready(BridgeId(0));
        let (copied, calls) = bed.longest_turn();
        // Two floods are fetched, and one slice of them is delivered.
        assert!(copied <= 3 * BATCH, "{ports} ports: {copied} frames in one turn");
        assert!(calls <= 8, "{ports} ports: {calls} calls in one turn");
        assert!(bed.received_by_many(ports) > usize::from(ports), "the floods arrive nevertheless");
    }
}

#[test]
fn a_flood_reaches_each_port_once_while_others_are_served() {
    let mut bed = Bed::many(1000, 4);
    bed.broadcast(1, 1);
    bed.domains.turn(bed.now, &mut bed.clients);
    bed.domains.turn(bed.now, &mut bed.clients);
    assert!(bed.domains.has_work(), "the flood continues");
    let before = bed.received(3).len();
    let frame = build::ipv4(many_mac(3), many_mac(2), many_ip(2));
    bed.page(2, DATA_REF).write(0, &frame);
    frontend::send(&bed.page(2, TX_REF), DATA_REF, 0, 0, 0, 60);
    let port = bed.devices(2)[0].port.unwrap();
    bed.domains.event(port);
    bed.domains.turn(bed.now, &mut bed.clients);
    assert_eq!(bed.received(3).len(), before + 1);
    assert!(bed.domains.has_work(), "the flood continues");
    bed.settle();
    assert_eq!(bed.received_by_many(1000), 999 + 1);
    assert!(bed.received(1).is_empty());
}

#[test]
fn a_flood_leaves_no_port_out_when_others_are_removed() {
    let mut bed = Bed::many(200, 4);
    bed.broadcast(1, 1);
    let mut gone = 2;
    while bed.domains.has_work() {
        bed.domains.turn(bed.now, &mut bed.clients);
        for domid in [gone, 150 - gone] {
            let id = DomainId { domid, handle: [7; 16] };
            bed.domains.detach(id, &mut bed.clients).unwrap();
        }
        gone += 1;
    }
    assert!((2..=200).all(|domid| {
        let attached = bed.domains.by_domid.get(domid.into()).is_some();
        !attached || !bed.received(domid).is_empty()
    }));
}

#[test]
fn a_removed_guest_floods_no_more() {
    let mut bed = Bed::many(1000, 4);
    bed.broadcast(1, 4);
    bed.domains.turn(bed.now, &mut bed.clients);
    let id = DomainId { domid: 1, handle: [7; 16] };
    bed.domains.detach(id, &mut bed.clients).unwrap();
    bed.settle();
    assert!((2..=1000).map(|domid| bed.received(domid).len()).sum::<usize>() < 100);
}

#[test]
fn the_vifs_of_a_domain_share_what_it_may_flood() {
    let mut bed = Bed::new();
    bed.running(3);
    bed.post(3, 200);
    bed.guest(1);
    let two = several_vifs::two_vifs(1);
    bed.attach(&two).unwrap();
    for (vif, (tx_ring, _)) in several_vifs::RINGS.into_iter().enumerate() {
        let identity = two.vifs[vif].identity.unwrap();
        let gref = DATA_REF + 10 + u32::try_from(vif).unwrap();
        let frame = build::ipv4(MacAddr([0xff; 6]), identity.mac, identity.ipv4.unwrap());
        bed.page(1, gref).write(0, &frame);
        for id in 0..60 {
            frontend::send(&bed.page(1, tx_ring), gref, 0, 0, id, 60);
        }
    }
    bed.domains.events_lost();
    bed.settle();
    assert_eq!(bed.received(3).len(), 64);
}

#[test]
fn floods_of_all_guests_together_are_limited_and_still_reach_the_tap() {
    const PORTS: u16 = 256;
    let mut bed = Bed::many(PORTS, 255);
    let mut to_tap = 0;
    for _ in 0..8 {
        for domid in 1..=8 {
            bed.broadcast(domid, 8);
            while bed.domains.has_work() {
                bed.domains.turn(bed.now, &mut bed.clients);
                while bed.frame_out().is_some() {
                    to_tap += 1;
                }
            }
        }
    }
    assert_eq!(to_tap, 8 * 64, "no guest is over its own limit");
    let copies = bed.received_by_many(PORTS) as u64;
    let most = SWITCH_COPIES - RESERVE_COPIES;
    assert!(copies <= most && copies > most - 2 * FRAME_COST, "{copies}");

    // The tap has a limit of its own, and the guests' limit is full again later.
    let announcement = build::arp(mac(99), 1, ip(99), ip(99));
    bed.frame_in(&announcement);
    let with_tap = bed.received_by_many(PORTS) as u64;
    assert_eq!(with_tap, copies + u64::from(PORTS));
    bed.now += INTERVAL;
    bed.broadcast(1, 1);
    bed.settle();
    assert_eq!(bed.received_by_many(PORTS) as u64, with_tap + u64::from(PORTS) - 1);
}

#[test]
fn guests_that_flood_often_leave_room_for_those_that_flood_rarely() {
    const PORTS: u16 = 256;
    const OTHERS: usize = PORTS as usize - 1;
    let mut bed = Bed::many(PORTS, 255);
    for _ in 0..16 {
        for domid in 1..=4 {
            bed.broadcast(domid, 4);
            bed.settle();
            while bed.frame_out().is_some() {}
        }
    }
    let flooded = bed.received_by_many(PORTS);
    bed.broadcast(1, 1);
    bed.settle();
    assert_eq!(bed.received_by_many(PORTS), flooded, "the limit is used up");
    // Each frame from a domain of its own, and then several of one.
    for domid in 9..=16 {
        bed.broadcast(domid, 1);
        bed.settle();
    }
    assert_eq!(bed.received_by_many(PORTS), flooded + 8 * OTHERS);
    bed.broadcast(17, 10);
    bed.settle();
    assert_eq!(bed.received_by_many(PORTS), flooded + 12 * OTHERS, "four in a second are few");
}

/// A guest among 4000 always has a full ring of long frames, some to all others and some to one,
/// and the tap floods, too.
///
/// To count the instructions of each turn, run this test alone, built with `--release`, under
/// `valgrind --tool=callgrind --dump-before='*Domains*::turn'`. The longest of the 40 took 222,000,
/// with what the test itself does between two turns, and without the kernel and Xen, whose part
/// grows with the asserted number of frames only.
#[test]
fn turns_of_a_flood_to_4000_ports() {
    const PORTS: u16 = 4000;
    let mut bed = Bed::many(PORTS, 255);
    bed.domains.host.pages.insert((1, DATA_REF + 1), FakePage::new(1));
    for (gref, to) in [(DATA_REF, MacAddr([0xff; 6])), (DATA_REF + 1, many_mac(2))] {
        let mut frame = build::ipv4(to, many_mac(1), many_ip(1));
        frame.resize(1514, 0);
        bed.page(1, gref).write(0, &frame);
    }
    let ring = bed.page(1, TX_REF);
    let port = bed.devices(1)[0].port.unwrap();
    let announcement = build::arp(mac(99), 1, ip(99), ip(99));
    let mut sent = 0;
    for _ in 0..40 {
        while sent < frontend::responses(&ring) + NetTx::SLOTS {
            let gref = if sent % 16 == 0 { DATA_REF } else { DATA_REF + 1 };
            frontend::send(&ring, gref, 0, 0, 0, 1514);
            sent += 1;
        }
        bed.write_to_tap(&announcement);
        bed.domains.tap_ready(BridgeId(0));
        bed.domains.event(port);
        let before = bed.domains.host.copied;
        bed.domains.turn(bed.now, &mut bed.clients);
        // A batch is fetched and delivered, and a slice of the floods.
        let copied = bed.domains.host.copied - before;
        assert!(copied <= 3 * BATCH, "{copied} frames in one turn");
        while bed.frame_out().is_some() {}
    }
}
