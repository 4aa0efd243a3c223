// SPDX-License-Identifier: GPL-3.0-or-later
//! Ethernet, ARP and IPv4 from guests.

use super::*;

/// Returns a frame with a UDP packet in IPv4.
fn udp(from: u8, source: Ipv4Addr, source_port: u16) -> Vec<u8> {
    let mut frame = build::ipv4(mac(OUTSIDE), mac(from), source);
    frame[HEADER + 9] = 17;
    frame[HEADER + 20..HEADER + 22].copy_from_slice(&source_port.to_be_bytes());
    frame
}

/// Returns a fragment, which is not the first, of 26 bytes whose data look like a datagram of UDP.
fn fragment(from: u8, source_port: u16, port: u16, length: u16) -> Vec<u8> {
    let mut frame = udp(from, ip(from), source_port);
    frame[HEADER + 2..HEADER + 4].copy_from_slice(&46_u16.to_be_bytes());
    frame[HEADER + 7] = 1;
    frame[HEADER + 22..HEADER + 24].copy_from_slice(&port.to_be_bytes());
    frame[HEADER + 24..HEADER + 26].copy_from_slice(&length.to_be_bytes());
    frame
}

#[test]
fn a_guest_sends_only_from_its_own_mac_address() {
    check(&[
        ("its own", true, true, |me| build::ipv4(mac(OUTSIDE), mac(me), ip(me))),
        ("another's", false, false, |me| build::ipv4(mac(OUTSIDE), mac(VICTIM), ip(me))),
        ("bridge protocol 0", false, false, |me| {
            build::ethernet(MacAddr([1, 0x80, 0xc2, 0, 0, 0]), mac(me), 0x800, &[0x45; 46])
        }),
        ("bridge protocol 15", false, false, |me| {
            build::ethernet(MacAddr([1, 0x80, 0xc2, 0, 0, 15]), mac(me), 0x800, &[0x45; 46])
        }),
        ("after the bridge protocols", false, true, |me| {
            build::ethernet(MacAddr([1, 0x80, 0xc2, 0, 0, 16]), mac(me), 0x27, &[0; 46])
        }),
    ]);
}

#[test]
fn an_ipv4_source_is_the_guests_or_free() {
    check(&[
        ("its own", true, true, |me| build::ipv4(mac(OUTSIDE), mac(me), ip(me))),
        ("a free one", false, true, |me| build::ipv4(mac(OUTSIDE), mac(me), ip(77))),
        ("none", false, true, |me| build::ipv4(mac(OUTSIDE), mac(me), Ipv4Addr::UNSPECIFIED)),
        ("another guest's", false, false, |me| build::ipv4(mac(OUTSIDE), mac(me), ip(VICTIM))),
        ("dom0's", false, false, |me| build::ipv4(mac(OUTSIDE), mac(me), ip(DOM0))),
        ("a header cut short", false, false, |me| {
            build::ipv4(mac(OUTSIDE), mac(me), ip(me))[..HEADER + 19].to_vec()
        }),
    ]);
}

#[test]
fn a_tag_or_another_protocol_does_not_hide_a_source() {
    let frame = |me: u8, ethertype: u16| {
        let inner = build::ipv4(mac(OUTSIDE), mac(me), ip(VICTIM));
        build::ethernet(mac(OUTSIDE), mac(me), ethertype, &inner[10..])
    };
    for tag in [0x8100, 0x88a8, 0x9100, 0x9200, 0x9300] {
        assert!(!may(FIXED, &frame(FIXED.0, tag)), "{tag:#x}");
        assert!(!may(FREE, &frame(FREE.0, tag)), "{tag:#x}");
    }
    assert!(!may(FIXED, &frame(FIXED.0, 0x88b5)));
    assert!(may(FREE, &frame(FREE.0, 0x88b5)), "a protocol for experiments");
}

