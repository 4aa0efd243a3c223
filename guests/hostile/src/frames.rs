// SPDX-License-Identifier: MIT OR Apache-2.0
//! Ethernet frames with true and false sender addresses.

use core::net::Ipv4Addr;

use noxs::{Ipv4Config, MacAddr};
use unikernel::Guest;

/// False sender addresses. No host has them, and the tests look for frames that carry them.
const FALSE_MAC: MacAddr = MacAddr([0x02, 0, 0, 0, 0, 0x77]);
const FALSE_ARP_SENDER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 77);
const FALSE_IPV4_SOURCE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 78);

/// The MAC address of the guest that is attacked.
pub(crate) const NEIGHBOUR: MacAddr = MacAddr([0x00, 0x16, 0x3e, 0, 0, 2]);

const TO_ALL: MacAddr = MacAddr([0xff; 6]);

/// The length of the longest frame in bytes: a message about a neighbour.
const LONGEST: usize = 86;

/// A frame, padded to whole words.
pub(crate) struct Frame {
    bytes: [u8; LONGEST.next_multiple_of(4)],
    length: usize,
}

impl Frame {
    /// Returns a frame with this body, which fits.
    pub(crate) fn new(to: MacAddr, source: MacAddr, ethertype: u16, body: &[&[u8]]) -> Self {
        let mut bytes = [0; _];
        let mut at = 0;
        let header: [&[u8]; 3] = [&to.0, &source.0, &ethertype.to_be_bytes()];
        for part in header.iter().chain(body) {
            bytes[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        Self { bytes, length: at }
    }

    /// Returns its length in bytes.
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    /// Returns its bytes as little-endian words; zeros follow the last byte.
    pub(crate) fn words(&self) -> impl Iterator<Item = u32> + '_ {
        let (words, _) = self.bytes[..self.length.next_multiple_of(4)].as_chunks();
        words.iter().map(|word| u32::from_le_bytes(*word))
    }
}

/// Returns a request for the gateway's MAC address with the guest's own addresses.
pub(crate) fn arp_request(guest: &Guest) -> Frame {
    let (mac, ipv4) = own(guest);
    arp(mac, mac, ipv4.address, gateway(ipv4))
}

/// Returns frames with a false sender, which this guest may not send.
pub(crate) fn spoofed(guest: &Guest) -> [Frame; 4] {
    let (mac, ipv4) = own(guest);
    let to = gateway(ipv4);
    [
        arp(FALSE_MAC, mac, ipv4.address, to),
        arp(mac, FALSE_MAC, ipv4.address, to),
        arp(mac, mac, FALSE_ARP_SENDER, to),
        echo_request(TO_ALL, mac, FALSE_IPV4_SOURCE, to),
    ]
}

/// Returns an echo request to [`NEIGHBOUR`], at an IPv4 address that is not the neighbour's: only
/// the switch deals with it, and the neighbour drops it.
pub(crate) fn to_neighbour(guest: &Guest) -> Frame {
    let (mac, ipv4) = own(guest);
    echo_request(NEIGHBOUR, mac, ipv4.address, gateway(ipv4))
}

pub(crate) fn own(guest: &Guest) -> (MacAddr, Ipv4Config) {
    match guest.vif().map(|vif| (vif.mac, vif.ipv4)) {
        Some((mac, Some(ipv4))) => (mac, ipv4),
        _ => panic!("hostile: no vif with an IPv4 address; add vif = ['ip=...'] to the config"),
    }
}

fn gateway(ipv4: Ipv4Config) -> Ipv4Addr {
    match ipv4.gateway {
        Some(gateway) => gateway,
        None => panic!("hostile: no gateway; add it to the vif's ip= in the config"),
    }
}

/// Returns an ARP request (RFC 826) from Ethernet address `source`, which says that `mac` has the
/// address `sender`.
fn arp(source: MacAddr, mac: MacAddr, sender: Ipv4Addr, target: Ipv4Addr) -> Frame {
    let fixed = [0, 1, 8, 0, 6, 4, 0, 1];
    Frame::new(
        TO_ALL,
        source,
        0x0806,
        &[&fixed, &mac.0, &sender.octets(), &[0; 6], &target.octets()],
    )
}

/// Returns an ICMP echo request (RFC 792) in an IPv4 packet (RFC 791), without data.
fn echo_request(station: MacAddr, source: MacAddr, from: Ipv4Addr, to: Ipv4Addr) -> Frame {
    let fixed = [0x45, 0, 0, 28, 0, 0, 0, 0, 64, 1];
    let sum = checksum(&[&fixed, &from.octets(), &to.octets()]);
    let message = [8, 0, 0xf7, 0xff, 0, 0, 0, 0];
    let parts: [&[u8]; 5] = [&fixed, &sum.to_be_bytes(), &from.octets(), &to.octets(), &message];
    Frame::new(station, source, 0x0800, &parts)
}

/// Returns the Internet checksum (RFC 1071) of parts of even length.
pub(crate) fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0u32;
    for part in parts {
        let (words, _) = part.as_chunks();
        sum += words.iter().map(|word| u32::from(u16::from_be_bytes(*word))).sum::<u32>();
    }
    let [a, b, c, d] = sum.to_be_bytes();
    let folded = u32::from(u16::from_be_bytes([a, b])) + u32::from(u16::from_be_bytes([c, d]));
    let [_, carry, high, low] = folded.to_be_bytes();
    !(u16::from_be_bytes([high, low]) + u16::from(carry))
}
