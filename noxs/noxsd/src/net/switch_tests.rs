// SPDX-License-Identifier: GPL-3.0-or-later
//! Tests of routes on a switch with three ports.

use super::*;
use crate::net::frame::build;

fn mac(last: u8) -> MacAddr {
    MacAddr([0, 0x16, 0x3e, 0, 0, last])
}

fn ip(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, last)
}

fn port(number: u32) -> End {
    End::Port(BridgePortId(number))
}

/// Returns a switch whose ports 1 and 2 have an IPv4 address and whose port 3 has none.
fn switch() -> Switch {
    let mut switch = Switch::default();
    switch.add(BridgePortId(1), PortAddresses::new(mac(1), Some(ip(1)))).unwrap();
    switch.add(BridgePortId(2), PortAddresses::new(mac(2), Some(ip(2)))).unwrap();
    switch.add(BridgePortId(3), PortAddresses::new(mac(3), None)).unwrap();
    switch
}

fn route(switch: &Switch, frame: &[u8], from: End) -> Route {
    switch.route(&FrameFacts::of(frame).unwrap(), from)
}

#[test]
fn a_frame_for_a_guests_address_goes_to_the_guest_and_any_other_to_the_tap() {
    let switch = switch();
    let to = |to, from, end| route(&switch, &build::ipv4(mac(to), mac(from), ip(from)), end);
    assert_eq!(to(2, 1, port(1)), Route::One(port(2)));
    assert_eq!(to(9, 1, port(1)), Route::One(End::Tap));
    assert_eq!(to(1, 9, End::Tap), Route::One(port(1)));
    assert_eq!(to(1, 1, port(1)), Route::Nowhere);
    assert_eq!(to(8, 9, End::Tap), Route::Nowhere, "an unknown address, from the tap");
}

#[test]
fn a_remembered_destination_follows_the_ports() {
    let mut switch = switch();
    let to = |switch: &Switch, from| route(switch, &build::ipv4(mac(9), mac(7), ip(7)), from);
    for from in [port(1), End::Tap] {
        assert_eq!(to(&switch, port(1)), Route::One(End::Tap));
        assert_eq!(to(&switch, End::Tap), Route::Nowhere);
        switch.add(BridgePortId(9), PortAddresses::new(mac(9), None)).unwrap();
        assert_eq!(to(&switch, from), Route::One(port(9)));
        switch.remove(BridgePortId(9), PortAddresses::new(mac(9), None));
    }
    // The two directions do not remember for each other.
    assert_eq!(to(&switch, port(1)), Route::One(End::Tap));
    assert_eq!(to(&switch, End::Tap), Route::Nowhere);
}

#[test]
fn an_arp_request_goes_to_the_owner_of_the_address() {
    let switch = switch();
    let ask = |from, sender, target, end| {
        route(&switch, &build::arp(mac(from), 1, ip(sender), ip(target)), end)
    };
    assert_eq!(ask(1, 1, 2, port(1)), Route::One(port(2)));
    assert_eq!(ask(9, 9, 1, End::Tap), Route::One(port(1)));
    assert_eq!(ask(1, 1, 7, port(1)), Route::Unaddressed);
    assert_eq!(ask(1, 1, 1, port(1)), Route::Unaddressed, "a guest's announcement");
    assert_eq!(ask(1, 0, 1, port(1)), Route::Unaddressed, "a guest's probe");
    assert_eq!(ask(9, 9, 9, End::Tap), Route::All, "an announcement from outside");
    assert_eq!(switch.targets(Route::Unaddressed), [BridgePortId(3)]);
}

#[test]
fn other_broadcasts_go_to_all() {
    let switch = switch();
    let frame = build::ipv4(MacAddr([0xff; 6]), mac(1), ip(1));
    assert_eq!(route(&switch, &frame, port(1)), Route::All);
    assert_eq!(switch.targets(Route::All), [BridgePortId(1), BridgePortId(2), BridgePortId(3)]);
}

#[test]
fn ipv6_multicasts_go_to_ports_that_use_ipv6() {
    let mut switch = switch();
    let all_nodes = MacAddr([0x33, 0x33, 0, 0, 0, 1]);
    let frame = build::ethernet(all_nodes, mac(9), 0x86dd, &[0; 40]);
    assert_eq!(route(&switch, &frame, End::Tap), Route::Ipv6);
    assert_eq!(switch.targets(Route::Ipv6), []);
    let own = |last| PortAddresses::new(mac(last), Some(ip(last)));
    let ipv4 = FrameFacts::of(&build::ipv4(mac(9), mac(1), ip(1))).unwrap();
    switch.note(BridgePortId(1), &own(1), &ipv4);
    switch.note(BridgePortId(2), &own(2), &FrameFacts::of(&frame).unwrap());
    assert_eq!(switch.targets(Route::Ipv6), [BridgePortId(2)]);
    switch.remove(BridgePortId(2), PortAddresses::new(mac(2), Some(ip(2))));
    assert_eq!(switch.targets(Route::Ipv6), []);
}

fn ip6(last: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last)
}

