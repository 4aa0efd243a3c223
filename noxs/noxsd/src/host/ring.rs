//! The backend's end of a Xen I/O ring (`xen/include/public/io/ring.h`), for a frontend that may
//! write anything anywhere at any time.
//!
//! The backend keeps its own indices here and only tells them to the guest; of the shared page it
//! believes nothing but the producer index of requests, and that only as far as
//! [`Ring::available`] has checked it.

use std::marker::PhantomData;
use std::sync::atomic::{Ordering, fence};

use crate::host::memory::SharedMemory;

/// Entries of a one-page ring of `netif`: the largest power of two that fits behind the header.
pub const SLOTS: u32 = 256;

/// Where the header's words are, and where the entries begin.
mod header {
    pub(super) const REQ_PROD: usize = 0;
    pub(super) const REQ_EVENT: usize = 4;
    pub(super) const RSP_PROD: usize = 8;
    pub(super) const RSP_EVENT: usize = 12;
    pub(super) const ENTRIES: usize = 64;
}

/// The guest wrote a ring index that no correct frontend can write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the {ring} ring's request index {found} is impossible: {consumed} requests are taken and \
     {answered} answered, of {SLOTS} slots"
)]
pub struct BrokenRing {
    /// Which ring.
    pub ring: &'static str,
    /// The guest's index.
    pub found: u32,
    /// How many requests the backend has taken.
    pub consumed: u32,
    /// How many it has answered.
    pub answered: u32,
}

/// What a ring carries. Entries are whole little-endian words.
pub trait Protocol {
    /// Name in messages.
    const NAME: &'static str;
    /// Words from one entry to the next.
    const ENTRY_WORDS: usize;
    /// Words of a request.
    const REQUEST_WORDS: usize;
    /// A request, as the guest wrote it: unchecked.
    type Request: Copy;
    /// A response.
    type Response;
    /// Reads a request from its words; those past [`Self::REQUEST_WORDS`] are zero.
    fn request(words: [u32; 3]) -> Self::Request;
    /// Gives the words of a response and how many there are.
    fn response(response: &Self::Response) -> ([u32; 2], usize);
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
    /// Responses the guest has been told of.
    rsp_pushed: u32,
    protocol: PhantomData<P>,
}

impl<P: Protocol> Ring<P> {
    /// Takes up the ring where its indices stand: at zero for a new guest, elsewhere if an earlier
    /// backend served it. Requests which that backend took and did not answer are taken again. A
    /// guest may have changed the index; then the first look at its requests says so, or they
    /// begin somewhere else, which harms nobody but the guest.
    pub fn attach(memory: &impl SharedMemory, base: usize) -> Self {
        let answered = memory.load(base + header::RSP_PROD);
        Self {
            base,
            req_cons: answered,
            rsp_prod: answered,
            rsp_pushed: answered,
            protocol: PhantomData,
        }
    }

    /// How many requests wait to be taken, at most [`SLOTS`].
    ///
    /// # Errors
    /// The guest's index is impossible.
    pub fn available(&self, memory: &impl SharedMemory) -> Result<u32, BrokenRing> {
        // `load` acquires: the entries that the guest wrote before it moved the index are read
        // after it.
        let found = memory.load(self.base + header::REQ_PROD);
        let waiting = found.wrapping_sub(self.req_cons);
        // Entries that are taken but not answered still occupy their slots.
        let occupied = found.wrapping_sub(self.rsp_prod);
        if waiting > SLOTS || occupied > SLOTS {
            return Err(BrokenRing {
                ring: P::NAME,
                found,
                consumed: self.req_cons,
                answered: self.rsp_prod,
            });
        }
        Ok(waiting)
    }

    /// Copies the next request without taking it. It means something only if
    /// [`available`](Self::available) counted it.
    pub fn peek(&self, memory: &impl SharedMemory) -> P::Request {
        let at = self.entry(self.req_cons);
        let mut words = [0; 3];
        for (index, word) in words.iter_mut().enumerate().take(P::REQUEST_WORDS) {
            *word = memory.load(at + index * 4);
        }
        P::request(words)
    }

