// SPDX-License-Identifier: GPL-3.0-or-later
//! Tests that guests cannot use others' addresses or act as routers, through the whole switch.

use noxs::eui64;

use super::*;
use crate::net::dom0::netlink::{InterfaceIndex, Message};

/// Returns a neighbour advertisement for the link-local address of `target`.
fn advertisement(from: MacAddr, target: MacAddr) -> Vec<u8> {
    let target = eui64::link_local(target).octets();
    let header = [136, 0, 0, 0, 0x20, 0, 0, 0];
    icmpv6(from, &[&header[..], &target, &[2, 1], &from.0].concat())
}

/// Starts a guest without a fixed address.
fn free(bed: &mut Bed, domid: u16) -> Attach {
    bed.guest(domid);
    let mut attach = attach(domid);
    first(&mut attach).ipv4 = None;
    bed.attach(&attach).unwrap();
    attach
}

#[test]
fn a_guest_is_no_router_and_takes_no_address_by_ipv6() {
    for is_free in [false, true] {
        let mut bed = Bed::new();
        let one = if is_free { free(&mut bed, 1) } else { bed.running(1) };
        bed.running(2);
        bed.post(2, 8);
        // Guest 2 uses IPv6, so multicasts reach it.
        bed.send(2, 0, &advertisement(mac(2), mac(2)));
        bed.run(2);
        assert_eq!(bed.frame_out(), Some(advertisement(mac(2), mac(2))));

        let router = [134, 0, 0, 0, 64, 8, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0];
        bed.send(1, 0, &icmpv6(mac(1), &router));
        bed.send(1, 1, &advertisement(mac(1), mac(2)));
        bed.run(1);
        assert_eq!(bed.frame_out(), None);
        assert!(bed.received(2).is_empty());
        assert_eq!(bed.traffic(&one).dropped_frames, 2);

        bed.send(1, 2, &advertisement(mac(1), mac(1)));
        bed.run(1);
        assert_eq!(bed.frame_out(), Some(advertisement(mac(1), mac(1))));
        assert_eq!(bed.received(2), [86]);
    }
}

#[test]
fn a_guest_without_an_address_takes_none_of_another_guest() {
    let mut bed = Bed::new();
    let one = free(&mut bed, 1);
    let two = bed.running(2);
    bed.post(2, 8);
    // "I am guest 2", to dom0, and "I am guest 3", to guest 2.
    let three = bed.running(3);
    bed.send(1, 0, &build::arp(mac(1), 2, ip(2), ip(99)));
    let mut reply = build::arp(mac(1), 2, ip(3), ip(2));
    reply[..6].copy_from_slice(&mac(2).0);
    bed.send(1, 1, &reply);
    bed.send(1, 2, &build::ipv4(mac(2), mac(1), ip(3)));
    bed.send(1, 3, &build::ethernet(mac(99), mac(1), 0x8100, &[0; 46]));
    bed.run(1);
    assert_eq!(bed.frame_out(), None);
    assert!(bed.received(2).is_empty());
    assert_eq!(bed.traffic(&one).dropped_frames, 4);
    // It may use the address once it is free.
    bed.domains.detach(three.id, &mut bed.clients).unwrap();
    bed.send(1, 4, &build::ipv4(mac(2), mac(1), ip(3)));
    bed.run(1);
    assert_eq!(bed.received(2), [60]);
    assert_eq!(bed.traffic(&two).dropped_frames, 0);
}

#[test]
fn hosts_outside_use_no_address_of_a_guest() {
    let mut bed = Bed::new();
    bed.running(1);
    bed.running(2);
    bed.post(2, 8);
    bed.frame_in(&frame_to(2, 1));
    let mut reply = build::arp(mac(9), 2, ip(1), ip(2));
    reply[..6].copy_from_slice(&mac(2).0);
    bed.frame_in(&reply);
    let mut unicast = advertisement(mac(9), mac(1));
    unicast[..6].copy_from_slice(&mac(2).0);
    bed.frame_in(&unicast);
    assert!(bed.received(2).is_empty());
    bed.frame_in(&frame_to(2, 9));
    assert_eq!(bed.received(2), [60]);
}

#[test]
fn no_guest_gets_an_address_of_dom0() {
    let mut bed = Bed::new();
    let one = free(&mut bed, 1);
    bed.running(2);
    bed.post(2, 8);
    bed.send(1, 0, &build::ipv4(mac(2), mac(1), ip(77)));
    bed.run(1);
    assert_eq!(bed.received(2), [60]);

    bed.dom0_address(ip(77), true);
    bed.send(1, 1, &build::ipv4(mac(2), mac(1), ip(77)));
    bed.send(1, 2, &build::arp(mac(1), 2, ip(77), ip(2)));
    bed.run(1);
    assert_eq!(bed.received(2), [60]);
    assert_eq!(bed.frame_out(), None);
    assert_eq!(bed.traffic(&one).dropped_frames, 2);

    // Neither by attach nor by configure.
    bed.guest(3);
    let mut three = attach(3);
    first(&mut three).ipv4 = Some(ip(77));
    let refusal = ipv4_in_use(ip(77), AddressOwner::Dom0);
    assert_eq!(bed.attach(&three), Err(refusal.clone()));
    let identity = three.vifs[0].identity.take().unwrap();
    bed.attach(&three).unwrap();
    assert_eq!(bed.configure(three.id, &[identity]), Err(refusal));
    let same_mac = VifIdentity { mac: mac(254), ipv4: None, ..identity };
    let refusal = mac_in_use(mac(254), AddressOwner::Dom0);
    assert_eq!(bed.configure(three.id, &[same_mac]), Err(refusal));
    bed.dom0_address(ip(77), false);
    bed.configure(three.id, &[identity]).unwrap();
}

