// SPDX-License-Identifier: MIT OR Apache-2.0
//! Guests with an IPv6 address, beside an IPv4 one or alone.

use smoltcp::wire::{Icmpv6Packet, Icmpv6Repr, Ipv6Packet};

use super::*;

const GUEST_IPV6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);

fn world(long: bool, families: Families) -> World {
    let mut world = World::with_families(40 << 20, long, 1, families);
    world.client.update_ip_addrs(|addresses| {
        addresses.push(IpCidr::new(CLIENT_IPV6.into(), 64)).unwrap();
    });
    world
}

/// smoltcp's client resolves the guest's address by neighbour discovery and uses it, with plain and
/// with long packets.
#[test]
fn a_guest_is_found_and_served_by_its_ipv6_address() {
    for families in [Families::Ipv6, Families::Both] {
        for long in [false, true] {
            let mut world = world(long, families);
            let handle = world.connect_to(GUEST_IPV6.into());
            let bytes = pattern(500_000);
            assert!(echo(&mut world, handle, &bytes) == bytes, "{families:?}, {long}");
            assert_eq!(world.backend.longest > 60_000, long, "{}", world.backend.longest);
            if families == Families::Both {
                let handle = world.connect();
                assert_eq!(echo(&mut world, handle, b"over IPv4"), b"over IPv4");
            }
        }
    }
}

/// Two clients with the same port, one of each family, have two connections.
#[test]
fn connections_of_the_two_families_do_not_mix() {
    let mut world = world(false, Families::Both);
    let first = world.connect();
    assert_eq!(echo(&mut world, first, b"first"), b"first");
    world.next_port -= 1;
    let second = world.connect_to(GUEST_IPV6.into());
    assert_eq!(echo(&mut world, second, b"second"), b"second");
    assert_eq!(echo(&mut world, first, b"again"), b"again");
    assert_eq!(world.server.connections.slots.iter().filter(|slot| slot.used).count(), 2);
}

/// One socket of a client may connect to both IPv6 addresses of a guest.
#[test]
fn connections_to_the_link_local_address_do_not_mix_with_others() {
    const LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0x216, 0x3eff, 0xfe00, 1);
    let mut world = world(false, Families::Ipv6);
    world.client.update_ip_addrs(|addresses| {
        addresses.push(IpCidr::new(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1).into(), 64)).unwrap();
    });
    let first = world.connect_to(GUEST_IPV6.into());
    assert_eq!(echo(&mut world, first, b"first"), b"first");
    let port = world.next_port;
    let second = world.connect_to(LINK_LOCAL.into());
    let context = world.client.context();
    let socket = world.sockets.get_mut::<tcp::Socket>(second);
    socket.abort();
    socket.connect(context, (LINK_LOCAL, PORT), (CLIENT_IPV6, port)).unwrap();
    assert_eq!(echo(&mut world, second, b"second"), b"second");
    assert_eq!(echo(&mut world, first, b"again"), b"again");
    assert_eq!(world.server.connections.slots.iter().filter(|slot| slot.used).count(), 2);
}

#[test]
fn all_addresses_are_announced_and_named() {
    let mut world = World::with_families(8 << 20, false, 1, Families::Both);
    let mut frames = VecDeque::new();
    world.backend.take(&mut frames);
    let types: Vec<_> = frames.iter().map(|frame| [frame[12], frame[13]]).collect();
    // An announcement, and a request for the gateway, in each family.
    assert_eq!(types, [[8, 6], [8, 6], [0x86, 0xdd], [0x86, 0xdd]]);
    let addresses = world.server.net.socket_addresses(PORT);
    assert_eq!(std::format!("{addresses}"), "10.0.0.2:7, [2001:db8::2]:7");
}

#[test]
fn pings_are_answered() {
    let mut world = world(false, Families::Ipv6);
    let mut frames = VecDeque::new();
    world.backend.take(&mut frames);
    frames.clear();
    let checksums = phy::ChecksumCapabilities::default();
    let echo = Icmpv6Repr::EchoRequest { ident: 7, seq_no: 1, data: b"ping" };
    let mut frame = std::vec![0; ETHERNET_HEADER + 40 + echo.buffer_len()];
    frame[..6].copy_from_slice(&[0, 0x16, 0x3e, 0, 0, 1]);
    frame[6..14].copy_from_slice(&[2, 0, 0, 0, 0, 1, 0x86, 0xdd]);
    let packet = &mut frame[ETHERNET_HEADER..];
    (packet[0], packet[5], packet[6], packet[7]) = (0x60, echo.buffer_len() as u8, 58, 64);
    packet[8..24].copy_from_slice(&CLIENT_IPV6.octets());
    packet[24..40].copy_from_slice(&GUEST_IPV6.octets());
    let mut message = Icmpv6Packet::new_unchecked(&mut packet[40..]);
    echo.emit(&CLIENT_IPV6, &GUEST_IPV6, &mut message, &checksums);
    assert!(world.backend.deliver(&frame));
    while world.server.round(Instant::from_nanos(world.now)).is_none() {}
    world.backend.take(&mut frames);
    let answer = frames.pop_front().expect("an answer");
    let ip = Ipv6Packet::new_checked(&answer[ETHERNET_HEADER..]).unwrap();
    assert_eq!((ip.src_addr(), ip.dst_addr()), (GUEST_IPV6, CLIENT_IPV6));
    let message = Icmpv6Packet::new_checked(ip.payload()).unwrap();
    let read = Icmpv6Repr::parse(&GUEST_IPV6, &CLIENT_IPV6, &message, &checksums).unwrap();
    assert_eq!(read, Icmpv6Repr::EchoReply { ident: 7, seq_no: 1, data: b"ping" });
}
