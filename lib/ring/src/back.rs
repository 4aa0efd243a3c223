//! The back end of a ring: requests come in, responses go out.

use core::marker::PhantomData;

use xen_abi::io::ring::{REQ_EVENT, REQ_PROD, RSP_EVENT, RSP_PROD, wants_event};

use crate::page::{SharedPage, read_slot, write_slot};
use crate::protocol::Protocol;

/// The front end wrote a request index that no correct one can write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the {ring} ring's request index {found} is impossible: {consumed} requests are taken and \
     {answered} answered, of {slots} slots"
)]
pub struct BrokenRing {
    /// Which ring ([`Protocol::NAME`]).
    pub ring: &'static str,
    /// The front end's index.
    pub found: u32,
    /// How many requests the back end has taken.
    pub consumed: u32,
    /// How many of them it has answered.
    pub answered: u32,
    /// How many slots the ring has.
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
    /// Responses that the front end has been shown.
    rsp_pushed: u32,
    protocol: PhantomData<P>,
}

impl<P: Protocol> BackRing<P> {
    /// Takes the ring up where its indices stand: at zero for a new guest, elsewhere if an earlier
    /// back end served it. Requests that the earlier one took and did not answer are taken again.
    ///
    /// `base` is the offset of the ring's page in the memory, in bytes.
    ///
    /// A front end may have changed the index meanwhile. Then the first look at its requests reports
    /// it, or they begin at another slot, which harms only that front end.
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

    /// Copies the next request without taking it. It has a meaning only if
    /// [`available`](Self::available) counted it. Its fields are unchecked.
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
    /// There are more responses than requests were taken: a mistake of the back end.
    pub fn respond(&mut self, memory: &impl SharedPage, response: &P::Response) {
        assert_ne!(self.rsp_prod, self.req_cons, "a response without a request");
        write_slot(memory, self.base + P::slot(self.rsp_prod), response);
        self.rsp_prod = self.rsp_prod.wrapping_add(1);
    }

    /// Shows the front end the responses written so far. Returns whether it wants an event for them
    /// (`RING_PUSH_RESPONSES_AND_CHECK_NOTIFY`).
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
        // The index is stored before the front end's wish is loaded. A front end that goes to sleep
        // stores its wish and then loads the index: one of the two sees the other's store.
        memory.fence();
        wants_event(old, new, memory.load(self.base + RSP_EVENT))
    }

    /// Asks for an event with the next request if there is none now, then looks once more
    /// (`RING_FINAL_CHECK_FOR_REQUESTS`). Returns how many requests there are; at zero an event will
    /// come with the next one.
    ///
    /// # Errors
    /// The front end's index is impossible.
    pub fn arm(&mut self, memory: &impl SharedPage) -> Result<u32, BrokenRing> {
        let waiting = self.available(memory)?;
        if waiting > 0 {
            return Ok(waiting);
        }
        memory.store(self.base + REQ_EVENT, self.req_cons.wrapping_add(1));
        // The wish is stored before the index is loaded again. A front end stores its index and then
        // loads the wish: either it sees the wish and sends an event, or its request is seen here.
        memory.fence();
        self.available(memory)
    }
}