#[test]
fn a_restarted_noxsd_serves_a_guest_whose_address_dom0_has_got_meanwhile() {
    let mut bed = Bed::new();
    bed.dom0_address(ip(1), true);
    bed.guest(1);
    bed.attach_as(&attach(1), AttachedAs::Running).unwrap();
    bed.send(1, 0, &frame_to(99, 1));
    bed.run(1);
    assert_eq!(bed.frame_out(), Some(frame_to(99, 1)));
}

#[test]
fn a_bridge_that_is_added_later_has_the_addresses_of_dom0() {
    let mut bed = Bed::new();
    let index = InterfaceIndex(6);
    let bridge = Message::Interface { index, name: "br1".to_owned(), mac: None };
    bed.domains.update_interfaces([bridge, Message::Address(index, ip(1).into())].into_iter());
    bed.domains.add_switch("br1", File::open("/dev/null").unwrap(), bed.now).unwrap();
    bed.guest(1);
    let mut one = attach(1);
    one.vifs[0].bridge = "br1".into();
    assert_eq!(bed.attach(&one), Err(ipv4_in_use(ip(1), AddressOwner::Dom0)));
    one.vifs[0].bridge = "xenbr0".into();
    bed.attach(&one).unwrap();
}

#[test]
fn an_ipv6_address_has_one_owner() {
    let mut bed = Bed::new();
    bed.guest(1);
    let mut one = attach(1);
    first(&mut one).ipv6 = Some(ip6(1));
    bed.attach(&one).unwrap();
    let two = bed.prepared(2);
    let configure = |bed: &mut Bed, ipv6| {
        let identity = VifIdentity { ipv4: None, ipv6: Some(ipv6), ..identity(2) };
        bed.configure(two.id, &[identity])
    };
    let owner = AddressOwner::Domain(1);
    assert_eq!(configure(&mut bed, ip6(1)), Err(ipv6_in_use(ip6(1), owner)));
    let mut derived = eui64::link_local(mac(1)).octets();
    derived[..2].copy_from_slice(&[0x20, 1]);
    let derived = derived.into();
    assert_eq!(configure(&mut bed, derived), Err(ipv6_in_use(derived, owner)));
    for wrong in ["fe80::5", "ff02::1", "::1", "::", "::ffff:10.0.0.9"] {
        let refusal = configure(&mut bed, wrong.parse().unwrap()).unwrap_err();
        assert!(matches!(refusal, Refusal::Invalid(_)), "{refusal}");
    }
    let short = VifIdentity { ipv6: Some(ip6(2)), mtu: 1279, ..identity(2) };
    let refusal = bed.configure(two.id, &[short]).unwrap_err();
    assert!(refusal.to_string().contains("must be at least 1280"), "{refusal}");
    bed.dom0_address(ip6(9), true);
    let refusal = ipv6_in_use(ip6(9), AddressOwner::Dom0);
    assert_eq!(configure(&mut bed, ip6(9)), Err(refusal));
    // It is free again once the guest has left.
    bed.domains.detach(one.id, &mut bed.clients).unwrap();
    configure(&mut bed, ip6(1)).unwrap();

    bed.guest(3);
    let mut three = attach(3);
    first(&mut three).ipv6 = Some(ip6(3));
    let mut second = three.vifs[0].clone();
    second.index = 1;
    let identity = second.identity.as_mut().unwrap();
    (identity.mac, identity.ipv4) = (mac(4), None);
    three.vifs.push(second);
    assert_eq!(bed.attach(&three), Err(ipv6_in_use(ip6(3), AddressOwner::SameRequest)));
}

/// A guest with a fixed IPv6 address is asked for it alone, and what it sends from other addresses
/// is dropped.
#[test]
fn solicitations_reach_the_guest_with_the_address_alone() {
    let mut bed = Bed::new();
    let with_ipv6 = |bed: &mut Bed, domid| {
        bed.guest(domid);
        let mut attach = attach(domid);
        let identity = first(&mut attach);
        (identity.ipv4, identity.ipv6) = (None, Some(ip6(domid)));
        bed.attach(&attach).unwrap();
        bed.post(domid, 8);
        attach
    };
    let one = with_ipv6(&mut bed, 1);
    with_ipv6(&mut bed, 2);
    bed.frame_in(&build::neighbour(mac(9), ip6(9), 135, ip6(1)));
    assert_eq!((bed.received(1), bed.received(2)), (vec![78], vec![]));
    bed.send(1, 0, &build::neighbour(mac(1), ip6(1), 136, ip6(1)));
    bed.send(1, 1, &build::neighbour(mac(1), ip6(1), 136, ip6(2)));
    bed.send(1, 2, &build::neighbour(mac(1), ip6(2), 135, ip6(9)));
    bed.run(1);
    assert!(bed.frame_out().is_some());
    assert_eq!(bed.frame_out(), None);
    assert_eq!(bed.traffic(&one).dropped_frames, 2);
    assert!(bed.received(2).is_empty(), "an announcement does not wake it");
}