/// Returns the addresses of a port with a fixed IPv6 address.
fn with_ipv6(last: u8) -> PortAddresses {
    PortAddresses { ipv6: Some(ip6(last.into())), ..PortAddresses::new(mac(last), None) }
}

#[test]
fn a_solicitation_goes_to_the_owner_of_the_address() {
    let mut switch = switch();
    switch.add(BridgePortId(4), with_ipv6(4)).unwrap();
    let ask = |from, source, target, end| {
        route(&switch, &build::neighbour(mac(from), source, 135, target), end)
    };
    let outside = "fe80::9".parse().unwrap();
    assert_eq!(ask(9, outside, ip6(4), End::Tap), Route::One(port(4)));
    assert_eq!(ask(1, eui64::link_local(mac(1)), ip6(4), port(1)), Route::One(port(4)));
    assert_eq!(ask(9, outside, eui64::link_local(mac(2)), End::Tap), Route::One(port(2)));
    assert_eq!(ask(9, outside, ip6(5), End::Tap), Route::Ipv6);
    assert_eq!(ask(4, Ipv6Addr::UNSPECIFIED, ip6(4), port(4)), Route::Ipv6, "a guest's probe");
    assert_eq!(ask(9, Ipv6Addr::UNSPECIFIED, ip6(4), End::Tap), Route::One(port(4)), "a probe");
    // ARP asks only those whose addresses are not known.
    assert_eq!(switch.targets(Route::Unaddressed), [BridgePortId(3)]);
    switch.remove(BridgePortId(4), with_ipv6(4));
    let frame = build::neighbour(mac(9), outside, 135, ip6(4));
    assert_eq!(route(&switch, &frame, End::Tap), Route::Ipv6);
}

#[test]
fn a_fixed_ipv6_address_comes_before_one_that_is_derived_from_a_mac_address() {
    let mut switch = switch();
    let mut derived = eui64::link_local(mac(2)).octets();
    derived[..2].copy_from_slice(&[0x20, 1]);
    let derived = Ipv6Addr::from(derived);
    assert_eq!(switch.owner_of_ipv6(derived), Some(BridgePortId(2)));
    let own = PortAddresses { ipv6: Some(derived), ..with_ipv6(4) };
    switch.add(BridgePortId(4), own).unwrap();
    assert_eq!(switch.owner_of_ipv6(derived), Some(BridgePortId(4)));
    assert!(switch.is_anothers_ipv6(derived, BridgePortId(2)));
    // A second port with the address leaves it to the first.
    let second = PortAddresses { mac: mac(5), ..own };
    switch.add(BridgePortId(5), second).unwrap();
    switch.remove(BridgePortId(5), second);
    assert_eq!(switch.owner_of_ipv6(derived), Some(BridgePortId(4)));
}

/// Guests of the runtime announce an address when they start and answer; others use multicasts.
#[test]
fn a_port_with_a_fixed_ipv6_address_gets_multicasts_once_it_sends_some() {
    let mut switch = switch();
    let own = with_ipv6(4);
    switch.add(BridgePortId(4), own).unwrap();
    let note = |switch: &mut Switch, frame: &[u8]| {
        switch.note(BridgePortId(4), &own, &FrameFacts::of(frame).unwrap());
        switch.targets(Route::Ipv6).to_vec()
    };
    assert_eq!(note(&mut switch, &build::neighbour(mac(4), ip6(4), 136, ip6(4))), []);
    let unicast = build::udp6(mac(9), mac(4), ip6(4).octets(), 1);
    assert_eq!(note(&mut switch, &unicast), []);
    assert_eq!(note(&mut switch, &build::neighbour(mac(4), ip6(4), 135, ip6(9))), []);
    let report = build::neighbour(mac(4), ip6(4), 143, ip6(9));
    assert_eq!(note(&mut switch, &report), [BridgePortId(4)]);
}

#[test]
fn a_mac_address_belongs_to_one_port() {
    let mut switch = switch();
    assert_eq!(
        switch.add(BridgePortId(4), PortAddresses::new(mac(2), None)),
        Err(MacInUse(mac(2)))
    );
    switch.remove(BridgePortId(4), PortAddresses::new(mac(2), None));
    let frame = build::ipv4(mac(2), mac(1), ip(1));
    assert_eq!(route(&switch, &frame, port(1)), Route::One(port(2)), "port 2 keeps its address");
}

#[test]
fn removing_a_port_leaves_the_others() {
    let mut switch = switch();
    switch.remove(BridgePortId(1), PortAddresses::new(mac(1), Some(ip(1))));
    assert_eq!(switch.targets(Route::All), [BridgePortId(3), BridgePortId(2)]);
    switch.remove(BridgePortId(3), PortAddresses::new(mac(3), None));
    assert_eq!(switch.targets(Route::All), [BridgePortId(2)]);
    assert!(switch.targets(Route::Unaddressed).is_empty());
    let frame = build::ipv4(mac(1), mac(9), ip(9));
    assert_eq!(route(&switch, &frame, End::Tap), Route::Nowhere);
    switch.add(BridgePortId(1), PortAddresses::new(mac(1), Some(ip(1)))).unwrap();
    assert_eq!(route(&switch, &frame, End::Tap), Route::One(port(1)));
}
