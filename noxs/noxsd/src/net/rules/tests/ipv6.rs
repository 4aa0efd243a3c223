// SPDX-License-Identifier: GPL-3.0-or-later
//! IPv6 from guests.

use super::*;

const ADVERTISEMENT: u8 = 136;
const SOLICITATION: u8 = 135;
const NONE: Ipv6Addr = Ipv6Addr::UNSPECIFIED;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 58;

/// An address that the switch does not know.
const GLOBAL: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x77);
/// An address of dom0.
const DOM0S: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0xfe);

fn tcp(from: u8, source: Ipv6Addr) -> Vec<u8> {
    ipv6(from, source, TCP, &[0; 20])
}

#[test]
fn a_source_is_the_guests_or_free() {
    check(&[
        ("its own", true, true, |me| tcp(me, ip6(me))),
        ("a free one", false, true, |me| tcp(me, GLOBAL)),
        ("another guest's", false, false, |me| tcp(me, ip6(VICTIM))),
        ("another guest's with a prefix", false, false, |me| {
            let mut address = ip6(VICTIM).octets();
            address[..2].copy_from_slice(&[0x20, 1]);
            tcp(me, address.into())
        }),
        ("dom0's", false, false, |me| tcp(me, DOM0S)),
        ("none", false, false, |me| tcp(me, NONE)),
        ("a group", false, false, |me| tcp(me, Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1))),
        ("loopback", false, false, |me| tcp(me, Ipv6Addr::LOCALHOST)),
        ("an IPv4 address", false, false, |me| tcp(me, ip(VICTIM).to_ipv6_mapped())),
        ("IPv4 in an IPv6 frame", false, false, |me| {
            let mut frame = tcp(me, ip6(me));
            frame[HEADER] = 0x45;
            frame
        }),
        ("a header cut short", false, false, |me| tcp(me, ip6(me))[..HEADER + 39].to_vec()),
    ]);
}

/// A fixed address of IPv6 is held to as one of IPv4 is: beside it and the link-local one, the guest
/// uses no address, and sends nothing that could hide one.
#[test]
fn a_guest_with_a_fixed_ipv6_address_uses_no_other() {
    for guest in [FIXED_IPV6, FIXED_BOTH] {
        let me = guest.0;
        let own = global(me);
        assert!(may(guest, &tcp(me, own)));
        assert!(may(guest, &tcp(me, ip6(me))), "the link-local address");
        let mut derived = ip6(me).octets();
        derived[..2].copy_from_slice(&[0x20, 1]);
        let others = [GLOBAL, derived.into(), global(VICTIM), ip6(VICTIM), DOM0S, NONE];
        for source in others {
            assert!(!may(guest, &tcp(me, source)), "{source}");
            let advertisement = neighbour(ADVERTISEMENT, source, Some(me));
            assert!(!may(guest, &ipv6(me, own, ICMP, &advertisement)), "about {source}");
        }
        let neighbour = |source, kind, about| {
            may(guest, &ipv6(me, source, ICMP, &neighbour(kind, about, Some(me))))
        };
        assert!(neighbour(own, ADVERTISEMENT, own));
        assert!(neighbour(own, SOLICITATION, DOM0S));
        assert!(neighbour(NONE, SOLICITATION, own), "is it in use?");
        assert!(!neighbour(NONE, SOLICITATION, GLOBAL));
        assert!(!neighbour(global(VICTIM), SOLICITATION, DOM0S));
        // The other family, and what hides a source.
        let is_both = guest == FIXED_BOTH;
        assert_eq!(may(guest, &build::ipv4(mac(OUTSIDE), mac(me), ip(me))), is_both);
        assert!(!may(guest, &build::ipv4(mac(OUTSIDE), mac(me), ip(77))));
        assert_eq!(may(guest, &build::arp(mac(me), 1, ip(me), ip(DOM0))), is_both);
        assert!(!may(guest, &build::arp(mac(me), 1, Ipv4Addr::UNSPECIFIED, ip(77))));
        assert!(!may(guest, &build::ethernet(mac(OUTSIDE), mac(me), 0x1234, &[0; 46])));
    }
    for other in [FREE, FIXED] {
        for victim in [FIXED_IPV6, FIXED_BOTH] {
            let me = other.0;
            let taken = global(victim.0);
            assert!(!may(other, &tcp(me, taken)));
            assert!(!may(other, &ipv6(me, ip6(me), ICMP, &neighbour(136, taken, Some(me)))));
            assert!(!may(other, &ipv6(me, NONE, ICMP, &neighbour(135, taken, None))));
            assert!(may(other, &ipv6(me, ip6(me), ICMP, &neighbour(135, taken, Some(me)))));
        }
    }
}

