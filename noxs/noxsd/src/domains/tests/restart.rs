// SPDX-License-Identifier: GPL-3.0-or-later
//! Tests of guests that an earlier noxsd served.

use super::*;
use crate::net::frame::HEADER;

#[test]
fn a_restarted_noxsd_continues_where_the_rings_stand() {
    let mut bed = Bed::new();
    let one = bed.running(1);
    bed.post(1, 3);
    bed.send(1, 0, &frame_to(99, 1));
    bed.run(1);
    bed.frame_in(&frame_to(1, 99));
    console_frontend::print(&bed.page(1, CONSOLE_REF), b"before ");
    let pages = std::mem::take(&mut bed.domains.host.pages);

    // noxsd is killed: only the guest's pages remain. The guest continues meanwhile.
    let mut bed = Bed::new();
    bed.domains.host.pages = pages;
    bed.send(1, 1, &frame_to(99, 1));
    console_frontend::print(&bed.page(1, CONSOLE_REF), b"after");
    bed.attach_as(&one, AttachedAs::Running).unwrap();
    let (console, vif) = bed.ports(1);
    assert_eq!(bed.domains.host.notified, [console, vif]);
    bed.domains.open_console(one.id, ClientId(1), ConsoleUse::Terminal).unwrap();
    bed.settle();
    assert_eq!(bed.sent(1), [(0, 0), (1, 0)]);
    assert_eq!(bed.frame_out(), Some(frame_to(99, 1)));
    assert_eq!(bed.clients.output, b"before after");
    bed.frame_in(&frame_to(1, 99));
    assert_eq!(bed.received(1), [60, 60]);
}

#[test]
fn a_guest_that_broke_its_rings_before_a_restart_loses_only_those() {
    let mut bed = Bed::new();
    bed.guest(1);
    frontend::set_producer(&bed.page(1, TX_REF), 1 << 20);
    let one = attach(1);
    bed.attach_as(&one, AttachedAs::Running).unwrap();
    bed.settle();
    let broken = bed.broken(&one);
    assert!(broken[0].is_none() && broken[1].is_some(), "{broken:?}");
}

#[test]
fn a_domain_that_is_left_out_is_listed_until_it_is_detached() {
    let mut bed = Bed::new();
    let one = attach(1);
    bed.domains.leave_out(&one, CRASHED, Vec::new());
    let listed: Vec<_> = bed.domains.broken().collect();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].id, one.id);
    assert!(listed[0].devices.iter().all(|device| device.broken.is_some()), "{listed:?}");
    assert!(bed.domains.host.bound.is_empty());
    bed.domains.detach(one.id, &mut bed.clients).unwrap();
    assert_eq!(bed.domains.broken().count(), 0);
}

/// A noxsd that starts alone, such as after a crash of chaosd, too, also reads records of domains
/// that no longer exist, or whose numbers now belong to domains of another toolstack.
#[test]
fn a_record_of_a_domain_that_is_gone_maps_and_binds_nothing() {
    let mut bed = Bed::new();
    assert!(matches!(bed.attach_as(&attach(1), AttachedAs::Running), Err(Refusal::System { .. })));
    // The new domain has granted pages under the same numbers, but its ports belong to others.
    bed.guest(2);
    let memory = bed.page(2, TX_REF);
    let mapped = memory.holders();
    bed.domains.host.fail_bind = Some(0);
    assert!(matches!(bed.attach_as(&attach(2), AttachedAs::Running), Err(Refusal::System { .. })));
    bed.domains.host.fail_bind = None;
    assert!(bed.domains.host.bound.is_empty());
    assert!(bed.domains.host.notified.is_empty());
    assert_eq!(bed.domains.slots.len(), 0);
    assert_eq!(memory.holders(), mapped, "a page of another toolstack's domain stays mapped");
    // The records of domains that exist are served.
    bed.guest(3);
    bed.attach_as(&attach(3), AttachedAs::Running).unwrap();
}

