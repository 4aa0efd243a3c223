// SPDX-License-Identifier: GPL-3.0-or-later
//! Frames from the tap.

use super::*;

fn may_enter(frame: &[u8]) -> bool {
    let facts = FrameFacts::of(frame).unwrap();
    SWITCH.with(|switch| TapRules::default().may_enter(&facts, frame, switch))
}

#[test]
fn frames_do_not_come_from_guests() {
    assert!(may_enter(&build::ipv4(mac(FREE.0), mac(OUTSIDE), ip(OUTSIDE))));
    for guest in [FIXED.0, VICTIM, FREE.0] {
        assert!(!may_enter(&build::ipv4(mac(FREE.0), mac(guest), ip(OUTSIDE))));
        let other = build::ethernet(mac(FREE.0), mac(guest), 0x1234, &[0; 46]);
        assert!(!may_enter(&other));
    }
    // dom0 forwards a guest's packet back to the bridge, after it has changed the destination.
    assert!(may_enter(&build::ipv4(mac(FREE.0), mac(DOM0), ip(VICTIM))));
}

#[test]
fn arp_does_not_claim_guests_addresses() {
    let arp = |operation, sender, target| build::arp(mac(OUTSIDE), operation, sender, target);
    assert!(may_enter(&arp(1, ip(OUTSIDE), ip(VICTIM))));
    assert!(may_enter(&arp(1, Ipv4Addr::UNSPECIFIED, ip(VICTIM))), "a probe, for it to answer");
    assert!(may_enter(&arp(1, ip(OUTSIDE), ip(OUTSIDE))), "an announcement");
    assert!(!may_enter(&arp(2, ip(VICTIM), ip(FREE.0))));
    assert!(!may_enter(&arp(1, ip(VICTIM), ip(VICTIM))));
    let mut forged = arp(2, ip(OUTSIDE), ip(FREE.0));
    forged[HEADER + 8..HEADER + 14].copy_from_slice(&mac(VICTIM).0);
    assert!(!may_enter(&forged), "an address is said to be at a guest's MAC address");

    let claim = arp(2, ip(VICTIM), ip(FREE.0));
    let mut other_hardware = claim.clone();
    other_hardware[HEADER + 1] = 6;
    assert!(!may_enter(&other_hardware), "Linux takes ARP for IEEE 802, too");
    for tag in [0x8100, 0x88a8] {
        let tagged = [&[0, 0], &claim[12..]].concat();
        let tagged = build::ethernet(MacAddr([0xff; 6]), mac(OUTSIDE), tag, &tagged);
        assert!(!may_enter(&tagged), "Linux removes a tag without a VLAN");
    }
}

#[test]
fn neighbour_discovery_does_not_claim_guests_addresses() {
    let frame =
        |source, kind, target, option| ipv6(OUTSIDE, source, 58, &neighbour(kind, target, option));
    let own = ip6(OUTSIDE);
    assert!(may_enter(&frame(own, 136, own, Some(OUTSIDE))));
    assert!(!may_enter(&frame(own, 136, ip6(VICTIM), Some(OUTSIDE))));
    assert!(!may_enter(&frame(own, 136, own, Some(VICTIM))));
    assert!(may_enter(&frame(own, 135, ip6(VICTIM), Some(OUTSIDE))), "a solicitation");
    assert!(!may_enter(&frame(ip6(VICTIM), 135, own, Some(OUTSIDE))));
    let fixed = global(FIXED_IPV6.0);
    assert!(!may_enter(&frame(own, 136, fixed, Some(OUTSIDE))), "about a fixed address");
    assert!(!may_enter(&frame(fixed, 135, own, Some(OUTSIDE))), "from a fixed address");
    assert!(may_enter(&frame(own, 135, fixed, Some(OUTSIDE))), "for a fixed address");
    let probe = frame(Ipv6Addr::UNSPECIFIED, 135, ip6(VICTIM), None);
    assert!(may_enter(&probe), "a probe, for the guest to answer");
    assert!(may_enter(&ipv6(OUTSIDE, own, 58, &[134; 16])), "a router");
    assert!(may_enter(&ipv6(OUTSIDE, own, 17, &udp6(547))), "a DHCPv6 server");
    let later_fragment = [&[17, 0, 0, 8, 0, 0, 0, 1][..], &[0; 32]].concat();
    assert!(may_enter(&ipv6(OUTSIDE, own, 44, &later_fragment)));
    let hidden = [&[58, 0, 0, 1, 0, 0, 0, 1][..], &neighbour(136, ip6(VICTIM), None)].concat();
    assert!(!may_enter(&ipv6(OUTSIDE, own, 44, &hidden)));
}

#[test]
fn routers_forward_packets_of_guests_but_none_from_link_local_addresses() {
    const TCP: u8 = 6;
    let derived = |last| {
        let mut address = ip6(last).octets();
        address[..8].copy_from_slice(&[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0]);
        Ipv6Addr::from(address)
    };
    for router in [DOM0, OUTSIDE] {
        assert!(may_enter(&build::ipv4(mac(FREE.0), mac(router), ip(VICTIM))));
        assert!(may_enter(&ipv6(router, derived(VICTIM), TCP, &[0; 20])));
        assert!(may_enter(&ipv6(router, global(FIXED_IPV6.0), TCP, &[0; 20])));
        assert!(may_enter(&ipv6(router, ip6(OUTSIDE), TCP, &[0; 20])));
        for guest in [FIXED.0, VICTIM, FREE.0] {
            assert!(!may_enter(&ipv6(router, ip6(guest), TCP, &[0; 20])));
            let fragment = [&[TCP, 0, 0, 8, 0, 0, 0, 1][..], &[0; 32]].concat();
            assert!(!may_enter(&ipv6(router, ip6(guest), 44, &fragment)));
            assert!(!may_enter(&ipv6(router, ip6(guest), 58, &[134; 16])), "advertises a router");
        }
    }

    let mut switch = switch();
    let local = Ipv4Addr::new(169, 254, 0, 7);
    let frame = build::ipv4(mac(FREE.0), mac(OUTSIDE), local);
    let facts = FrameFacts::of(&frame).unwrap();
    assert!(TapRules::default().may_enter(&facts, &frame, &switch), "another host's");
    switch.add(BridgePortId(7), PortAddresses::new(mac(77), Some(local))).unwrap();
    assert!(!TapRules::default().may_enter(&facts, &frame, &switch));
}

#[test]
fn a_mac_address_is_outside_until_a_guest_gets_it() {
    let mut switch = switch();
    let mut rules = TapRules::default();
    let frame = build::ipv4(mac(FREE.0), mac(77), ip(OUTSIDE));
    let facts = FrameFacts::of(&frame).unwrap();
    assert!(rules.may_enter(&facts, &frame, &switch));
    switch.add(BridgePortId(7), PortAddresses::new(mac(77), None)).unwrap();
    assert!(!rules.may_enter(&facts, &frame, &switch));
    switch.remove(BridgePortId(7), PortAddresses::new(mac(77), None));
    assert!(rules.may_enter(&facts, &frame, &switch));
}