#[test]
fn no_guest_is_a_router_or_a_dhcp_server() {
    check(&[
        ("router advertisement", false, false, |me| ipv6(me, ip6(me), ICMP, &[134; 16])),
        ("redirect", false, false, |me| ipv6(me, ip6(me), ICMP, &[137; 40])),
        ("renumbering", false, false, |me| ipv6(me, ip6(me), ICMP, &[138; 40])),
        ("DHCPv6 client", true, true, |me| ipv6(me, ip6(me), UDP, &udp6(546))),
        ("DHCPv6 server", false, false, |me| ipv6(me, ip6(me), UDP, &udp6(547))),
        ("DHCPv6 server with another port", false, false, |me| {
            ipv6(me, ip6(me), UDP, &udp_between(1547, 546))
        }),
        ("a port cut off", false, false, |me| ipv6(me, ip6(me), UDP, &[2])),
        ("echo request", true, true, |me| ipv6(me, ip6(me), ICMP, &[128, 0, 0, 0, 0, 0, 0, 0])),
    ]);
}

#[test]
fn a_guest_advertises_only_its_own_address() {
    let advertisement = |me: u8, source, target, option| {
        ipv6(me, source, ICMP, &neighbour(ADVERTISEMENT, target, option))
    };
    for me in [FIXED, FREE] {
        let own = ip6(me.0);
        let may = |source, target, option| may(me, &advertisement(me.0, source, target, option));
        assert!(may(own, own, Some(me.0)));
        assert!(may(own, own, None));
        assert!(!may(own, own, Some(VICTIM)), "another's MAC address");
        assert!(!may(own, ip6(VICTIM), Some(me.0)));
        assert!(!may(own, DOM0S, Some(me.0)));
        assert!(!may(own, "fe80::1".parse().unwrap(), None), "dom0's link-local address");
        assert!(!may(ip6(VICTIM), own, Some(me.0)));
        assert!(!may(NONE, own, Some(me.0)), "an advertisement has a source");
        assert_eq!(may(own, GLOBAL, Some(me.0)), me == FREE);
    }
}

#[test]
fn a_guest_solicits_from_its_own_address() {
    check(&[
        ("another's address", true, true, |me| {
            ipv6(me, ip6(me), ICMP, &neighbour(SOLICITATION, ip6(VICTIM), Some(me)))
        }),
        ("from another's", false, false, |me| {
            ipv6(me, ip6(VICTIM), ICMP, &neighbour(SOLICITATION, ip6(OUTSIDE), Some(me)))
        }),
        ("with another's MAC address", false, false, |me| {
            ipv6(me, ip6(me), ICMP, &neighbour(SOLICITATION, ip6(VICTIM), Some(VICTIM)))
        }),
        ("is its own address in use?", true, true, |me| {
            ipv6(me, NONE, ICMP, &neighbour(SOLICITATION, ip6(me), None))
        }),
        ("is another's in use?", false, false, |me| {
            ipv6(me, NONE, ICMP, &neighbour(SOLICITATION, ip6(VICTIM), None))
        }),
        ("is dom0's in use?", false, false, |me| {
            ipv6(me, NONE, ICMP, &neighbour(SOLICITATION, DOM0S, None))
        }),
        ("routers", true, true, |me| ipv6(me, ip6(me), ICMP, &[133, 0, 0, 0, 0, 0, 0, 0])),
        ("routers, without a source", true, true, |me| {
            ipv6(me, NONE, ICMP, &[133, 0, 0, 0, 0, 0, 0, 0])
        }),
        ("routers, with another's MAC address", false, false, |me| {
            let message = [&[133, 0, 0, 0, 0, 0, 0, 0, 1, 1][..], &mac(VICTIM).0].concat();
            ipv6(me, ip6(me), ICMP, &message)
        }),
        ("a report of groups", true, true, |me| ipv6(me, NONE, ICMP, &[143, 0, 0, 0, 0, 0, 0, 0])),
    ]);
}

