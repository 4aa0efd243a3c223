//! The backend's end of a Xen I/O ring (`xen/include/public/io/ring.h`), for a frontend that may
//! write anything anywhere at any time.
//!
//! The backend keeps its indices here and only publishes them to the guest. Of the shared page it
//! trusts the producer index of requests, as far as [`Ring::available`] has checked it, and nothing
//! else. What a ring carries, and how many slots it has, is its device kind's: a [`Protocol`].

use std::marker::PhantomData;
use std::sync::atomic::{Ordering, fence};

use super::memory::{PAGE_SIZE, SharedMemory};

/// Where the header's words are, and where the entries begin.
pub(crate) mod header {
    pub(crate) const REQ_PROD: usize = 0;
    pub(crate) const REQ_EVENT: usize = 4;
    pub(crate) const RSP_PROD: usize = 8;
    pub(crate) const RSP_EVENT: usize = 12;
    pub(crate) const ENTRIES: usize = 64;
}

/// The guest wrote a request index that a correct frontend cannot write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the guest set the request index of its {ring} ring to {found}, which is impossible: noxsd has \
     taken {consumed} requests and answered {answered}, and the ring has {slots} slots"
)]
pub struct BadRequestIndex {
    /// Which ring.
    pub ring: &'static str,
    /// The guest's index.
    pub found: u32,
    /// How many requests the backend has taken.
    pub consumed: u32,
    /// How many it has answered.
    pub answered: u32,
    /// How many slots the ring has.
    pub slots: u32,
}

/// What a ring carries. Entries are whole little-endian words.
pub trait Protocol {
    /// The ring's name in messages.
    const NAME: &'static str;
    /// Entries of the ring, a power of two: as many as fit in the page behind the header.
    const SLOTS: u32;
    /// Words from one entry to the next.
    const ENTRY_WORDS: usize;
    /// The words of a request.
    type RequestWords: Default + AsMut<[u32]>;
    /// The words of a response.
    type ResponseWords: AsRef<[u32]>;
    /// A request, as the guest wrote it: unchecked.
    type Request: Copy;
    /// A response.
    type Response;
    /// Reads a request from its words.
    fn request(words: Self::RequestWords) -> Self::Request;
    /// Returns the words of a response.
    fn response(response: &Self::Response) -> Self::ResponseWords;
}

/// The backend's end of one ring.
#[derive(Debug)]
pub struct Ring<P> {
    /// Offset of the ring page in the domain's shared memory.
    base: usize,
    /// Requests taken so far.
    req_cons: u32,
    /// Responses written so far.
    rsp_prod: u32,
    /// Responses published to the guest.
    rsp_pushed: u32,
    protocol: PhantomData<P>,
}

impl<P: Protocol> Ring<P> {
    /// Takes up the ring where its indices stand: at zero for a new guest, elsewhere if an earlier
    /// backend served it. Requests that the earlier backend took and did not answer are taken
    /// again. A guest may have changed the index. Then [`available`](Self::available) reports it,
    /// or the requests begin at another slot, which harms only that guest.
    pub fn attach(memory: &impl SharedMemory, base: usize) -> Self {
        const {
            assert!(P::SLOTS.is_power_of_two());
            assert!(header::ENTRIES + P::SLOTS as usize * P::ENTRY_WORDS * 4 <= PAGE_SIZE);
        }
        let answered = memory.load(base + header::RSP_PROD);
        Self {
            base,
            req_cons: answered,
            rsp_prod: answered,
            rsp_pushed: answered,
            protocol: PhantomData,
        }
    }

    /// Returns how many requests wait to be taken, at most [`Protocol::SLOTS`].
    ///
    /// # Errors
    /// The guest's index is impossible.
    pub fn available(&self, memory: &impl SharedMemory) -> Result<u32, BadRequestIndex> {
        // `load` acquires: the entries that the guest wrote before it moved the index are read
        // after it.
        let found = memory.load(self.base + header::REQ_PROD);
        let waiting = found.wrapping_sub(self.req_cons);
        // Entries that are taken but not answered still occupy their slots.
        let occupied = found.wrapping_sub(self.rsp_prod);
        if waiting > P::SLOTS || occupied > P::SLOTS {
            return Err(BadRequestIndex {
                ring: P::NAME,
                found,
                consumed: self.req_cons,
                answered: self.rsp_prod,
                slots: P::SLOTS,
            });
        }
        Ok(waiting)
    }

    /// Copies the next request without taking it. The copy is a request only if
    /// [`available`](Self::available) has counted it.
    pub fn peek(&self, memory: &impl SharedMemory) -> P::Request {
        let at = self.entry(self.req_cons);
        let mut words = P::RequestWords::default();
        for (index, word) in words.as_mut().iter_mut().enumerate() {
            *word = memory.load(at + index * 4);
        }
        P::request(words)
    }

    /// Takes the request that [`peek`](Self::peek) copied.
    pub fn consume(&mut self) {
        self.req_cons = self.req_cons.wrapping_add(1);
    }

    /// Writes a response; [`push`](Self::push) publishes it.
    ///
    /// # Panics
    /// If there are more responses than requests were taken.
    pub fn respond(&mut self, memory: &impl SharedMemory, response: &P::Response) {
        assert_ne!(self.rsp_prod, self.req_cons, "a response without a request");
        let at = self.entry(self.rsp_prod);
        for (index, word) in P::response(response).as_ref().iter().enumerate() {
            memory.store(at + index * 4, *word);
        }
        self.rsp_prod = self.rsp_prod.wrapping_add(1);
    }

    /// Publishes the responses written so far, and returns whether the guest wants an event for
    /// them (`RING_PUSH_RESPONSES_AND_CHECK_NOTIFY`).
    #[must_use]
    pub fn push(&mut self, memory: &impl SharedMemory) -> bool {
        let old = self.rsp_pushed;
        let new = self.rsp_prod;
        if old == new {
            return false;
        }
        // `store` releases: a guest that sees the index sees the responses.
        memory.store(self.base + header::RSP_PROD, new);
        self.rsp_pushed = new;
        // The index is visible before the guest's event index is read. The guest writes its event
        // index and then reads the index: one of the two sees the other's write, so no event is
        // missed.
        fence(Ordering::SeqCst);
        let wanted = memory.load(self.base + header::RSP_EVENT);
        new.wrapping_sub(wanted) < new.wrapping_sub(old)
    }

    /// Asks for an event with the next request, then looks once more
    /// (`RING_FINAL_CHECK_FOR_REQUESTS`). Returns how many requests came meanwhile.
    ///
    /// # Errors
    /// The guest's index is impossible.
    pub fn arm(&mut self, memory: &impl SharedMemory) -> Result<u32, BadRequestIndex> {
        let waiting = self.available(memory)?;
        if waiting > 0 {
            return Ok(waiting);
        }
        memory.store(self.base + header::REQ_EVENT, self.req_cons.wrapping_add(1));
        // The event index is visible before the request index is read again. The guest moves the
        // request index and then reads the event index: either it sees ours and sends an event, or
        // we see its request here.
        fence(Ordering::SeqCst);
        self.available(memory)
    }

    fn entry(&self, index: u32) -> usize {
        let slot = (index % P::SLOTS) as usize;
        self.base + header::ENTRIES + slot * P::ENTRY_WORDS * 4
    }
}
