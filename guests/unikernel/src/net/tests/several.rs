// SPDX-License-Identifier: MIT OR Apache-2.0
//! Guests with several vifs.

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    IpProtocol, Ipv4Packet, Ipv4Repr, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber,
};

use super::*;

/// Returns a frame of the client with a SYN from a port.
fn syn(port: u16) -> Vec<u8> {
    let tcp = TcpRepr {
        src_port: port,
        dst_port: PORT,
        control: TcpControl::Syn,
        seq_number: TcpSeqNumber(1),
        ack_number: None,
        window_len: 100,
        window_scale: None,
        max_seg_size: None,
        sack_permitted: false,
        sack_ranges: [None; 3],
        timestamp: None,
        payload: b"",
    };
    let ip = Ipv4Repr {
        src_addr: CLIENT,
        dst_addr: GUEST,
        next_header: IpProtocol::Tcp,
        payload_len: tcp.buffer_len(),
        hop_limit: 64,
    };
    let checksums = ChecksumCapabilities::default();
    let mut frame = std::vec![0; ETHERNET_HEADER + ip.buffer_len() + tcp.buffer_len()];
    frame[..6].copy_from_slice(&[0, 0x16, 0x3e, 0, 0, 1]);
    frame[6..14].copy_from_slice(&[2, 0, 0, 0, 0, 1, 8, 0]);
    let packet = &mut frame[ETHERNET_HEADER..];
    ip.emit(&mut Ipv4Packet::new_unchecked(&mut *packet), &checksums);
    let mut segment = TcpPacket::new_unchecked(&mut packet[ip.buffer_len()..]);
    tcp.emit(&mut segment, &CLIENT.into(), &GUEST.into(), &checksums);
    frame
}

/// The most vifs that receive long frames: the buffers of more are too few.
const MOST_WITH_LONG: usize = 6;

#[test]
fn few_vifs_receive_long_frames() {
    for count in 1..=MAX_VIFS {
        let world = World::with_vifs(40 << 20, true, u16::try_from(count).unwrap());
        let accepted = VifFeatures(world.backend.rx_page.load(vif_ring::ACCEPTED));
        let takes_long = accepted.contains(VifFeatures::SEGMENT_TCPV4);
        assert_eq!(takes_long, count <= MOST_WITH_LONG, "{count} vifs");
    }
}

/// Each vif is announced, and the client on the last one is served.
#[test]
fn each_vif_is_announced_and_served() {
    for count in 1..=MAX_VIFS {
        // The test's client sends long frames without asking, and those need many buffers.
        let long = count <= MOST_WITH_LONG;
        let mut world = World::with_vifs(40 << 20, long, u16::try_from(count).unwrap());
        for other in &mut world.others {
            let mut frames = VecDeque::new();
            other.take(&mut frames);
            assert_eq!(frames.len(), 2, "{count} vifs: an announcement and a request");
        }
        let handle = world.connect();
        let bytes = pattern(100_000);
        assert!(echo(&mut world, handle, &bytes) == bytes, "{count} vifs");
        assert_eq!(world.server.net.links.len(), count);
        assert_eq!(world.server.net.ports(), [Port(3)]);
    }
}

/// Two clients with the same address and port on two networks have two connections, and each is
/// answered on its own network.
#[test]
fn networks_with_the_same_addresses_do_not_mix() {
    let mut world = World::with_vifs(8 << 20, false, 2);
    let handle = world.connect();
    assert_eq!(echo(&mut world, handle, b"first"), b"first");
    let port = world.next_port;
    let mut frames = VecDeque::new();
    world.others[0].take(&mut frames);
    frames.clear();
    assert!(world.others[0].deliver(&syn(port)));
    world.run(1_000_000);
    world.others[0].take(&mut frames);
    let answer = frames.pop_front().expect("an answer on the other network");
    let tcp = TcpPacket::new_checked(&answer[ETHERNET_HEADER + 20..]).unwrap();
    assert!(tcp.syn() && tcp.ack() && tcp.dst_port() == port, "{answer:?}");
    let links: Vec<_> = world.server.connections.slots.iter().map(|slot| slot.link).collect();
    assert_eq!(links, [1, 0]);
    assert_eq!(echo(&mut world, handle, b"second"), b"second");
}

/// A backend that takes nothing from one vif does not stop the service on another, and the guest
/// sleeps.
#[test]
fn a_vif_without_room_does_not_block_another() {
    let mut world = World::with_vifs(8 << 20, false, 2);
    let handle = world.connect();
    for port in 1000..1600 {
        if !world.others[0].deliver(&syn(port)) {
            break;
        }
        while world.server.round(Instant::from_nanos(world.now)).is_none() {
            world.backend.take(&mut world.to_client);
        }
    }
    assert!(!world.server.net.links[0].netif.tx.has_room(), "the first vif has no room");
    let bytes = pattern(50_000);
    assert!(echo(&mut world, handle, &bytes) == bytes);
}

#[test]
fn all_addresses_are_named() {
    let world = World::with_vifs(8 << 20, false, 2);
    let addresses = world.server.net.socket_addresses(PORT);
    assert_eq!(std::format!("{addresses}"), "10.0.0.2:7, 10.0.0.2:7");
}
