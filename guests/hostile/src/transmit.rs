// SPDX-License-Identifier: MIT OR Apache-2.0
//! The transmit ring of `public/io/netif.h`, without a driver's checks.

use alloc::vec::Vec;

use unikernel::{Guest, Port, wait};
use xen_abi::io::netif::{NETIF_RSP_NULL, TxRequest, TxResponse};
use xen_abi::io::ring::{REQ_PROD, RSP_EVENT, RSP_PROD};
use xen_ring::{NetTx, Protocol, RawPage, SharedPage};
use zerocopy::IntoBytes;

use crate::frames::Frame;
use crate::raw;

/// The offset of the frames in their page, and the distance between them. They lie in the upper
/// half of the receive ring's page, which this guest does not use, but which is granted to the
/// backend.
const FRAMES: usize = 2048;
const FRAME_SPACE: usize = 128;

/// How many requests [`Transmit::fill`] publishes at least.
const FILL: u32 = 32;

/// The transmit half of an interface.
pub(crate) struct Transmit {
    ring: RawPage,
    frames: RawPage,
    /// The grant by which the backend may read the page of the frames.
    grant: u32,
    port: Port,
    produced: u32,
}

impl Transmit {
    /// Takes the first interface, before anything was sent on it.
    pub(crate) fn new(guest: &Guest) -> Self {
        let vif = raw::vif(guest);
        Self {
            ring: vif.transmit_ring,
            frames: vif.receive_ring,
            grant: vif.receive_grant,
            port: vif.port,
            produced: 0,
        }
    }

    /// Writes a frame where the backend may read it, and returns a valid request for it.
    pub(crate) fn place(&mut self, number: usize, frame: &Frame) -> TxRequest {
        let start = FRAMES + number * FRAME_SPACE;
        for (index, word) in frame.words().enumerate() {
            self.frames.store(start + index * 4, word);
        }
        let (offset, size) = (narrow(start), narrow(frame.len()));
        TxRequest { gref: self.grant, offset, flags: 0, id: 0, size }
    }

    /// Sets the producer index, whatever the ring holds, and notifies the backend.
    pub(crate) fn publish(&mut self, produced: u32) {
        self.produced = produced;
        self.ring.store(REQ_PROD, produced);
        self.port.notify();
    }

    /// Puts a request into each free slot, and publishes them if there are at least
    /// [`FILL`]. Does not wait.
    pub(crate) fn fill(&mut self, request: TxRequest) {
        let outstanding = self.produced.wrapping_sub(self.ring.load(RSP_PROD));
        let end = self.produced.wrapping_add(NetTx::SLOTS.saturating_sub(outstanding));
        if end.wrapping_sub(self.produced) < FILL {
            return;
        }
        for index in self.produced..end {
            self.ring.write(NetTx::slot(index), request.as_bytes());
        }
        self.publish(end);
    }

    /// Publishes slots, whose values may be invalid, and does not wait for responses.
    pub(crate) fn put(&mut self, slots: &[TxRequest]) {
        let end = self.write(slots);
        self.publish(end);
    }

    /// Writes slots, with IDs of its own. Returns the index of the end.
    fn write(&mut self, slots: &[TxRequest]) -> u32 {
        let first = self.produced;
        for (number, slot) in (0..).zip(slots) {
            // In an extra info there is no ID, and what is there does not matter.
            let slot = TxRequest { id: narrow(number as usize), ..*slot };
            self.ring.write(NetTx::slot(first + number), slot.as_bytes());
        }
        first + u32::from(narrow(slots.len()))
    }

    /// Sends requests, whose values may be invalid, with IDs of its own, and waits for the
    /// responses. Returns their statuses in the order of the requests; that of an extra info, which
    /// has no status, is `i16::MIN`.
    pub(crate) fn send(&mut self, requests: &[TxRequest]) -> Vec<i16> {
        let first = self.produced;
        let end = self.write(requests);
        // Set this before the requests are published: the backend reads it when it responds.
        self.ring.store(RSP_EVENT, end);
        self.publish(end);
        while self.ring.load(RSP_PROD) != end {
            wait(&[self.port], None);
        }
        let mut statuses = alloc::vec![i16::MIN; requests.len()];
        for index in first..end {
            let mut response = TxResponse::default();
            self.ring.read(NetTx::slot(index), response.as_mut_bytes());
            if response.status != NETIF_RSP_NULL {
                statuses[usize::from(response.id)] = response.status;
            }
        }
        statuses
    }
}

/// Converts one of this guest's own numbers, which are all small.
fn narrow(number: usize) -> u16 {
    u16::try_from(number).unwrap_or_else(|_| panic!("hostile: {number} is too large"))
}
