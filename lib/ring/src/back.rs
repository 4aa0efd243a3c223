// SPDX-License-Identifier: MIT OR Apache-2.0
//! The back end of a ring: requests come in, responses go out.

use core::marker::PhantomData;

use xen_abi::io::ring::{PADDING, REQ_EVENT, REQ_PROD, RSP_EVENT, RSP_PROD, SLOTS, wants_event};

use crate::page::{SharedPage, read_slot, write_slot};
use crate::protocol::Protocol;

/// Where [`BackRing::answer`] notes the index that it is about to publish, in bytes of the page.
const NOTED_INDEX: usize = PADDING;
/// Where it keeps the request's bytes that the response replaces.
const KEPT_BYTES: usize = PADDING + 4;

/// The front end wrote a request index that no correct one can write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the {ring} ring's request index {found} is impossible: {consumed} requests are taken and \
     {answered} answered, and the ring has {slots} slots"
)]
pub struct BrokenRing {
    /// Which ring ([`Protocol::NAME`]).
    pub ring: &'static str,
    /// The front end's index.
    pub found: u32,
    /// Number of requests that the back end has taken.
    pub consumed: u32,
    /// Number of them that it has answered.
    pub answered: u32,
    /// Number of slots in the ring.
    pub slots: u32,
}

/// The back end of one ring.
///
/// The memory is passed to each call, because one mapping holds the rings of several devices. It
/// must be the same each time.
#[derive(Debug)]
pub struct BackRing<P> {
    /// Offset of the ring's page in the memory.
    base: usize,
    /// Requests taken.
    req_cons: u32,
    /// Responses written.
    rsp_prod: u32,
    /// Responses that are published.
    rsp_pushed: u32,
    protocol: PhantomData<P>,
}

impl<P: Protocol> BackRing<P> {
    /// Continues the ring at its current indices: at zero for a new guest, elsewhere if an earlier
    /// back end served it. Requests that the earlier one took without an answer are taken again.
    ///
    /// `base` is the offset of the ring's page in the memory, in bytes.
    ///
    /// The front end may have changed the response index. Then [`available`](Self::available)
    /// reports it, or the ring continues at another slot, which harms only that front end.
    pub fn attach(memory: &impl SharedPage, base: usize) -> Self {
        let answered = memory.load(base + RSP_PROD);
        Self {
            base,
            req_cons: answered,
            rsp_prod: answered,
            rsp_pushed: answered,
            protocol: PhantomData,
        }
    }

    /// Continues as [`attach`](Self::attach) does a ring whose requests an earlier back end has
    /// answered with [`answer`](Self::answer). If that one ended while it replaced a request by a
    /// response, this puts the request back, which is then taken again.
    ///
    /// The front end may have changed what is put back. It is a request like any other of that
    /// front end, whose fields are unchecked.
    pub fn resume(memory: &impl SharedPage, base: usize) -> Self {
        let ring = Self::attach(memory, base);
        if memory.load(base + NOTED_INDEX) == ring.rsp_prod.wrapping_add(1) {
            let kept: P::Response = read_slot(memory, base + KEPT_BYTES);
            write_slot(memory, base + P::slot(ring.rsp_prod), &kept);
        }
        ring
    }

    /// Returns how many requests can be taken, at most [`Protocol::SLOTS`].
    ///
    /// # Errors
    /// The front end's index is impossible.
    pub fn available(&self, memory: &impl SharedPage) -> Result<u32, BrokenRing> {
        // Acquire: the requests are read after the index that covers them.
        let found = memory.load(self.base + REQ_PROD);
        let waiting = found.wrapping_sub(self.req_cons);
        // Requests that are taken and not answered still occupy their slots.
        let occupied = found.wrapping_sub(self.rsp_prod);
        if waiting > P::SLOTS || occupied > P::SLOTS {
            return Err(BrokenRing {
                ring: P::NAME,
                found,
                consumed: self.req_cons,
                answered: self.rsp_prod,
                slots: P::SLOTS,
            });
        }
        Ok(waiting)
    }