/// Returns two guests with one address that an earlier noxsd served. The first is attached.
fn two_with_one_address() -> (Bed, Attach, Attach) {
    let mut bed = Bed::new();
    let [one, mut two] = [1, 2].map(attach);
    bed.guest(1);
    bed.guest(2);
    first(&mut two).ipv4 = Some(ip(1));
    bed.attach_as(&one, AttachedAs::Running).unwrap();
    (bed, one, two)
}

/// Earlier versions let two guests have one address, and records can be changed by hand.
#[test]
fn of_two_running_guests_with_one_address_the_second_is_told_of_the_first() {
    let (mut bed, _, two) = two_with_one_address();
    let refusal = bed
        .domains
        .attach_recorded(&two, Some(log()).into(), bed.now, &mut bed.clients)
        .unwrap_err();
    assert_eq!(refusal, ipv4_in_use(ip(1), AddressOwner::Domain(1)));
    // noxsd's log has this message behind the second one's number, and `chaos list` behind its name,
    // until it is destroyed.
    let listed: Vec<_> = bed.domains.broken().collect();
    assert_eq!((listed.len(), listed[0].id, listed[0].devices.len()), (1, two.id, 2));
    for device in &listed[0].devices {
        let reason = device.broken.as_deref().unwrap();
        for part in ["10.0.0.1", "domain 1", "ip=", "destroy"] {
            assert!(reason.contains(part), "{reason}");
        }
    }
    // The first one has its network.
    bed.send(1, 0, &frame_to(99, 1));
    bed.run(1);
    assert_eq!(bed.frame_out(), Some(frame_to(99, 1)));
    bed.domains.detach(two.id, &mut bed.clients).unwrap();
    assert_eq!(bed.domains.broken().count(), 0);
}

#[test]
fn a_guest_whose_address_is_in_use_is_served_as_soon_as_it_is_free() {
    let (mut bed, one, two) = two_with_one_address();
    let refused = bed.domains.attach_recorded(&two, Some(log()).into(), bed.now, &mut bed.clients);
    assert!(matches!(refused, Err(Refusal::AddressInUse(_))), "{refused:?}");
    // The request for the first one comes again: it keeps its address.
    bed.attach_as(&one, AttachedAs::New).unwrap();
    assert_eq!(bed.domains.broken().count(), 1);

    bed.domains.detach(one.id, &mut bed.clients).unwrap();
    assert_eq!(bed.domains.broken().count(), 0);
    let mut frame = frame_to(99, 2);
    frame[HEADER + 12..HEADER + 16].copy_from_slice(&ip(1).octets());
    bed.send(2, 0, &frame);
    bed.run(2);
    assert_eq!(bed.frame_out(), Some(frame));
}

#[test]
fn a_guest_that_is_left_out_does_not_replace_a_new_one_with_its_number() {
    let (mut bed, one, two) = two_with_one_address();
    bed.domains.attach_recorded(&two, Some(log()).into(), bed.now, &mut bed.clients).unwrap_err();
    let mut new = attach(2);
    new.id.handle = [9; 16];
    bed.attach_as(&new, AttachedAs::New).unwrap();
    assert_eq!(bed.domains.broken().count(), 0);
    bed.domains.detach(one.id, &mut bed.clients).unwrap();
    bed.domains.status(new.id).unwrap();
}

#[test]
fn a_create_whose_record_noxsd_has_read_at_its_start_attaches_once() {
    let mut bed = Bed::new();
    bed.domains.host.guest(1);
    let one = attach(1);
    bed.attach_as(&one, AttachedAs::Running).unwrap();
    bed.attach_as(&one, AttachedAs::New).unwrap();
    assert_eq!(bed.domains.host.bound.len(), 2, "the ports of the first attach are unbound");
    assert!(bed.attach_as(&one, AttachedAs::New).is_err());
}
