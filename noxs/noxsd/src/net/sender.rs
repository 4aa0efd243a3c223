// SPDX-License-Identifier: GPL-3.0-or-later
//! The sending half of a vif: takes frames out of the guest's ring, within the guest's limits.
//!
//! A frame may lie in several requests (the module `chain`), lack its checksum, and be a packet of TCP that
//! is still to be segmented. noxsd copies a frame out of the guest before it looks at it. The
//! requests of a guest over its rate stay in the ring until it may send again, so that no frame is
//! lost and only that guest waits.

use std::ops::Range;
use std::time::{Duration, Instant};

use noxs_control::{VifIdentity, VifStatus};
use xen_abi::io::netif::{
    NETIF_RSP_ERROR, NETIF_RSP_NULL, NETIF_RSP_OKAY, NETTXF_CSUM_BLANK, NETTXF_DATA_VALIDATED,
    TxRequest, TxResponse,
};
use xen_ring::{BackRing, NetTx, SharedPage};

use super::NetFault;
use super::chain::{self, Chain};
use super::frame::{self, FrameFacts};
use super::offload::{Checksum, Offload, Segmentation};
use super::rules::GuestRules;
use super::switch::{BridgePortId, Switch};
use super::transfer::{BufferedFrame, Transfer};
use crate::host::buffers::GrantCopy;
use crate::host::{DomId, GrantRef};
use crate::turns::bucket::Bucket;

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

/// A frame that is being fetched.
#[derive(Clone, Debug)]
pub(super) struct SentFrame {
    chain: Chain,
    /// Its copies in the list of the turn's copies.
    copies: Range<usize>,
    pub(super) frame: BufferedFrame,
}

/// How much a guest may send in one turn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Most {
    pub(super) frames: usize,
    /// Pages of all frames together. The first frame may have more.
    pub(super) pages: usize,
}

/// The requests that were taken out of the ring.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taken {
    /// How many frames, with those that were refused.
    pub(super) frames: usize,
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
            rules: GuestRules::new(identity.into()),
            traffic: VifStatus::default(),
            tx: BackRing::attach(memory, base),
            max_frame,
            rate,
        }
    }

    /// Takes a batch of frames out of the ring, lists the copies that fetch them into the buffers,
    /// and answers invalid ones with an error.
    ///
    /// # Errors
    /// The guest wrote an impossible index, or requests that are not those of frames.
    pub(super) fn take(
        &mut self,
        memory: &impl SharedPage,
        domid: DomId,
        now: Instant,
        most: Most,
        transfer: &mut Transfer,
    ) -> Result<Taken, NetFault> {
        let mut taken = Taken { frames: 0, not_before: None };
        let Transfer { requests, sent, copies, buffers, .. } = transfer;
        buffers.clear();
        copies.clear();
        requests.clear();
        sent.clear();
        let mut waiting = self.tx.available(memory)?;
        while waiting > 0 && taken.frames < most.frames && buffers.used() < most.pages {
            // Check and use this copy: the guest may change the slot at any time.
            let first = self.tx.peek(memory);
            let Some(mut at) = buffers.room(first.size.into()) else { break };
            if let Some(rate) = &mut self.rate
                && let Err(later) = rate.take_in_advance(u64::from(first.size), now)
            {
                taken.not_before = Some(later);
                break;
            }
            taken.frames += 1;
            let chain = chain::take(&mut self.tx, memory, first, waiting, requests)?;
            waiting -= chain.slots();
            let parts = &requests[chain.requests.clone()];
            let Some(length) = self.valid_length(&chain) else {
                self.traffic.dropped_frames += 1;
                self.respond(memory, &chain, parts, NETIF_RSP_ERROR);
                continue;
            };
            let begin = copies.len();
            for part in parts {
                let (gref, length) = (GrantRef(part.gref), part.size);
                let done = false;
                copies.push(GrantCopy { domid, gref, offset: part.offset, length, at, done });
                at += usize::from(length);
            }
            let frame = buffers.take(length, Offload::default());
            sent.push(SentFrame { chain, copies: begin..copies.len(), frame });
        }
        Ok(taken)
    }

    /// Returns the length of a frame that the guest may send, as far as its requests show.
    fn valid_length(&self, chain: &Chain) -> Option<u16> {
        chain.length.filter(|length| chain.segmentation.is_some() || *length <= self.max_frame)
    }

    /// Answers the requests of a frame, which are `parts`, and its extra infos.
    fn respond(
        &mut self,
        memory: &impl SharedPage,
        chain: &Chain,
        parts: &[TxRequest],
        status: i16,
    ) {
        for part in parts {
            self.tx.respond(memory, &TxResponse { id: part.id, status });
        }
        for _ in 0..chain.extras {
            self.tx.respond(memory, &TxResponse { id: 0, status: NETIF_RSP_NULL });
        }
    }

    /// Answers the requests of a frame that was fetched. Returns the frame and its facts if the
    /// guest, which is at the port `own` of the switch, may send it.
    pub(super) fn answer(
        &mut self,
        memory: &impl SharedPage,
        number: usize,
        transfer: &mut Transfer,
        own: BridgePortId,
        switch: &Switch,
    ) -> Option<(BufferedFrame, FrameFacts)> {
        let Transfer { requests, sent, copies, buffers, .. } = transfer;
        let SentFrame { chain, copies: own_copies, mut frame } = sent[number].clone();
        let parts = &requests[chain.requests.clone()];
        let is_fetched = copies[own_copies].iter().all(|copy| copy.done);
        let offload = if is_fetched {
            self.offload(buffers.bytes_mut(&frame), parts[0].flags, &chain)
        } else {
            None
        };
        let status = if offload.is_some() { NETIF_RSP_OKAY } else { NETIF_RSP_ERROR };
        self.respond(memory, &chain, parts, status);
        let facts = offload.and_then(|offload| {
            frame.offload = offload;
            let bytes = buffers.bytes(&frame);
            let facts = FrameFacts::of(bytes)?;
            self.rules.may_send(&facts, bytes, own, switch).then_some(facts)
        });
        match facts {
            Some(_) => {
                self.traffic.from_guest_frames += 1;
                self.traffic.from_guest_bytes += frame.length() as u64;
            }
            None => self.traffic.dropped_frames += 1,
        }
        facts.map(|facts| (frame, facts))
    }

    /// Returns what is left to do to a frame whose first request has these flags; `None` if it
    /// cannot be done.
    fn offload(&self, frame: &mut [u8], flags: u16, chain: &Chain) -> Option<Offload> {
        if flags & NETTXF_CSUM_BLANK != 0 {
            let offload = Offload::of_guest(frame, chain.segmentation)?;
            let longest = offload.segmentation.map_or(0, Segmentation::longest);
            return (longest <= self.max_frame.into()).then_some(offload);
        }
        let is_valid = flags & NETTXF_DATA_VALIDATED != 0;
        let checksum = if is_valid { Checksum::Valid } else { Checksum::Unknown };
        chain.segmentation.is_none().then_some(Offload { checksum, segmentation: None })
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

/// Returns the size of a vif's longest frame that is not to be segmented, in bytes: its MTU and an
/// Ethernet header.
pub(super) fn max_frame(identity: &VifIdentity) -> u16 {
    identity.mtu + frame::HEADER_LENGTH
}