    /// Copies the next request without taking it. The result is meaningful only if
    /// [`available`](Self::available) has counted it. Its fields are unchecked.
    pub fn peek(&self, memory: &impl SharedPage) -> P::Request {
        read_slot(memory, self.base + P::slot(self.req_cons))
    }

    /// Takes the request that [`peek`](Self::peek) copied.
    pub fn consume(&mut self) {
        self.req_cons = self.req_cons.wrapping_add(1);
    }

    /// Writes a response, which the front end does not see before [`push`](Self::push).
    ///
    /// # Panics
    /// All requests that were taken are answered already: a bug of the back end.
    pub fn respond(&mut self, memory: &impl SharedPage, response: &P::Response) {
        assert_ne!(self.rsp_prod, self.req_cons, "a response without a request");
        write_slot(memory, self.base + P::slot(self.rsp_prod), response);
        self.rsp_prod = self.rsp_prod.wrapping_add(1);
    }

    /// Publishes the responses written so far. Returns whether the front end requested an event for
    /// them (`RING_PUSH_RESPONSES_AND_CHECK_NOTIFY`).
    #[must_use]
    pub fn push(&mut self, memory: &impl SharedPage) -> bool {
        let old = self.rsp_pushed;
        let new = self.rsp_prod;
        if old == new {
            return false;
        }
        // Release: a front end that sees the index sees the responses.
        memory.store(self.base + RSP_PROD, new);
        self.rsp_pushed = new;
        // Store the index, then load the event index. A front end that goes to sleep stores the
        // event index, then loads this one: at least one of the two sees the other's store.
        memory.fence();
        wants_event(old, new, memory.load(self.base + RSP_EVENT))
    }

    /// Writes a response and publishes it, such that a back end that ends in between loses nothing:
    /// [`resume`](Self::resume) finds either the request or the response. Returns whether the front
    /// end requested an event for it.
    ///
    /// The bytes that the response replaces are kept in the page's padding, which the other end
    /// does not use. A response written by [`respond`](Self::respond) must have been published.
    ///
    /// # Panics
    /// All requests that were taken are answered already: a bug of the back end.
    #[must_use]
    pub fn answer(&mut self, memory: &impl SharedPage, response: &P::Response) -> bool {
        const { assert!(KEPT_BYTES + size_of::<P::Response>() <= SLOTS) };
        let slot = self.base + P::slot(self.rsp_prod);
        let replaced: P::Response = read_slot(memory, slot);
        write_slot(memory, self.base + KEPT_BYTES, &replaced);
        // Release: a successor that sees the index sees the bytes that were kept.
        memory.store(self.base + NOTED_INDEX, self.rsp_prod.wrapping_add(1));
        self.respond(memory, response);
        self.push(memory)
    }

    /// Requests an event for the next request if there is none now, then checks once more
    /// (`RING_FINAL_CHECK_FOR_REQUESTS`). Returns how many requests there are; if it is 0, the next
    /// one comes with an event.
    ///
    /// # Errors
    /// The front end's index is impossible.
    pub fn arm(&mut self, memory: &impl SharedPage) -> Result<u32, BrokenRing> {
        self.arm_for(1, memory)
    }

    /// Requests an event for when `count` requests wait, if they do not now, then checks once more.
    /// Returns how many requests there are; if fewer than `count`, the `count`th comes with an
    /// event.
    ///
    /// # Errors
    /// The front end's index is impossible.
    pub fn arm_for(&mut self, count: u32, memory: &impl SharedPage) -> Result<u32, BrokenRing> {
        let waiting = self.available(memory)?;
        if waiting >= count {
            return Ok(waiting);
        }
        memory.store(self.base + REQ_EVENT, self.req_cons.wrapping_add(count));
        // Store the event index, then load the request index again. The front end stores its index,
        // then loads the event index: either it sees this store and sends an event, or its request
        // is seen here.
        memory.fence();
        self.available(memory)
    }
}