    /// Takes the request that [`peek`](Self::peek) copied.
    pub fn consume(&mut self) {
        self.req_cons = self.req_cons.wrapping_add(1);
    }

    /// Writes a response; the guest learns of it with [`push`](Self::push).
    ///
    /// # Panics
    /// If there are more responses than requests were taken.
    pub fn respond(&mut self, memory: &impl SharedMemory, response: &P::Response) {
        assert_ne!(self.rsp_prod, self.req_cons, "a response without a request");
        let at = self.entry(self.rsp_prod);
        let (words, count) = P::response(response);
        for (index, word) in words.into_iter().enumerate().take(count) {
            memory.store(at + index * 4, word);
        }
        self.rsp_prod = self.rsp_prod.wrapping_add(1);
    }

    /// Tells the guest of the responses written so far; `true` if it wants an event for them
    /// (`RING_PUSH_RESPONSES_AND_CHECK_NOTIFY`).
    #[must_use]
    pub fn push(&mut self, memory: &impl SharedMemory) -> bool {
        let old = self.rsp_pushed;
        let new = self.rsp_prod;
        if old == new {
            return false;
        }
        // `store` releases: whoever sees the index sees the responses.
        memory.store(self.base + header::RSP_PROD, new);
        self.rsp_pushed = new;
        // The index is visible before the guest's wish is read. The guest writes its wish and then
        // reads the index: one of the two sees the other's write, so no event is missed.
        fence(Ordering::SeqCst);
        let wanted = memory.load(self.base + header::RSP_EVENT);
        new.wrapping_sub(wanted) < new.wrapping_sub(old)
    }

    /// Asks for an event with the next request, then looks once more
    /// (`RING_FINAL_CHECK_FOR_REQUESTS`). Gives how many requests came meanwhile.
    ///
    /// # Errors
    /// The guest's index is impossible.
    pub fn arm(&mut self, memory: &impl SharedMemory) -> Result<u32, BrokenRing> {
        let waiting = self.available(memory)?;
        if waiting > 0 {
            return Ok(waiting);
        }
        memory.store(self.base + header::REQ_EVENT, self.req_cons.wrapping_add(1));
        // The wish is visible before the index is read again. The guest moves the index and then
        // reads the wish: either it sees the wish and sends an event, or we see its request here.
        fence(Ordering::SeqCst);
        self.available(memory)
    }

    fn entry(&self, index: u32) -> usize {
        let slot = (index % SLOTS) as usize;
        self.base + header::ENTRIES + slot * P::ENTRY_WORDS * 4
    }
}

/// The ring a guest sends frames on (`struct netif_tx_request`, `netif_tx_response`).
#[derive(Debug)]
pub enum Tx {}

/// A frame that the guest wants to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TxRequest {
    /// Grant reference of the page with the frame.
    pub gref: u32,
    /// Where the frame begins in the page.
    pub offset: u16,
    /// `NETTXF_*`.
    pub flags: u16,
    /// Comes back in the response.
    pub id: u16,
    /// Bytes of the frame.
    pub size: u16,
}

/// What became of a [`TxRequest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TxResponse {
    /// From the request.
    pub id: u16,
    /// `NETIF_RSP_*`.
    pub status: i16,
}

impl Protocol for Tx {
    const NAME: &'static str = "transmit";
    const ENTRY_WORDS: usize = 3;
    const REQUEST_WORDS: usize = 3;
    type Request = TxRequest;
    type Response = TxResponse;

    fn request([gref, second, third]: [u32; 3]) -> TxRequest {
        let (offset, flags) = halves(second);
        let (id, size) = halves(third);
        TxRequest { gref, offset, flags, id, size }
    }

    fn response(response: &TxResponse) -> ([u32; 2], usize) {
        ([word(response.id, response.status.cast_unsigned()), 0], 1)
    }
}

/// The ring a guest receives frames on (`struct netif_rx_request`, `netif_rx_response`).
#[derive(Debug)]
pub enum Rx {}

/// A page that the guest wants a frame in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RxRequest {
    /// Comes back in the response.
    pub id: u16,
    /// Grant reference of the page.
    pub gref: u32,
}

