// SPDX-License-Identifier: GPL-3.0-or-later
//! The sending half of a vif: takes frames out of the guest's ring, within the guest's limits.
//!
//! Each frame is one request: it lies within one page and has no offloads; any other request is
//! answered with an error. noxsd copies a frame out of the guest before it looks at it. The
//! requests of a guest over its rate stay in the ring until it may send again, so that no frame is
//! lost and only that guest waits.

use std::time::{Duration, Instant};

use noxs_control::{VifIdentity, VifStatus};
use xen_abi::io::netif::{
    NETIF_RSP_ERROR, NETIF_RSP_OKAY, NETTXF_CSUM_BLANK, NETTXF_EXTRA_INFO, NETTXF_MORE_DATA,
    TxRequest, TxResponse,
};
use xen_ring::{BackRing, NetTx, SharedPage};

use super::NetFault;
use super::frame::{self, FrameFacts};
use super::rules::GuestRules;
use super::switch::{BridgePortId, Switch};
use super::transfer::{BATCH, Transfer};
use crate::host::PAGE_SIZE;
use crate::host::buffers::{BufferIndex, GrantCopy};
use crate::host::{DomId, GrantRef};
use crate::turns::bucket::Bucket;

/// Flags of requests that are answered with an error: noxsd offers no checksum offload, no frame in
/// several requests and no extra descriptors.
const REFUSED_FLAGS: u16 = NETTXF_CSUM_BLANK | NETTXF_MORE_DATA | NETTXF_EXTRA_INFO;

/// The sending half of a vif.
#[derive(Debug)]
pub struct Sender {
    /// Which frames it may send.
    pub(super) rules: GuestRules,
    /// How much has passed from the guest, and to it through a port that was removed.
    pub(super) traffic: VifStatus,
    tx: BackRing<NetTx>,
    max_frame: u16,
    rate: Option<Bucket>,
}

/// The requests that were taken out of the ring.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taken {
    /// How many, with those that were refused.
    pub(super) requests: usize,
    /// When the guest may send again, if it is over its rate.
    pub(super) not_before: Option<Instant>,
}

impl Sender {
    /// Attaches to the ring at offset `base` of the domain's memory, and continues where its
    /// indices stand.
    pub(super) fn attach(
        memory: &impl SharedPage,
        base: usize,
        identity: &VifIdentity,
        now: Instant,
    ) -> Self {
        let max_frame = max_frame(identity);
        let rate = identity.rate.map(|rate| {
            let interval = Duration::from_micros(rate.interval_us);
            Bucket::new(rate.bytes, interval, u64::from(max_frame), now)
        });
        Self {
            rules: GuestRules::new(identity.mac, identity.ipv4),
            traffic: VifStatus::default(),
            tx: BackRing::attach(memory, base),
            max_frame,
            rate,
        }
    }

    /// Takes a batch of requests out of the ring, lists the copies that fetch their frames into
    /// buffers from 0 on, and answers invalid requests with an error. `most` is the size of the
    /// batch.
    ///
    /// # Errors
    /// The guest wrote an impossible index.
    pub(super) fn take(
        &mut self,
        memory: &impl SharedPage,
        domid: DomId,
        now: Instant,
        most: usize,
        transfer: &mut Transfer,
    ) -> Result<Taken, NetFault> {
        let mut taken = Taken { requests: 0, not_before: None };
        let Transfer { requests, copies, .. } = transfer;
        copies.clear();
        requests.clear();
        let waiting = self.tx.available(memory)?;
        for _ in 0..most.min(BATCH).min(waiting as usize) {
            // Check and use this copy: the guest may change the slot at any time.
            let request = self.tx.peek(memory);
            if let Some(rate) = &mut self.rate
                && let Err(later) = rate.take(u64::from(request.size), now)
            {
                taken.not_before = Some(later);
                break;
            }
            taken.requests += 1;
            self.tx.consume();
            if !self.is_valid(&request) {
                self.traffic.dropped_frames += 1;
                self.tx.respond(memory, &TxResponse { id: request.id, status: NETIF_RSP_ERROR });
                continue;
            }
            copies.push(GrantCopy {
                domid,
                gref: GrantRef(request.gref),
                offset: request.offset,
                length: request.size,
                buffer: BufferIndex(requests.len()),
                done: false,
            });
            requests.push(request);
        }
        Ok(taken)
    }

    fn is_valid(&self, request: &TxRequest) -> bool {
        let end = usize::from(request.offset) + usize::from(request.size);
        request.flags & REFUSED_FLAGS == 0
            && usize::from(request.size) >= frame::HEADER
            && request.size <= self.max_frame
            && end <= PAGE_SIZE
    }

    /// Answers a request and returns the facts of its frame if the guest, which is at the port
    /// `own` of the switch, may send it. `frame` is `None` if the copy failed.
    pub(super) fn answer(
        &mut self,
        memory: &impl SharedPage,
        request: &TxRequest,
        frame: Option<&[u8]>,
        own: BridgePortId,
        switch: &Switch,
    ) -> Option<FrameFacts> {
        let status = if frame.is_some() { NETIF_RSP_OKAY } else { NETIF_RSP_ERROR };
        self.tx.respond(memory, &TxResponse { id: request.id, status });
        let facts = frame.and_then(|frame| {
            let facts = FrameFacts::of(frame)?;
            self.rules.may_send(&facts, frame, own, switch).then_some(facts)
        });
        match facts {
            Some(_) => {
                self.traffic.from_guest_frames += 1;
                self.traffic.from_guest_bytes += u64::from(request.size);
            }
            None => self.traffic.dropped_frames += 1,
        }
        facts
    }

    /// Counts a frame that is dropped on its way from the guest.
    pub(super) fn drop_frame(&mut self) {
        self.traffic.dropped_frames += 1;
    }

    /// Publishes the responses, and returns whether the guest wants an event.
    pub(super) fn push(&mut self, memory: &impl SharedPage) -> bool {
        self.tx.push(memory)
    }

    /// Asks for an event with the next request. Returns how many requests wait already.
    ///
    /// # Errors
    /// The guest wrote an impossible index.
    pub(super) fn arm(&mut self, memory: &impl SharedPage) -> Result<u32, NetFault> {
        Ok(self.tx.arm(memory)?)
    }
}

/// Returns the size of a vif's longest frame, in bytes: its MTU and an Ethernet header.
pub(super) fn max_frame(identity: &VifIdentity) -> u16 {
    identity.mtu + frame::HEADER_LENGTH
}
