// SPDX-License-Identifier: MIT OR Apache-2.0
//! The frames: UDP over IPv4 with a number, which the sender increments.

use alloc::vec;
use alloc::vec::Vec;
use core::net::Ipv4Addr;
use core::ops::Range;

use noxs::MacAddr;

/// The port of both ends, which RFC 863 assigns to a service that drops what it receives.
pub const PORT: u16 = 9;

const ETHERNET: usize = 14;
const IPV4: usize = 20;
const UDP: usize = 8;

/// What a receiver looks at: the type of the packet, its protocol, and the port that it is for.
const ETHERTYPE: Range<usize> = 12..14;
const PROTOCOL: usize = 23;
const DESTINATION_PORT: Range<usize> = 36..38;

/// Where the number is.
const NUMBER: Range<usize> = ETHERNET + IPV4 + UDP..LEAST;

/// The length of the shortest frame, in bytes.
pub const LEAST: usize = ETHERNET + IPV4 + UDP + 8;

/// The addresses of an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Station {
    /// Its hardware address.
    pub mac: MacAddr,
    /// Its IPv4 address.
    pub address: Ipv4Addr,
}

/// Returns a frame of `length` bytes with the number 0. It has no checksum of UDP, which may be left
/// out in IPv4 (RFC 768), so that neither end computes one.
///
/// # Panics
/// If the length is less than [`LEAST`], or more than an IPv4 packet may have.
#[must_use]
pub fn new(from: Station, to: Station, length: usize) -> Vec<u8> {
    let packet = u16::try_from(length - ETHERNET).unwrap_or_else(|_| panic!("{length} bytes"));
    let mut frame = vec![0; length];
    let mut header = [0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 17, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    header[2..4].copy_from_slice(&packet.to_be_bytes());
    header[12..16].copy_from_slice(&from.address.octets());
    header[16..20].copy_from_slice(&to.address.octets());
    let sum = checksum(&header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    let [port, datagram] = [PORT, packet - 20].map(u16::to_be_bytes);
    let parts: [&[u8]; 7] = [&to.mac.0, &from.mac.0, &[8, 0], &header, &port, &port, &datagram];
    let mut at = 0;
    for part in parts {
        frame[at..at + part.len()].copy_from_slice(part);
        at += part.len();
    }
    assert!(length >= LEAST, "a frame of {length} bytes");
    frame
}

/// Writes the number of a frame.
pub fn number(frame: &mut [u8], number: u64) {
    frame[NUMBER].copy_from_slice(&number.to_be_bytes());
}

/// Returns the number of a received frame; `None` if it is not one of the sender's.
#[must_use]
#[inline]
pub fn read(frame: &[u8]) -> Option<u64> {
    let head = frame.first_chunk::<LEAST>()?;
    let is_ours = head[ETHERTYPE] == [8, 0]
        && head[PROTOCOL] == 17
        && head[DESTINATION_PORT] == PORT.to_be_bytes();
    head.last_chunk().filter(|_| is_ours).map(|number| u64::from_be_bytes(*number))
}

/// Returns the Internet checksum (RFC 1071) of a header.
fn checksum(header: &[u8; IPV4]) -> u16 {
    let (words, _) = header.as_chunks();
    let mut sum: u32 = words.iter().map(|word| u32::from(u16::from_be_bytes(*word))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    // It is at most 0xffff.
    !u16::try_from(sum).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FROM: Station =
        Station { mac: MacAddr([0, 0x16, 0x3e, 0, 0, 7]), address: Ipv4Addr::new(10, 0, 0, 7) };
    const TO: Station =
        Station { mac: MacAddr([0, 0x16, 0x3e, 0, 0, 8]), address: Ipv4Addr::new(10, 0, 0, 8) };

    #[test]
    fn a_frame_has_its_headers_and_number() {
        let mut frame = new(FROM, TO, 64);
        number(&mut frame, 0x0102_0304_0506_0708);
        assert_eq!(frame[..12], [0, 0x16, 0x3e, 0, 0, 8, 0, 0x16, 0x3e, 0, 0, 7]);
        // Both lengths, and a checksum that makes the sum of the header 0xffff.
        assert_eq!((&frame[16..18], &frame[38..40]), (&[0, 50][..], &[0, 30][..]));
        assert_eq!(checksum(frame[14..34].first_chunk().unwrap()), 0);
        assert_eq!(read(&frame), Some(0x0102_0304_0506_0708));
    }

    #[test]
    fn other_frames_are_not_counted() {
        let frame = new(FROM, TO, LEAST);
        assert_eq!(read(&frame), Some(0));
        assert_eq!(read(&frame[..LEAST - 1]), None);
        for at in [12, PROTOCOL, 37] {
            let mut other = frame.clone();
            other[at] ^= 1;
            assert_eq!(read(&other), None, "byte {at}");
        }
    }
}