#[test]
fn the_addresses_in_arp_are_the_guests_or_free() {
    const NONE: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
    check(&[
        ("request", true, true, |me| build::arp(mac(me), 1, ip(me), ip(OUTSIDE))),
        ("reply", true, true, |me| build::arp(mac(me), 2, ip(me), ip(OUTSIDE))),
        ("for a free address", false, true, |me| build::arp(mac(me), 2, ip(77), ip(OUTSIDE))),
        ("for a guest's", false, false, |me| build::arp(mac(me), 2, ip(VICTIM), ip(OUTSIDE))),
        ("for dom0's", false, false, |me| build::arp(mac(me), 2, ip(DOM0), ip(VICTIM))),
        ("announcement", false, false, |me| build::arp(mac(me), 1, ip(VICTIM), ip(VICTIM))),
        ("probe", true, true, |me| build::arp(mac(me), 1, NONE, ip(me))),
        ("probe of a free one", false, true, |me| build::arp(mac(me), 1, NONE, ip(77))),
        ("probe of a guest's", false, false, |me| build::arp(mac(me), 1, NONE, ip(VICTIM))),
        ("probe of dom0's", false, false, |me| build::arp(mac(me), 1, NONE, ip(DOM0))),
        ("reply from 0.0.0.0", false, false, |me| build::arp(mac(me), 2, NONE, ip(me))),
        ("another's MAC inside", false, false, |me| {
            let mut frame = build::arp(mac(me), 2, ip(me), ip(OUTSIDE));
            frame[HEADER + 8..HEADER + 14].copy_from_slice(&mac(VICTIM).0);
            frame
        }),
    ]);
}

#[test]
fn no_guest_is_a_dhcp_server() {
    check(&[
        ("client", true, true, |me| udp(me, ip(me), 68)),
        ("server", false, false, |me| udp(me, ip(me), 67)),
        ("server with another port", false, false, |me| {
            let mut frame = udp(me, ip(me), 1067);
            frame[HEADER + 22..HEADER + 24].copy_from_slice(&68_u16.to_be_bytes());
            frame
        }),
        ("server, behind options", false, false, |me| {
            let mut frame = udp(me, ip(me), 68);
            frame[HEADER] = 0x46;
            frame[HEADER + 24..HEADER + 26].copy_from_slice(&67_u16.to_be_bytes());
            frame
        }),
        ("first fragment", false, false, |me| {
            let mut frame = udp(me, ip(me), 67);
            frame[HEADER + 6] = 0x20;
            frame
        }),
        ("later fragment", true, true, |me| {
            let mut frame = udp(me, ip(me), 67);
            frame[HEADER + 7] = 1;
            frame
        }),
        ("later fragment that is a whole datagram", false, false, |me| fragment(me, 1067, 68, 26)),
        ("the same behind options", false, false, |me| {
            let mut frame = fragment(me, 1067, 68, 22);
            frame[HEADER] = 0x46;
            frame.copy_within(HEADER + 20..HEADER + 26, HEADER + 24);
            frame
        }),
        ("the same from a server", false, false, |me| fragment(me, 67, 1068, 26)),
        ("later fragment with other data", true, true, |me| fragment(me, 1067, 68, 27)),
        ("later fragment with other ports", true, true, |me| fragment(me, 1067, 1068, 26)),
        ("later fragment of TCP", true, true, |me| {
            let mut frame = fragment(me, 1067, 68, 26);
            frame[HEADER + 9] = 6;
            frame
        }),
        ("a header of 16 bytes", false, false, |me| {
            let mut frame = udp(me, ip(me), 68);
            frame[HEADER] = 0x44;
            frame
        }),
        ("a port cut off", false, false, |me| udp(me, ip(me), 68)[..HEADER + 23].to_vec()),
        ("port 67 of TCP", true, true, |me| {
            let mut frame = udp(me, ip(me), 67);
            frame[HEADER + 9] = 6;
            frame
        }),
    ]);
}