#[test]
fn malformed_options_are_dropped() {
    let own = |options: &[u8]| {
        let message = [&neighbour(ADVERTISEMENT, ip6(FREE.0), None)[..], options].concat();
        may(FREE, &ipv6(FREE.0, ip6(FREE.0), ICMP, &message))
    };
    let link_layer = [&[2, 1][..], &mac(FREE.0).0].concat();
    let others = [&[2, 1][..], &mac(VICTIM).0].concat();
    assert!(own(&link_layer));
    assert!(own(&[&[14, 1, 0, 0, 0, 0, 0, 0][..], &link_layer].concat()), "behind a nonce");
    assert!(!own(&[&[14, 1, 0, 0, 0, 0, 0, 0][..], &others].concat()), "behind a nonce");
    assert!(!own(&[&link_layer[..], &others].concat()), "two addresses");
    assert!(!own(&[2, 0, 0, 0, 0, 0, 0, 0]), "length 0");
    assert!(!own(&[2, 2, 0, 0, 0, 0, 0, 0]), "longer than the packet");
    assert!(!own(&[2]), "a byte");
    assert!(!own(&[[2, 2].as_slice(), &[0; 14]].concat()), "an address of another kind");
    assert!(own(&[14, 1, 0, 0, 0, 0, 0, 0].repeat(16)));
    assert!(!own(&[14, 1, 0, 0, 0, 0, 0, 0].repeat(17)), "too many");
    for length in 0..24 {
        let message = &neighbour(ADVERTISEMENT, ip6(FREE.0), None)[..length];
        assert!(!may(FREE, &ipv6(FREE.0, ip6(FREE.0), ICMP, message)), "{length}");
    }
}

#[test]
fn content_that_cannot_be_seen_is_dropped() {
    let options = |next: u8, content: &[u8]| [&[next, 0, 1, 4, 0, 0, 0, 0], content].concat();
    let fragment = |next: u8, offset: u8, content: &[u8]| {
        [&[next, 0, 0, offset, 0, 0, 0, 1], content].concat()
    };
    let may = |next, content: &[u8]| may(FREE, &ipv6(FREE.0, ip6(FREE.0), next, content));
    let chain = |count| {
        (0..count)
            .fold(udp6(1), |content, number| options(if number == 0 { UDP } else { 60 }, &content))
    };
    assert!(may(60, &chain(8)));
    assert!(!may(60, &chain(9)), "too many extension headers");
    assert!(!may(60, &[UDP, 9, 0, 0, 0, 0, 0, 0]), "a header longer than the packet");
    assert!(!may(60, &[TCP, 1, 0, 0, 0, 0, 0, 0]), "a header longer than the packet");
    assert!(!may(0, &options(ICMP, &[134; 16])));
    assert!(!may(60, &options(UDP, &udp6(547))));
    assert!(may(51, &[&[UDP, 4][..], &[0; 22], &udp6(1)].concat()));
    assert!(!may(51, &[&[UDP, 4][..], &[0; 22], &udp6(547)].concat()));

    assert!(may(44, &fragment(UDP, 1, &udp6(1))), "a first fragment with its header");
    assert!(!may(44, &fragment(UDP, 1, &udp6(547))));
    assert!(!may(44, &fragment(UDP, 1, &[])), "a first fragment without its header");
    for next in [UDP, ICMP, 60, 0, 44] {
        assert!(!may(44, &fragment(next, 8, &[0; 32])), "a later fragment of {next}");
    }
    assert!(may(44, &fragment(TCP, 8, &[0; 32])), "a later fragment of TCP");
    let advertisement = neighbour(ADVERTISEMENT, ip6(FREE.0), Some(FREE.0));
    assert!(!may(44, &fragment(ICMP, 1, &advertisement)), "the next fragment could overlap");
    assert!(!may(44, &fragment(ICMP, 0, &advertisement)), "the only fragment");
    assert!(may(44, &fragment(ICMP, 1, &[128, 0, 0, 0, 0, 0, 0, 0])));
}

/// Receivers do not see what is in the frame behind the packet, so it must not end the walk.
#[test]
fn what_is_behind_the_packet_is_not_read() {
    let may = |next, content: &[u8], length: u8| {
        let mut frame = ipv6(FREE.0, ip6(FREE.0), next, content);
        frame[HEADER + 5] = length;
        self::may(FREE, &frame)
    };
    // The first fragment ends within the chain of headers; a later one goes on with UDP.
    let first = [&[60, 0, 0, 1, 0, 0, 0, 1], &[60, 0, 1, 4, 0, 0, 0, 0][..]].concat();
    let decoy = [&first[..], &[TCP, 0, 1, 4, 0, 0, 0, 0], &[0; 20]].concat();
    assert!(may(44, &decoy, 44));
    assert!(!may(44, &decoy, 16));
    assert!(!may(ICMP, &[128, 0, 0, 0, 0, 0, 0, 0], 0));
    assert!(may(TCP, &[0; 20], 20));
    assert!(!may(TCP, &[0; 20], 21), "longer than the frame");
}
