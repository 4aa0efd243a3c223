// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sent frames.

use alloc::vec::Vec;
use core::num::NonZeroU16;

use xen_abi::io::netif::{
    ExtraInfo, NETIF_RSP_NULL, NETTXF_EXTRA_INFO, NETTXF_MORE_DATA, TxRequest,
    XEN_NETIF_EXTRA_TYPE_GSO,
};

use super::report;
use crate::layout::PAGE_SIZE;
use crate::net::buffers::{LongBuffers, TX_FRAME, TxBuffers};
use crate::net::rings::TxRing;

/// The ring of sent frames, and their buffers.
#[derive(Debug)]
pub(crate) struct TxQueue {
    pub(super) ring: TxRing,
    pub(super) buffers: TxBuffers,
    /// Buffers without a frame in flight.
    pub(super) free: Vec<u16>,
    /// For each buffer, whether its frame is in flight.
    pub(super) in_flight: Vec<bool>,
    /// Buffers for long frames.
    pub(super) long: LongBuffers,
    /// For each of them, how many slots are in flight. Their identifiers follow those of `buffers`.
    pub(super) long_in_flight: Vec<u8>,
    /// The buffer of a frame for which there is no room.
    pub(super) scratch: Vec<u8>,
    /// Whether a packet of the interface's MTU may need a buffer for long frames.
    pub(super) is_jumbo: bool,
    /// Whether the backend computes checksums of TCP and segments long packets.
    pub(super) offloads: bool,
    /// Whether the backend segments long packets of IPv6, too.
    pub(super) segments_ipv6: bool,
    pub(super) broken: bool,
}

/// How a frame is sent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sending {
    /// `NETTXF_*` of its first slot.
    pub(super) flags: u16,
    /// How the backend must segment it, if it must.
    pub(super) segments: Option<Segments>,
}

/// How a packet of TCP is to be segmented.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segments {
    pub(super) size: NonZeroU16,
    /// `XEN_NETIF_GSO_TYPE_*`.
    pub(super) gso_type: u8,
}

impl TxQueue {
    /// Returns whether a frame can be sent now. Reclaims finished buffers if there is no free one.
    pub(crate) fn has_room(&mut self) -> bool {
        if self.is_jumbo && !self.has_long_room() {
            return false;
        }
        if self.free.is_empty() {
            self.reclaim();
        }
        !self.free.is_empty()
    }

    /// Returns whether a long frame can be sent now.
    pub(crate) fn has_long_room(&mut self) -> bool {
        let is_free = |queue: &Self| queue.long_in_flight.contains(&0);
        if !self.long_in_flight.is_empty() && !is_free(self) {
            self.reclaim();
        }
        is_free(self)
    }

    fn reclaim(&mut self) {
        while !self.broken {
            match self.ring.take() {
                // The slot of an extra info has no buffer.
                Ok(Some(response)) if response.status == NETIF_RSP_NULL => {}
                // An ID that is invalid or comes too often frees nothing.
                Ok(Some(response)) => {
                    let id = usize::from(response.id);
                    if let Some(in_flight) = self.in_flight.get_mut(id) {
                        if core::mem::take(in_flight) {
                            self.free.push(response.id);
                        }
                    } else if let Some(slots) =
                        self.long_in_flight.get_mut(id - self.in_flight.len())
                    {
                        *slots = slots.saturating_sub(1);
                    }
                }
                Ok(None) => return,
                Err(overrun) => {
                    report("tx", overrun);
                    self.broken = true;
                }
            }
        }
    }

    /// Requests an event for when a quarter of the frames in flight are done. Returns whether so
    /// many are done already.
    pub(super) fn ask_for_room(&mut self) -> bool {
        !self.broken && self.ring.ask_for_event((self.ring.outstanding() / 4).max(1))
    }

    /// Sends a complete frame of at most [`TX_FRAME`] bytes.
    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) {
        self.send(bytes.len(), |frame| (frame.copy_from_slice(bytes), Sending::default()));
    }

    /// Sends a frame of `length` bytes, which `fill` writes. Without room the frame is lost.
    pub(super) fn send<R>(
        &mut self,
        length: usize,
        fill: impl FnOnce(&mut [u8]) -> (R, Sending),
    ) -> R {
        if length > TX_FRAME {
            return self.send_long(length, fill);
        }
        if self.free.is_empty() {
            self.reclaim();
        }
        let number = self.free.pop();
        let Some(id) = number else {
            return fill(&mut self.scratch[..length]).0;
        };
        self.in_flight[usize::from(id)] = true;
        let buffer = self.buffers.bytes(usize::from(id));
        let (result, Sending { flags, segments }) = fill(&mut buffer[..length]);
        let location = self.buffers.location(usize::from(id));
        // Both numbers are at most half a page, so they fit.
        if let (Ok(offset), Ok(size)) = (u16::try_from(location.offset), u16::try_from(length)) {
            let flags = flags | extra_flag(segments);
            self.ring.put(&TxRequest { gref: location.grant.0, offset, flags, id, size });
            self.put_segments(segments);
        }
        result
    }

    /// Sends a frame of `length` bytes, at most [`LONG_FRAME`](crate::net::buffers::LONG_FRAME), in
    /// several slots.
    #[inline(never)]
    fn send_long<R>(&mut self, length: usize, fill: impl FnOnce(&mut [u8]) -> (R, Sending)) -> R {
        let number = self.long_in_flight.iter().position(|slots| *slots == 0);
        let Some(number) = number else {
            if length <= self.scratch.len() {
                return fill(&mut self.scratch[..length]).0;
            }
            // Only a frame that smoltcp has a long buffer for is so long.
            panic!("a frame of {length} bytes without a buffer")
        };
        let buffer = self.long.bytes(number);
        let (result, Sending { flags, segments }) = fill(&mut buffer[..length]);
        let mut flags = flags | extra_flag(segments);
        let id = u16::try_from(self.in_flight.len() + number).unwrap_or(u16::MAX);
        // The first slot has the length of the whole frame.
        let mut size = u16::try_from(length).unwrap_or(u16::MAX);
        let mut left = length;
        for grant in self.long.grants(number) {
            let part = left.min(PAGE_SIZE);
            left -= part;
            self.long_in_flight[number] += 1;
            let is_first = left + part == length;
            if !is_first {
                (flags, size) = (0, u16::try_from(part).unwrap_or_default());
            }
            if left > 0 {
                flags |= NETTXF_MORE_DATA;
            }
            self.ring.put(&TxRequest { gref: grant.0, offset: 0, flags, id, size });
            if is_first && let Some(size) = segments {
                self.ring.put(&segmentation(size));
            }
            if left == 0 {
                break;
            }
        }
        result
    }

    fn put_segments(&mut self, segments: Option<Segments>) {
        if let Some(size) = segments {
            self.ring.put(&segmentation(size));
        }
    }
}

/// Returns the flag of a frame's first slot that an extra info follows.
fn extra_flag(segments: Option<Segments>) -> u16 {
    if segments.is_some() { NETTXF_EXTRA_INFO } else { 0 }
}

/// Returns the slot that says how a packet of TCP is to be segmented.
fn segmentation(Segments { size, gso_type }: Segments) -> TxRequest {
    let extra = ExtraInfo {
        kind: XEN_NETIF_EXTRA_TYPE_GSO,
        size: size.get(),
        gso_type,
        ..ExtraInfo::default()
    };
    extra.into()
}
