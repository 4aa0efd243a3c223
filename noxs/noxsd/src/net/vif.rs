//! The network backend of one interface: the rings of `xen/include/public/io/netif.h`, in copy
//! mode.
//!
//! A frame is one request: at most a page, within one page, and without offloads; a request that
//! asks for more is answered with an error. Frames are copied out of the guest before anything
//! looks at them. A guest over its rate keeps its requests in the ring until it may send again, so
//! that nothing is lost and the waiting is its own. Frames for a guest that has posted no page wait
//! for one; when too many do, the newest are dropped.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use noxs::MacAddr;
use noxs_control::VifIdentity;

use crate::host::GrantCopy;
use crate::host::memory::{PAGE_SIZE, SharedMemory};
use crate::host::ring::{BrokenRing, Ring, Rx, RxRequest, RxResponse, Tx, TxRequest, TxResponse};
use crate::net::frame::{self, Facts};
use crate::net::switch::PortId;
use crate::turns::bucket::Bucket;

/// Frames to all that one guest may cause: at most [`FLOOD_FRAMES`] in each [`FLOOD_INTERVAL`].
/// Each is copied to every port, so their number is what must be limited.
pub const FLOOD_FRAMES: u64 = 64;

/// See [`FLOOD_FRAMES`].
pub const FLOOD_INTERVAL: Duration = Duration::from_secs(1);

/// Smallest and largest MTU: what IPv4 asks for (RFC 791), and what fits in a page with one byte
/// left, by which a frame shows that it was longer.
pub const MTU: std::ops::RangeInclusive<u16> = 68..=4081;

const RSP_OKAY: i16 = 0;
const RSP_ERROR: i16 = -1;

/// `NETTXF_csum_blank`, `NETTXF_more_data` and `NETTXF_extra_info`: the checksum is missing, the
/// frame goes on in the next request, a request of another kind follows. None is on offer.
const REFUSED_FLAGS: u16 = 1 | 4 | 8;

/// What has passed an interface.
#[derive(Clone, Copy, Debug, Default)]
pub struct Traffic {
    /// Bytes from the guest.
    pub from_guest_bytes: u64,
    /// Frames from the guest.
    pub from_guest_frames: u64,
    /// Bytes to the guest.
    pub to_guest_bytes: u64,
    /// Frames to the guest.
    pub to_guest_frames: u64,
    /// Frames that were dropped on their way from or to the guest.
    pub dropped_frames: u64,
}

/// An interface's state on this side.
#[derive(Debug)]
pub struct Vif {
    /// Number in its domain.
    pub index: u16,
    /// The address it may send from.
    pub mac: MacAddr,
    /// The address it may send from, if that is known.
    pub ipv4: Option<Ipv4Addr>,
    /// Which switch it is on.
    pub switch: usize,
    /// How that knows it.
    pub port: PortId,
    /// Counters.
    pub traffic: Traffic,
    /// Frames for which the guest has not posted a page yet.
    pub waiting: VecDeque<Box<[u8]>>,
    tx: Ring<Tx>,
    rx: Ring<Rx>,
    max_frame: u16,
    rate: Option<Bucket>,
    flood: Bucket,
}

/// What a look at the transmit ring gave.
#[derive(Debug, Default)]
pub struct Taken {
    /// Requests to be copied, in the order of their copies: identifier and size.
    pub requests: Vec<TxRequest>,
    /// Whether the guest waits for its rate, and until when.
    pub not_before: Option<Instant>,
}

/// A page that the guest has posted for a frame.
#[derive(Clone, Copy, Debug)]
pub struct Posted {
    /// Comes back in the response.
    pub id: u16,
    gref: u32,
}

impl Posted {
    /// The copy that puts a frame into the page.
    #[must_use]
    pub fn copy(self, domid: u16, frame: usize, length: u16) -> GrantCopy {
        GrantCopy { domid, gref: self.gref, offset: 0, length, frame, done: false }
    }
}

impl Vif {
    /// Takes up the rings, which are the two pages at `base`, where their indices stand.
    pub fn attach(
        memory: &impl SharedMemory,
        base: usize,
        index: u16,
        identity: &VifIdentity,
        (switch, port): (usize, PortId),
        now: Instant,
    ) -> Self {
        let max_frame = identity.mtu + 14;
        let rate = identity.rate.map(|rate| {
            let interval = Duration::from_micros(rate.interval_us);
            Bucket::new(rate.bytes, interval, u64::from(max_frame), now)
        });
        Self {
            index,
            mac: identity.mac,
            ipv4: identity.ipv4,
            switch,
            port,
            traffic: Traffic::default(),
            waiting: VecDeque::new(),
            tx: Ring::attach(memory, base),
            rx: Ring::attach(memory, base + PAGE_SIZE),
            max_frame,
            rate,
            flood: Bucket::new(FLOOD_FRAMES, FLOOD_INTERVAL, 1, now),
        }
    }