/// A frame that was put into the page of an [`RxRequest`], at its beginning and without flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RxResponse {
    /// From the request.
    pub id: u16,
    /// Bytes of the frame, or `NETIF_RSP_*`.
    pub status: i16,
}

impl Protocol for Rx {
    const NAME: &'static str = "receive";
    const ENTRY_WORDS: usize = 2;
    const REQUEST_WORDS: usize = 2;
    type Request = RxRequest;
    type Response = RxResponse;

    fn request([first, gref, _]: [u32; 3]) -> RxRequest {
        RxRequest { id: halves(first).0, gref }
    }

    fn response(response: &RxResponse) -> ([u32; 2], usize) {
        ([word(response.id, 0), word(0, response.status.cast_unsigned())], 2)
    }
}

/// The low and the high half of a word.
fn halves(word: u32) -> (u16, u16) {
    let [a, b, c, d] = word.to_le_bytes();
    (u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d]))
}

fn word(low: u16, high: u16) -> u32 {
    u32::from(high) << 16 | u32::from(low)
}

#[cfg(test)]
pub(crate) mod frontend {
    //! The guest's end of a ring, for tests.

    use super::{header, word};
    use crate::host::memory::SharedMemory;
    use crate::host::memory::fake::FakeMemory;

    /// Writes a transmit request into the next slot and moves the index.
    pub(crate) fn send(page: &FakeMemory, gref: u32, offset: u16, flags: u16, id: u16, size: u16) {
        let prod = page.load(header::REQ_PROD);
        let at = header::ENTRIES + (prod as usize % 256) * 12;
        page.store(at, gref);
        page.store(at + 4, word(offset, flags));
        page.store(at + 8, word(id, size));
        page.store(header::REQ_PROD, prod.wrapping_add(1));
    }

    /// Posts a receive request.
    pub(crate) fn post(page: &FakeMemory, id: u16, gref: u32) {
        let prod = page.load(header::REQ_PROD);
        let at = header::ENTRIES + (prod as usize % 256) * 8;
        page.store(at, word(id, 0));
        page.store(at + 4, gref);
        page.store(header::REQ_PROD, prod.wrapping_add(1));
    }

    /// Sets the request index to anything.
    pub(crate) fn set_producer(page: &FakeMemory, index: u32) {
        page.store(header::REQ_PROD, index);
    }

    /// Requests sent or posted so far.
    pub(crate) fn producer(page: &FakeMemory) -> u32 {
        page.load(header::REQ_PROD)
    }

    /// Whether the backend asked for an event with one of the requests since `old`.
    pub(crate) fn wants_event(page: &FakeMemory, old: u32) -> bool {
        let new = producer(page);
        new.wrapping_sub(page.load(header::REQ_EVENT)) < new.wrapping_sub(old)
    }

    /// Responses pushed so far.
    pub(crate) fn responses(page: &FakeMemory) -> u32 {
        page.load(header::RSP_PROD)
    }

    /// Identifier and status of a transmit response.
    pub(crate) fn tx_response(page: &FakeMemory, index: u32) -> (u16, i16) {
        let (id, status) = super::halves(page.load(header::ENTRIES + (index as usize % 256) * 12));
        (id, status.cast_signed())
    }

