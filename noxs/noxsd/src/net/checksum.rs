// SPDX-License-Identifier: GPL-3.0-or-later
//! The checksum of TCP and UDP: where it is, and its value (RFC 1071).

use std::ops::Range;

use super::frame::{HEADER, array};

/// A version of IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IpVersion {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// A protocol over IP with a checksum that can be left to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// Where TCP or UDP lies in a frame. All offsets are in bytes and lie in the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transport {
    /// The version of IP.
    pub version: IpVersion,
    /// The protocol.
    pub protocol: Protocol,
    /// Where its header begins.
    pub start: usize,
    /// Where the checksum is.
    pub field: usize,
    /// Where its header ends.
    pub end: usize,
    /// Where the packet ends. The rest is padding.
    pub packet_end: usize,
}

// Numbers of protocols (IANA "Protocol Numbers").
const TCP: u8 = 6;
const UDP: u8 = 17;

impl Transport {
    /// Returns where TCP or UDP lies in a frame; `None` if it has neither, is a fragment, is
    /// malformed, or has extension headers of IPv6.
    #[must_use]
    pub fn find(frame: &[u8]) -> Option<Self> {
        let packet = frame.get(HEADER..)?;
        let (version, protocol, ip_length, packet_length) = match frame[12..HEADER] {
            [0x08, 0x00] => {
                let header: [u8; 20] = array(packet, 0)?;
                let length = usize::from(header[0] & 0xf) * 4;
                // All of it in one packet: no offset and no more fragments.
                let is_whole = u16::from_be_bytes([header[6], header[7]]) & 0x3fff == 0;
                (header[0] >> 4 == 4 && length >= 20 && is_whole).then_some(())?;
                let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
                (IpVersion::V4, header[9], length, total)
            }
            [0x86, 0xdd] => {
                let header: [u8; 8] = array(packet, 0)?;
                (header[0] >> 4 == 6).then_some(())?;
                let payload = usize::from(u16::from_be_bytes([header[4], header[5]]));
                (IpVersion::V6, header[6], 40, 40 + payload)
            }
            _ => return None,
        };
        let (start, packet_end) = (HEADER + ip_length, HEADER + packet_length);
        (packet_end <= frame.len()).then_some(())?;
        let (protocol, field, length) = match protocol {
            TCP => {
                let offset = *frame.get(start + 12)?;
                (Protocol::Tcp, start + 16, usize::from(offset >> 4) * 4)
            }
            UDP => (Protocol::Udp, start + 6, 8),
            _ => return None,
        };
        let end = start + length;
        let is_long_enough = protocol == Protocol::Udp || length >= 20;
        (is_long_enough && end <= packet_end).then_some(Self {
            version,
            protocol,
            start,
            field,
            end,
            packet_end,
        })
    }
}

/// Writes the sum of the pseudo-header into the field of the checksum, from which
/// [`complete`] computes the checksum.
pub(super) fn prepare(frame: &mut [u8], transport: &Transport) {
    let sum = pseudo_header(frame, transport, transport.packet_end - transport.start);
    frame[transport.field..transport.field + 2].copy_from_slice(&fold(sum).to_be_bytes());
}

/// Returns the sum of the pseudo-header of a packet with that many bytes from TCP's or UDP's header
/// on.
pub(super) fn pseudo_header(frame: &[u8], transport: &Transport, length: usize) -> u64 {
    let addresses = match transport.version {
        IpVersion::V4 => &frame[HEADER + 12..HEADER + 20],
        IpVersion::V6 => &frame[HEADER + 8..HEADER + 40],
    };
    let protocol = match transport.protocol {
        Protocol::Tcp => TCP,
        Protocol::Udp => UDP,
    };
    sum(addresses) + u64::from(protocol) + length as u64
}

/// Computes a checksum: the bytes of `covered` count, among them its field, which is not zero but has
/// the sum of the pseudo-header.
pub(super) fn complete(frame: &mut [u8], covered: Range<usize>, field: usize) {
    let value = !fold(sum(&frame[covered]));
    // In UDP, zero means that there is no checksum, and 0xffff is the same number.
    let value = if value == 0 { 0xffff } else { value };
    frame[field..field + 2].copy_from_slice(&value.to_be_bytes());
}

/// Returns the sum of 16-bit words; an odd byte at the end is the upper half of one.
pub(super) fn sum(bytes: &[u8]) -> u64 {
    // Words of 32 bits have the same sum once it is folded.
    let (words, rest) = bytes.as_chunks::<4>();
    let sum: u64 = words.iter().map(|word| u64::from(u32::from_be_bytes(*word))).sum();
    let mut last = [0; 4];
    last[..rest.len()].copy_from_slice(rest);
    sum + u64::from(u32::from_be_bytes(last))
}

/// Folds a sum to 16 bits.
pub(super) fn fold(mut sum: u64) -> u16 {
    while let Some(carry) = Some(sum >> 16).filter(|carry| *carry != 0) {
        sum = (sum & 0xffff) + carry;
    }
    // Fits, because nothing is above 16 bits.
    u16::try_from(sum).unwrap_or_default()
}
