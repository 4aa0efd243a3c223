// SPDX-License-Identifier: MIT OR Apache-2.0
//! Received frames.

use alloc::vec::Vec;

use xen_abi::io::netif::{
    ExtraInfo, NETRXF_CSUM_BLANK, NETRXF_DATA_VALIDATED, NETRXF_EXTRA_INFO, NETRXF_MORE_DATA,
    RxRequest, RxResponse, XEN_NETIF_EXTRA_FLAG_MORE,
};

use super::report;
use crate::net::buffers::RxBuffers;
use crate::net::ethernet::ETHERNET_HEADER;
use crate::net::rings::RxRing;

/// The ring of received frames, and their buffers.
#[derive(Debug)]
pub(crate) struct RxQueue {
    pub(super) ring: RxRing,
    pub(super) buffers: RxBuffers,
    /// The buffer that is posted in each slot of the ring.
    pub(super) posted: Vec<u16>,
    /// A private copy of the last frame that was received.
    pub(super) frame: Vec<u8>,
    pub(super) broken: bool,
}

/// A received frame.
#[derive(Debug)]
pub(crate) struct Frame<'a> {
    pub(crate) bytes: &'a mut [u8],
    /// Whether the backend marked its checksums as valid.
    pub(crate) validated: bool,
}

impl RxQueue {
    /// Posts buffer `number` for the backend.
    pub(super) fn post(&mut self, number: u16) {
        if let Some(grant) = self.buffers.grant(usize::from(number)) {
            self.posted[self.ring.request_slot()] = number;
            self.ring.put(&RxRequest { id: number, pad: 0, gref: grant.0 });
        }
    }

    /// Takes the next response, if there is one.
    fn take(&mut self) -> Option<RxResponse> {
        if self.broken {
            return None;
        }
        match self.ring.take() {
            Ok(response) => response,
            Err(overrun) => {
                report("rx", overrun);
                self.broken = true;
                None
            }
        }
    }

    /// Copies a part of a frame out of its buffer to `at`, and posts the buffer again. Returns where
    /// the part ends; `None` if the backend had an error or the part does not fit.
    fn take_part(&mut self, response: RxResponse, at: usize) -> Option<usize> {
        let number = usize::from(response.id);
        // A negative status is an error of the backend: the slot has no data.
        let end = at + usize::try_from(response.status).unwrap_or(0);
        let to = self.frame.get_mut(at..end);
        let offset = usize::from(response.offset);
        let copied = to.and_then(|to| self.buffers.copy_out(number, offset, to));
        // With an invalid ID the backend loses a buffer; the guest's memory is safe.
        self.post(response.id);
        copied.filter(|()| end > at).map(|()| end)
    }

    /// Receives the next frame. Its buffers are posted again with the next flush.
    pub(crate) fn receive(&mut self) -> Option<Frame<'_>> {
        while let Some(first) = self.take() {
            let mut end = self.take_part(first, 0);
            if first.flags & (NETRXF_EXTRA_INFO | NETRXF_MORE_DATA) != 0 {
                end = self.take_rest(first, end);
            }
            if let Some(end) = end.filter(|end| *end >= ETHERNET_HEADER) {
                let validated = first.flags & (NETRXF_DATA_VALIDATED | NETRXF_CSUM_BLANK) != 0;
                return Some(Frame { bytes: &mut self.frame[..end], validated });
            }
        }
        None
    }

    /// Takes the responses of a frame that follow its first one. Returns where the frame ends;
    /// `None` if a part was not received.
    fn take_rest(&mut self, first: RxResponse, mut end: Option<usize>) -> Option<usize> {
        let mut more = first.flags & NETRXF_EXTRA_INFO != 0;
        while more {
            // The page of the slot was not used. How the packet was to be segmented does not matter.
            let number = self.posted[self.ring.response_slot()];
            let extra = ExtraInfo::from(self.take()?);
            self.post(number);
            more = extra.flags & XEN_NETIF_EXTRA_FLAG_MORE != 0;
        }
        more = first.flags & NETRXF_MORE_DATA != 0;
        while more {
            // The backend publishes all responses of a frame at once.
            let part = self.take()?;
            end = match end {
                Some(end) => self.take_part(part, end),
                None => {
                    self.post(part.id);
                    None
                }
            };
            more = part.flags & NETRXF_MORE_DATA != 0;
        }
        end
    }
}