    /// Identifier and status of a receive response.
    pub(crate) fn rx_response(page: &FakeMemory, index: u32) -> (u16, i16) {
        let at = header::ENTRIES + (index as usize % 256) * 8;
        let (id, _) = super::halves(page.load(at));
        let (_, status) = super::halves(page.load(at + 4));
        (id, status.cast_signed())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::host::memory::PAGE_SIZE;
    use crate::host::memory::fake::FakeMemory;

    #[test]
    fn the_entries_fit_in_the_page() {
        let slots = SLOTS as usize;
        assert!(header::ENTRIES + slots * Tx::ENTRY_WORDS * 4 <= PAGE_SIZE);
        assert!(header::ENTRIES + slots * Rx::ENTRY_WORDS * 4 <= PAGE_SIZE);
    }

    #[test]
    fn requests_are_taken_in_order_and_answered() {
        let page = FakeMemory::new(1);
        let mut ring = Ring::<Tx>::attach(&page, 0);
        assert_eq!(ring.arm(&page), Ok(0));
        for id in 0..300 {
            frontend::send(&page, 7, 64, 0, id, 60);
            assert_eq!(ring.available(&page), Ok(1));
            let request = ring.peek(&page);
            assert_eq!(request, TxRequest { gref: 7, offset: 64, flags: 0, id, size: 60 });
            ring.consume();
            ring.respond(&page, &TxResponse { id, status: -1 });
            let _ = ring.push(&page);
            assert_eq!(frontend::tx_response(&page, u32::from(id)), (id, -1));
        }
    }

    #[test]
    fn an_event_is_sent_only_when_the_guest_asked_for_one() {
        let page = FakeMemory::new(1);
        let mut ring = Ring::<Rx>::attach(&page, 0);
        page.store(header::RSP_EVENT, 2);
        for (id, event) in [(0, false), (1, true), (2, false)] {
            frontend::post(&page, id, 9);
            ring.consume();
            ring.respond(&page, &RxResponse { id, status: 60 });
            assert_eq!(ring.push(&page), event, "response {id}");
        }
        assert!(!ring.push(&page), "nothing new");
    }

    #[test]
    fn arming_a_fresh_page_asks_for_the_first_event() {
        let page = FakeMemory::new(1);
        let mut ring = Ring::<Tx>::attach(&page, 0);
        assert_eq!(ring.arm(&page), Ok(0));
        assert_eq!(page.load(header::REQ_EVENT), 1);
    }

    #[test]
    fn an_index_past_the_ring_or_backwards_breaks_it() {
        let page = FakeMemory::new(1);
        let mut ring = Ring::<Tx>::attach(&page, 0);
        frontend::set_producer(&page, SLOTS);
        assert_eq!(ring.available(&page), Ok(SLOTS));
        for _ in 0..10 {
            ring.consume();
        }
        for wrong in [SLOTS + 1, 9, u32::MAX, 1 << 31] {
            frontend::set_producer(&page, wrong);
            let error = ring.available(&page).unwrap_err();
            assert_eq!((error.found, error.consumed), (wrong, 10));
        }
    }

    #[test]
    fn a_restarted_backend_goes_on_and_takes_unanswered_requests_again() {
        let page = FakeMemory::new(1);
        let start = u32::MAX - 2;
        page.store(header::REQ_PROD, start);
        page.store(header::RSP_PROD, start);
        let mut ring = Ring::<Tx>::attach(&page, 0);
        for id in 0..5 {
            frontend::send(&page, 1, 0, 0, id, 60);
        }
        for id in 0..3 {
            assert_eq!(ring.peek(&page).id, id);
            ring.consume();
        }
        ring.respond(&page, &TxResponse { id: 0, status: 0 });
        let _ = ring.push(&page);

        let again = Ring::<Tx>::attach(&page, 0);
        assert_eq!(again.available(&page), Ok(4));
        assert_eq!(again.peek(&page).id, 1);
    }

    proptest! {
        /// Whatever words the guest writes, the backend never takes more than a ring of requests,
        /// never panics and never touches another page.
        #[test]
        fn a_hostile_frontend_breaks_only_its_ring(
            words in proptest::collection::vec((0usize..1024, any::<u32>()), 0..200),
            indices in proptest::collection::vec(any::<u32>(), 1..50),
        ) {
            let page = FakeMemory::new(1);
            for (at, value) in words {
                page.store(at * 4, value);
            }
            let mut ring = Ring::<Tx>::attach(&page, 0);
            for index in indices {
                frontend::set_producer(&page, index);
                let Ok(waiting) = ring.available(&page) else { return Ok(()) };
                prop_assert!(waiting <= SLOTS);
                for _ in 0..waiting {
                    let request = ring.peek(&page);
                    ring.consume();
                    ring.respond(&page, &TxResponse { id: request.id, status: 0 });
                }
                let _ = ring.push(&page);
                if ring.arm(&page).is_err() {
                    return Ok(());
                }
            }
        }
    }
}