    /// Takes up to `most` requests out of the ring, appends the copies that fetch their frames,
    /// into buffers from 0 on, and answers those that cannot be served.
    ///
    /// # Errors
    /// The guest's index is impossible.
    pub fn take(
        &mut self,
        memory: &impl SharedMemory,
        domid: u16,
        most: usize,
        now: Instant,
        taken: &mut Taken,
        copies: &mut Vec<GrantCopy>,
    ) -> Result<(), BrokenRing> {
        taken.requests.clear();
        taken.not_before = None;
        let waiting = self.tx.available(memory)?;
        for _ in 0..most.min(waiting as usize) {
            // This copy is checked and used; the ring's entry is not looked at again.
            let request = self.tx.peek(memory);
            if let Some(rate) = &mut self.rate
                && let Err(later) = rate.take(u64::from(request.size), now)
            {
                taken.not_before = Some(later);
                break;
            }
            self.tx.consume();
            if !self.serves(&request) {
                self.traffic.dropped_frames += 1;
                self.tx.respond(memory, &TxResponse { id: request.id, status: RSP_ERROR });
                continue;
            }
            copies.push(GrantCopy {
                domid,
                gref: request.gref,
                offset: request.offset,
                length: request.size,
                frame: taken.requests.len(),
                done: false,
            });
            taken.requests.push(request);
        }
        Ok(())
    }

    fn serves(&self, request: &TxRequest) -> bool {
        let end = usize::from(request.offset) + usize::from(request.size);
        request.flags & REFUSED_FLAGS == 0
            && usize::from(request.size) >= frame::HEADER
            && request.size <= self.max_frame
            && end <= PAGE_SIZE
    }

    /// Answers a request whose copy was tried, and gives the frame's facts if it may pass.
    pub fn sent(
        &mut self,
        memory: &impl SharedMemory,
        request: &TxRequest,
        frame: Option<&[u8]>,
    ) -> Option<Facts> {
        let status = if frame.is_some() { RSP_OKAY } else { RSP_ERROR };
        self.tx.respond(memory, &TxResponse { id: request.id, status });
        let facts =
            frame.and_then(Facts::of).filter(|facts| facts.may_be_sent_by(self.mac, self.ipv4));
        match facts {
            Some(_) => {
                self.traffic.from_guest_frames += 1;
                self.traffic.from_guest_bytes += u64::from(request.size);
            }
            None => self.traffic.dropped_frames += 1,
        }
        facts
    }

    /// Whether the guest may send another frame to all.
    pub fn may_flood(&mut self, now: Instant) -> bool {
        let may = self.flood.take(1, now).is_ok();
        if !may {
            self.traffic.dropped_frames += 1;
        }
        may
    }

    /// Tells the guest of the answers; `true` if it wants an event.
    pub fn push_sent(&mut self, memory: &impl SharedMemory) -> bool {
        self.tx.push(memory)
    }

    /// Asks for an event with the next request; gives how many are there already.
    ///
    /// # Errors
    /// The guest's index is impossible.
    pub fn arm(&mut self, memory: &impl SharedMemory) -> Result<u32, BrokenRing> {
        self.tx.arm(memory)
    }

    /// Asks for an event with the next posted page, if frames wait for one; gives how many pages
    /// are there for them already.
    ///
    /// # Errors
    /// The guest's index is impossible.
    pub fn arm_posted(&mut self, memory: &impl SharedMemory) -> Result<u32, BrokenRing> {
        if self.waiting.is_empty() { Ok(0) } else { self.rx.arm(memory) }
    }

    /// Whether a frame of that length may go to the guest at all; a longer one is dropped.
    pub fn accepts(&mut self, length: u16) -> bool {
        let accepts = length <= self.max_frame;
        if !accepts {
            self.traffic.dropped_frames += 1;
        }
        accepts
    }

    /// Takes a page that the guest has posted, if there is one.
    ///
    /// # Errors
    /// The guest's index is impossible.
    pub fn posted(&mut self, memory: &impl SharedMemory) -> Result<Option<Posted>, BrokenRing> {
        if self.rx.available(memory)? == 0 {
            return Ok(None);
        }
        let RxRequest { id, gref } = self.rx.peek(memory);
        self.rx.consume();
        Ok(Some(Posted { id, gref }))
    }

    /// Answers a posted page after its copy was tried.
    pub fn received(&mut self, memory: &impl SharedMemory, id: u16, copy: &GrantCopy) {
        let status = if copy.done {
            self.traffic.to_guest_frames += 1;
            self.traffic.to_guest_bytes += u64::from(copy.length);
            copy.length.cast_signed()
        } else {
            self.traffic.dropped_frames += 1;
            RSP_ERROR
        };
        self.rx.respond(memory, &RxResponse { id, status });
    }

    /// Tells the guest of received frames; `true` if it wants an event.
    pub fn push_received(&mut self, memory: &impl SharedMemory) -> bool {
        self.rx.push(memory)
    }
}
