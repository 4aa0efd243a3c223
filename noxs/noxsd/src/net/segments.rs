// SPDX-License-Identifier: GPL-3.0-or-later
//! Segments a packet of TCP, for receivers that take no long ones.

use super::checksum::{self, IpVersion, Transport};
use super::frame::HEADER;
use super::offload::Segmentation;

// Flags of TCP (RFC 9293), in the byte 13 of its header.
const FIN: u8 = 0x01;
const PSH: u8 = 0x08;
const CWR: u8 = 0x80;

/// Returns how many segments a frame of this length has.
#[must_use]
pub fn count(segmentation: Segmentation, length: usize) -> usize {
    let data = length.saturating_sub(segmentation.headers.into());
    data.div_ceil(usize::from(segmentation.size.max(1)))
}

/// Writes the frame of a segment, with its checksums, and returns its length. `number` is below
/// [`count`]. Returns `None` if the frame is not the packet of TCP that the segmentation is about, or
/// if there is too little room.
pub(super) fn write(
    frame: &[u8],
    segmentation: Segmentation,
    number: usize,
    to: &mut [u8],
) -> Option<usize> {
    let transport = Transport::find(frame)?;
    let (headers, size) = (usize::from(segmentation.headers), usize::from(segmentation.size));
    (transport.end == headers).then_some(())?;
    let at = number * size;
    let data = frame[headers..].get(at..)?;
    let data = &data[..size.min(data.len())];
    let is_last = headers + at + data.len() == frame.len();
    let length = headers + data.len();
    let to = to.get_mut(..length)?;
    to[..headers].copy_from_slice(&frame[..headers]);
    to[headers..].copy_from_slice(data);

    let put = |to: &mut [u8], at: usize, value: u16| {
        to[at..at + 2].copy_from_slice(&value.to_be_bytes());
    };
    let get = |from: &[u8], at: usize| u16::from_be_bytes([from[at], from[at + 1]]);
    let packet = u16::try_from(length - HEADER).ok()?;
    match segmentation.version {
        IpVersion::V4 => {
            put(to, HEADER + 2, packet);
            let identification = get(frame, HEADER + 4).wrapping_add(u16::try_from(number).ok()?);
            put(to, HEADER + 4, identification);
            put(to, HEADER + 10, 0);
            let sum = checksum::sum(&to[HEADER..transport.start]);
            put(to, HEADER + 10, !checksum::fold(sum));
        }
        IpVersion::V6 => put(to, HEADER + 4, packet - 40),
    }
    let sequence = transport.start + 4;
    let first = u32::from_be_bytes(frame[sequence..sequence + 4].try_into().ok()?);
    let own = first.wrapping_add(u32::try_from(at).ok()?);
    to[sequence..sequence + 4].copy_from_slice(&own.to_be_bytes());
    let flags = &mut to[transport.start + 13];
    if !is_last {
        *flags &= !(FIN | PSH);
    }
    if number > 0 {
        *flags &= !CWR;
    }
    let own = Transport { packet_end: length, ..transport };
    checksum::prepare(to, &own);
    checksum::complete(to, own.start..length, own.field);
    Some(length)
}