#[test]
fn no_guest_is_a_router_in_ipv4() {
    const DONT_FRAGMENT: [u8; 2] = [0x40, 0];
    const FIRST_FRAGMENT: [u8; 2] = [0x20, 0];
    const LATER_FRAGMENT: [u8; 2] = [0x20, 1];
    fn icmp(me: u8, kind: u8, fragment: [u8; 2]) -> Vec<u8> {
        let mut frame = build::ipv4(mac(OUTSIDE), mac(me), ip(me));
        frame[HEADER + 6..HEADER + 8].copy_from_slice(&fragment);
        (frame[HEADER + 9], frame[HEADER + 20]) = (1, kind);
        frame
    }
    check(&[
        ("echo request", true, true, |me| icmp(me, 8, DONT_FRAGMENT)),
        ("router solicitation", true, true, |me| icmp(me, 10, DONT_FRAGMENT)),
        ("redirect", false, false, |me| icmp(me, 5, DONT_FRAGMENT)),
        ("router advertisement", false, false, |me| icmp(me, 9, DONT_FRAGMENT)),
        ("first fragment of a redirect", false, false, |me| icmp(me, 5, FIRST_FRAGMENT)),
        ("first fragment of an advertisement", false, false, |me| icmp(me, 9, FIRST_FRAGMENT)),
        ("later fragment", true, true, |me| icmp(me, 5, LATER_FRAGMENT)),
        ("redirect, behind options", false, false, |me| {
            let mut frame = icmp(me, 8, DONT_FRAGMENT);
            (frame[HEADER], frame[HEADER + 24]) = (0x46, 5);
            frame
        }),
        ("a header of 16 bytes", false, false, |me| {
            let mut frame = icmp(me, 8, DONT_FRAGMENT);
            frame[HEADER] = 0x44;
            frame
        }),
        ("a type cut off", false, false, |me| icmp(me, 8, DONT_FRAGMENT)[..HEADER + 20].to_vec()),
    ]);
}

#[test]
fn redirects_are_dropped_also_after_frames_from_the_same_source() {
    let mut rules = GuestRules::new(PortAddresses::new(mac(FIXED.0), Some(ip(FIXED.0))));
    let mut may = |protocol, kind| {
        let mut frame = build::ipv4(mac(OUTSIDE), mac(FIXED.0), ip(FIXED.0));
        (frame[HEADER + 9], frame[HEADER + 20]) = (protocol, kind);
        let facts = FrameFacts::of(&frame).unwrap();
        SWITCH.with(|switch| rules.may_send(&facts, &frame, FIXED.1, switch))
    };
    assert!(may(6, 5) && may(6, 5));
    assert!(!may(1, 5) && !may(1, 9) && may(1, 8));
    assert!(!may(41, 0x60), "IPv6 in IPv4");
}

#[test]
fn ipv4_does_not_hide_an_ipv6_source() {
    let frame = |me: u8, fragment: u8| {
        let mut frame = build::ipv4(mac(OUTSIDE), mac(me), ip(me));
        (frame[HEADER + 7], frame[HEADER + 9]) = (fragment, 41);
        frame
    };
    assert!(!may(FIXED, &frame(FIXED.0, 0)) && !may(FIXED, &frame(FIXED.0, 1)));
    assert!(may(FREE, &frame(FREE.0, 0)), "it may also send other protocols than IP");
}

#[test]
fn an_address_is_free_until_another_gets_it() {
    let mut switch = switch();
    let mut rules = GuestRules::new(PortAddresses::new(mac(FREE.0), None));
    let frame = build::ipv4(mac(OUTSIDE), mac(FREE.0), ip(77));
    let facts = FrameFacts::of(&frame).unwrap();
    let mut may = |switch: &Switch| rules.may_send(&facts, &frame, FREE.1, switch);
    assert!(may(&switch) && may(&switch));
    switch.add(BridgePortId(7), PortAddresses::new(mac(77), Some(ip(77)))).unwrap();
    assert!(!may(&switch) && !may(&switch));
    switch.remove(BridgePortId(7), PortAddresses::new(mac(77), Some(ip(77))));
    assert!(may(&switch));
    switch.set_dom0(Dom0Addresses::new(None, [ip(77).into()].into_iter()));
    assert!(!may(&switch));
}
