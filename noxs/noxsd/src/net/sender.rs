//! The sending half of a vif: takes frames out of the guest's ring, within the guest's limits.
//!
//! A frame is one request: at most a page, within one page, and without offloads; a request that
//! asks for more is answered with an error. Frames are copied out of the guest before anything
//! looks at them. A guest over its rate keeps its requests in the ring until it may send again, so
//! that nothing is lost and only that guest waits.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use noxs::MacAddr;
use noxs_control::{VifIdentity, VifStatus};
use xen_abi::io::netif::{
    NETIF_RSP_ERROR, NETIF_RSP_OKAY, NETTXF_CSUM_BLANK, NETTXF_EXTRA_INFO, NETTXF_MORE_DATA,
    TxRequest, TxResponse,
};
use xen_ring::{BackRing, NetTx, SharedPage};

use super::NetFault;
use super::frame::{self, FrameFacts};
use super::transfer::{BATCH, Transfer};
use crate::host::PAGE_SIZE;
use crate::host::buffers::{BufferIndex, GrantCopy};
use crate::host::{DomId, GrantRef};
use crate::turns::bucket::Bucket;

/// Frames to all that one guest may cause: at most [`FLOOD_FRAMES`] in each [`FLOOD_INTERVAL`].
/// Each is copied to every port, so their number is what must be limited.
pub const FLOOD_FRAMES: u64 = 64;

/// See [`FLOOD_FRAMES`].
pub const FLOOD_INTERVAL: Duration = Duration::from_secs(1);

/// Flags of requests that are answered with an error: noxsd offers no checksum offload, no frame in
/// several requests and no extra descriptors.
const REFUSED_FLAGS: u16 = NETTXF_CSUM_BLANK | NETTXF_MORE_DATA | NETTXF_EXTRA_INFO;

/// See the module's text.
#[derive(Debug)]
pub struct Sender {
    /// The address it may send from.
    pub(super) mac: MacAddr,
    /// The address it may send from, if that is known.
    pub(super) ipv4: Option<Ipv4Addr>,
    /// What has passed from the guest, and to it through a port that is gone.
    pub(super) traffic: VifStatus,
    tx: BackRing<NetTx>,
    max_frame: u16,
    rate: Option<Bucket>,
    flood: Bucket,
}

impl Sender {
    /// Takes up the ring at offset `base` of the domain's memory where its indices stand.
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
            mac: identity.mac,
            ipv4: identity.ipv4,
            traffic: VifStatus::default(),
            tx: BackRing::attach(memory, base),
            max_frame,
            rate,
            flood: Bucket::new(FLOOD_FRAMES, FLOOD_INTERVAL, 1, now),
        }
    }

    /// Takes a batch of requests out of the ring, lists the copies that fetch their frames into
    /// buffers from 0 on, and answers those that cannot be served. Returns until when the guest
    /// waits, if it is over its rate.
    ///
    /// # Errors
    /// The guest wrote an impossible index.
    pub(super) fn take(
        &mut self,
        memory: &impl SharedPage,
        domid: DomId,
        now: Instant,
        transfer: &mut Transfer,
    ) -> Result<Option<Instant>, NetFault> {
        let Transfer { requests, copies, .. } = transfer;
        copies.clear();
        requests.clear();
        let waiting = self.tx.available(memory)?;
        for _ in 0..BATCH.min(waiting as usize) {
            // This copy is checked and used; the ring's entry is not looked at again.
            let request = self.tx.peek(memory);
            if let Some(rate) = &mut self.rate
                && let Err(later) = rate.take(u64::from(request.size), now)
            {
                return Ok(Some(later));
            }
            self.tx.consume();
            if !self.serves(&request) {
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
        Ok(None)
    }

    fn serves(&self, request: &TxRequest) -> bool {
        let end = usize::from(request.offset) + usize::from(request.size);
        request.flags & REFUSED_FLAGS == 0
            && usize::from(request.size) >= frame::HEADER
            && request.size <= self.max_frame
            && end <= PAGE_SIZE
    }

    /// Answers a request whose copy was tried, and returns the frame's facts if it may pass.
    pub(super) fn sent(
        &mut self,
        memory: &impl SharedPage,
        request: &TxRequest,
        frame: Option<&[u8]>,
    ) -> Option<FrameFacts> {
        let status = if frame.is_some() { NETIF_RSP_OKAY } else { NETIF_RSP_ERROR };
        self.tx.respond(memory, &TxResponse { id: request.id, status });
        let facts = frame.and_then(FrameFacts::of);
        let facts = facts.filter(|facts| facts.may_be_sent_by(self.mac, self.ipv4));
        match facts {
            Some(_) => {
                self.traffic.from_guest_frames += 1;
                self.traffic.from_guest_bytes += u64::from(request.size);
            }
            None => self.traffic.dropped_frames += 1,
        }
        facts
    }

    /// Returns whether the guest may send another frame to all; one that may not is counted as
    /// dropped.
    pub(super) fn may_flood(&mut self, now: Instant) -> bool {
        let may = self.flood.take(1, now).is_ok();
        if !may {
            self.traffic.dropped_frames += 1;
        }
        may
    }

    /// Publishes the answers, and returns whether the guest wants an event.
    pub(super) fn push(&mut self, memory: &impl SharedPage) -> bool {
        self.tx.push(memory)
    }

    /// Asks for an event with the next request; returns how many are there already.
    ///
    /// # Errors
    /// The guest wrote an impossible index.
    pub(super) fn arm(&mut self, memory: &impl SharedPage) -> Result<u32, NetFault> {
        Ok(self.tx.arm(memory)?)
    }
}

/// Returns the bytes of the longest frame of a vif: its MTU, and an Ethernet header.
pub(super) fn max_frame(identity: &VifIdentity) -> u16 {
    identity.mtu + frame::HEADER_LENGTH
}
