// SPDX-License-Identifier: GPL-3.0-or-later
//! Tables of frames that may and may not pass, for guests and for the tap.

mod guests;
mod ipv6;
mod tap;

use std::net::{Ipv4Addr, Ipv6Addr};

use noxs::MacAddr;
use proptest::prelude::*;

use super::*;
use crate::net::dom0::Dom0Addresses;
use crate::net::frame::build;

/// A guest with a fixed address, which the tests act as, and its port.
const FIXED: (u8, BridgePortId) = (1, BridgePortId(1));
/// A guest without a fixed address, and its port.
const FREE: (u8, BridgePortId) = (3, BridgePortId(3));
/// A guest with a fixed IPv6 address only, and one with both.
const FIXED_IPV6: (u8, BridgePortId) = (4, BridgePortId(4));
const FIXED_BOTH: (u8, BridgePortId) = (5, BridgePortId(5));
/// A guest that the others might impersonate. It has a fixed address.
const VICTIM: u8 = 2;
/// A host on the other side of the tap.
const OUTSIDE: u8 = 9;
/// dom0 on this bridge.
const DOM0: u8 = 254;

fn mac(last: u8) -> MacAddr {
    MacAddr([0, 0x16, 0x3e, 0, 0, last])
}

fn ip(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, last)
}

/// Returns the link-local address that belongs to a MAC address.
fn ip6(last: u8) -> Ipv6Addr {
    eui64::link_local(mac(last))
}

/// Returns the global address of a guest with a fixed one.
fn global(last: u8) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last.into())
}

/// Returns the addresses of a guest that the tests act as.
fn addresses(guest: (u8, BridgePortId)) -> PortAddresses {
    let (last, _) = guest;
    let ipv4 = [FIXED, FIXED_BOTH].contains(&guest).then(|| ip(last));
    let ipv6 = [FIXED_IPV6, FIXED_BOTH].contains(&guest).then(|| global(last));
    PortAddresses { mac: mac(last), ipv4, ipv6 }
}

/// Returns a switch of its own, for tests that change it.
fn switch() -> Switch {
    let mut switch = Switch::default();
    for guest in [FIXED, FREE, FIXED_IPV6, FIXED_BOTH] {
        switch.add(guest.1, addresses(guest)).unwrap();
    }
    switch.add(BridgePortId(2), PortAddresses::new(mac(VICTIM), Some(ip(VICTIM)))).unwrap();
    let dom0 = [ip(DOM0).into(), "2001:db8::fe".parse().unwrap(), "fe80::1".parse().unwrap()];
    switch.set_dom0(Dom0Addresses::new(Some(mac(DOM0)), dom0.into_iter()));
    switch
}

thread_local! {
    /// The switch of all other tests: creating one takes long.
    static SWITCH: Switch = switch();
}

/// Returns whether a guest may send a frame.
fn may(guest: (u8, BridgePortId), frame: &[u8]) -> bool {
    let facts = FrameFacts::of(frame).unwrap();
    let mut rules = GuestRules::new(addresses(guest));
    SWITCH.with(|switch| rules.may_send(&facts, frame, guest.1, switch))
}

/// What a frame is, whether the guest with a fixed address may send it, whether the one without
/// may, and the frame that a guest sends.
type Row = (&'static str, bool, bool, fn(u8) -> Vec<u8>);

fn check(table: &[Row]) {
    for (what, fixed, free, frame) in table {
        assert_eq!(may(FIXED, &frame(FIXED.0)), *fixed, "with a fixed address: {what}");
        assert_eq!(may(FREE, &frame(FREE.0)), *free, "without a fixed address: {what}");
    }
}

/// Returns a frame with an IPv6 packet.
fn ipv6(from: u8, source: Ipv6Addr, next: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    let all_nodes = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    let header = [&[0x60, 0, 0, 0][..], &length, &[next, 255], &source.octets(), &all_nodes];
    let packet = [&header.concat(), content].concat();
    build::ethernet(MacAddr([0x33, 0x33, 0, 0, 0, 1]), mac(from), 0x86dd, &packet)
}

/// Returns a message of neighbour discovery with a target and an option with a MAC address.
fn neighbour(kind: u8, target: Ipv6Addr, option: Option<u8>) -> Vec<u8> {
    let option = option.map_or(Vec::new(), |last| [&[2, 1][..], &mac(last).0].concat());
    [&[kind, 0, 0, 0, 0, 0, 0, 0][..], &target.octets(), &option].concat()
}

/// Returns a UDP datagram to the port of DHCPv6 servers.
fn udp6(source_port: u16) -> Vec<u8> {
    udp_between(source_port, 547)
}

fn udp_between(source_port: u16, port: u16) -> Vec<u8> {
    [source_port, port, 8, 0].map(u16::to_be_bytes).concat()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whatever the bytes are, a frame with another guest's MAC address does not pass.
    #[test]
    fn no_bytes_cause_a_panic(
        ethertype in prop::sample::select(vec![0x800_u16, 0x806, 0x86dd, 0x8100, 0x1234]),
        protocol in prop::sample::select(vec![0_u8, 1, 6, 17, 41, 43, 44, 51, 58, 60, 135]),
        body in prop::collection::vec(any::<u8>(), 0..120),
    ) {
        let mut frame = build::ethernet(mac(VICTIM), mac(FREE.0), ethertype, &body);
        for (at, value) in [(14, if ethertype == 0x800 { 0x45 } else { 0x60 }), (20, protocol)] {
            if let Some(byte) = frame.get_mut(at) {
                *byte = value;
            }
        }
        for guest in [FIXED, FREE] {
            frame[6..12].copy_from_slice(&mac(guest.0).0);
            may(guest, &frame);
        }
        frame[6..12].copy_from_slice(&mac(VICTIM).0);
        prop_assert!(!may(FIXED, &frame) && !may(FREE, &frame));
        let facts = FrameFacts::of(&frame).unwrap();
        prop_assert!(!SWITCH.with(|switch| TapRules::default().may_enter(&facts, &frame, switch)));
        frame[6..12].copy_from_slice(&mac(OUTSIDE).0);
        let facts = FrameFacts::of(&frame).unwrap();
        SWITCH.with(|switch| TapRules::default().may_enter(&facts, &frame, switch));
    }

    /// A router advertisement does not pass behind any chain of extension headers.
    #[test]
    fn extension_headers_hide_nothing(
        chain in prop::collection::vec((prop::sample::select(vec![0_u8, 43, 44, 51, 60]), 0_u8..3), 0..12),
    ) {
        let mut content = vec![134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0];
        let mut next = 58;
        for (kind, length) in chain {
            let (length, size) = match kind {
                44 => (0, 8),
                // In units of 4 bytes; must end at 8 bytes.
                51 => (length * 2, (usize::from(length) * 2 + 2) * 4),
                _ => (length, (usize::from(length) + 1) * 8),
            };
            let mut header = vec![0; size];
            header[..2].copy_from_slice(&[next, length]);
            content = [header, content].concat();
            next = kind;
        }
        for guest in [FIXED, FREE] {
            prop_assert!(!may(guest, &ipv6(guest.0, ip6(guest.0), next, &content)));
        }
    }
}
