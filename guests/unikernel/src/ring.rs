//! The frontend's half of a ring of Xen's `public/io/ring.h`: requests go out, responses come back.
//!
//! The indices count for ever and wrap; a slot is an index modulo the ring's size. What the other
//! end writes is checked here once.
//!
//! `unsafe`, because the other end reads and writes the page while this one does.
#![allow(unsafe_code)]

use core::marker::PhantomData;
use core::sync::atomic::{AtomicU32, Ordering, fence};

use crate::layout::PAGE_SIZE;

/// Offsets in `struct sring`.
const REQ_PROD: usize = 0;
const REQ_EVENT: usize = 4;
const RSP_PROD: usize = 8;
const RSP_EVENT: usize = 12;
const SLOTS: usize = 64;

/// What the slots of a ring hold.
///
/// # Safety
/// Any bytes are a value of both types, and neither has padding.
pub(crate) unsafe trait Protocol {
    /// What the frontend writes.
    type Request: Copy;
    /// What the backend writes into the same slot.
    type Response: Copy;
}

/// The other end claims responses to requests that it was never sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Overrun {
    /// The index it claims.
    pub(crate) claimed: u32,
    /// The last one possible.
    pub(crate) possible: u32,
}

/// One ring page, seen from the frontend.
#[derive(Debug)]
pub(crate) struct FrontRing<P> {
    page: *mut u8,
    /// Requests written, published or not.
    req_prod: u32,
    /// Requests published.
    req_published: u32,
    /// Responses taken.
    rsp_cons: u32,
    /// Responses that are known to be there.
    rsp_known: u32,
    protocol: PhantomData<P>,
}

/// Slots that fit in a page: `__RING_SIZE` of `public/io/ring.h`.
const fn slots(slot_size: usize) -> u32 {
    1 << ((PAGE_SIZE - SLOTS) / slot_size).ilog2()
}

/// Whether publishing `old..new` crosses what the other end waits for.
const fn wants_event(old: u32, new: u32, event: u32) -> bool {
    new.wrapping_sub(event) < new.wrapping_sub(old)
}

impl<P: Protocol> FrontRing<P> {
    const SLOT_SIZE: usize = if size_of::<P::Request>() > size_of::<P::Response>() {
        size_of::<P::Request>()
    } else {
        size_of::<P::Response>()
    };

    /// How many slots the ring has; a power of two.
    pub(crate) const SIZE: u32 = slots(Self::SLOT_SIZE);

    /// Takes a ring on which nothing has been sent yet.
    ///
    /// # Safety
    /// `page` is a ring page of this protocol, mapped for good, aligned, and only touched by the
    /// backend and through this value.
    pub(crate) unsafe fn new(page: *mut u8) -> Self {
        let ring = Self {
            page,
            req_prod: 0,
            req_published: 0,
            rsp_cons: 0,
            rsp_known: 0,
            protocol: PhantomData,
        };
        ring.index(RSP_EVENT).store(1, Ordering::Relaxed);
        ring
    }

    fn index(&self, offset: usize) -> &AtomicU32 {
        // SAFETY: `new`'s caller promised a mapped, aligned page; the offsets are those of the
        // header. Both ends access the indices atomically.
        unsafe { AtomicU32::from_ptr(self.page.add(offset).cast()) }
    }

    fn slot(&self, index: u32) -> *mut u8 {
        let slot = (index & (Self::SIZE - 1)) as usize;
        self.page.wrapping_add(SLOTS + slot * Self::SLOT_SIZE)
    }

    /// How many requests have no response yet, or one that is not taken.
    pub(crate) fn outstanding(&self) -> u32 {
        self.req_prod.wrapping_sub(self.rsp_cons)
    }

    /// Writes a request, which the backend does not see before [`publish`](Self::publish).
    ///
    /// # Panics
    /// If the ring is full: an error in the driver, which has no more buffers than slots.
    pub(crate) fn put(&mut self, request: P::Request) {
        assert!(self.outstanding() < Self::SIZE, "ring overflow");
        // SAFETY: the slot lies in the page and holds a request; the backend does not look at it
        // before it is published. Requests need no more alignment than slots have: four bytes.
        unsafe { self.slot(self.req_prod).cast::<P::Request>().write_volatile(request) };
        self.req_prod = self.req_prod.wrapping_add(1);
    }

    /// Lets the backend see what was put, and tells whether it wants an event for it.
    #[must_use]
    pub(crate) fn publish(&mut self) -> bool {
        if self.req_prod == self.req_published {
            return false;
        }
        // The requests are written before the index says so.
        self.index(REQ_PROD).store(self.req_prod, Ordering::Release);
        // The index is written before the backend's wish is read: a backend that goes to sleep
        // writes its wish and then reads the index, so one of the two sees the other.
        fence(Ordering::SeqCst);
        let event = self.index(REQ_EVENT).load(Ordering::Relaxed);
        let old = core::mem::replace(&mut self.req_published, self.req_prod);
        wants_event(old, self.req_prod, event)
    }

    /// Takes the next response, if there is one.
    pub(crate) fn take(&mut self) -> Result<Option<P::Response>, Overrun> {
        if self.rsp_cons == self.rsp_known {
            // The responses are read after the index that announces them.
            let claimed = self.index(RSP_PROD).load(Ordering::Acquire);
            let count = claimed.wrapping_sub(self.rsp_cons);
            if count > self.req_published.wrapping_sub(self.rsp_cons) {
                return Err(Overrun { claimed, possible: self.req_published });
            }
            self.rsp_known = claimed;
            if count == 0 {
                return Ok(None);
            }
        }
        // SAFETY: the slot lies in the page; any bytes are a response. The backend may still be
        // writing it, if it lies: the copy is then garbage, and its fields are checked by the
        // driver.
        let response = unsafe { self.slot(self.rsp_cons).cast::<P::Response>().read_volatile() };
        self.rsp_cons = self.rsp_cons.wrapping_add(1);
        Ok(Some(response))
    }

    /// Asks for an event when the `count`th response from now is there, and tells whether there
    /// are responses already, so that the event may not come.
    #[must_use]
    pub(crate) fn ask_for_event(&mut self, count: u32) -> bool {
        self.index(RSP_EVENT).store(self.rsp_cons.wrapping_add(count), Ordering::Relaxed);
        // The wish is written before the index is read; see `publish`.
        fence(Ordering::SeqCst);
        let produced = self.index(RSP_PROD).load(Ordering::Relaxed).wrapping_sub(self.rsp_cons);
        produced >= count
    }
}

#[cfg(test)]
mod tests {
    use std::boxed::Box;

    use super::*;

    struct Numbers;

    // SAFETY: integers have no padding and any bytes are one.
    unsafe impl Protocol for Numbers {
        type Request = [u32; 3];
        type Response = u32;
    }

    #[repr(align(4096))]
    struct Page([u8; PAGE_SIZE]);

    fn set(page: *mut u8, offset: usize, value: u32) {
        // SAFETY: the tests pass the page of the ring under test, which is alive.
        unsafe { page.add(offset).cast::<u32>().write_volatile(value) };
    }

    fn ring() -> (Box<Page>, FrontRing<Numbers>, *mut u8) {
        let mut memory = Box::new(Page([0; PAGE_SIZE]));
        let page = memory.0.as_mut_ptr();
        // SAFETY: `memory` lives as long as the ring, which the caller keeps beside it.
        (memory, unsafe { FrontRing::new(page) }, page)
    }

    #[test]
    fn sizes_are_those_of_the_c_headers() {
        assert_eq!(slots(12), 256); // netif tx
        assert_eq!(slots(8), 256); // netif rx
        assert_eq!(slots(112), 32); // blkif
    }

    #[test]
    fn events_are_wanted_when_the_wish_is_crossed() {
        assert!(wants_event(0, 1, 1));
        assert!(wants_event(0, 5, 3));
        assert!(!wants_event(0, 5, 6));
        assert!(!wants_event(5, 6, 5));
        assert!(wants_event(u32::MAX, 1, 0));
        assert!(!wants_event(0, 0, 1));
    }

    #[test]
    fn requests_are_seen_when_published_and_responses_come_back() {
        let (_memory, mut ring, page) = ring();
        set(page, REQ_EVENT, 1);
        ring.put([1, 2, 3]);
        assert_eq!(ring.index(REQ_PROD).load(Ordering::Relaxed), 0);
        assert!(ring.publish());
        assert_eq!(ring.index(REQ_PROD).load(Ordering::Relaxed), 1);
        ring.put([4, 5, 6]);
        assert!(!ring.publish(), "the backend is awake");
        assert!(!ring.publish(), "nothing is new");
        assert_eq!(ring.take(), Ok(None));
        set(page, SLOTS, 7);
        set(page, RSP_PROD, 1);
        assert_eq!(ring.take(), Ok(Some(7)));
        assert_eq!((ring.take(), ring.outstanding()), (Ok(None), 1));
    }

    #[test]
    fn a_response_that_comes_before_the_wish_is_noticed() {
        let (_memory, mut ring, page) = ring();
        ring.put([0; 3]);
        let _ = ring.publish();
        assert!(!ring.ask_for_event(1));
        set(page, RSP_PROD, 1);
        assert!(ring.ask_for_event(1));
        assert!(!ring.ask_for_event(2));
    }

    #[test]
    fn more_responses_than_requests_are_refused() {
        let (_memory, mut ring, page) = ring();
        ring.put([0; 3]);
        set(page, RSP_PROD, 1);
        assert_eq!(ring.take(), Err(Overrun { claimed: 1, possible: 0 }), "not published");
        let _ = ring.publish();
        set(page, RSP_PROD, 2);
        assert_eq!(ring.take(), Err(Overrun { claimed: 2, possible: 1 }));
        set(page, RSP_PROD, u32::MAX);
        assert_eq!(ring.take(), Err(Overrun { claimed: u32::MAX, possible: 1 }));
    }

    #[test]
    fn indices_wrap() {
        let (_memory, mut ring, page) = ring();
        for index in [&mut ring.req_prod, &mut ring.req_published] {
            *index = u32::MAX;
        }
        (ring.rsp_cons, ring.rsp_known) = (u32::MAX, u32::MAX);
        set(page, RSP_PROD, u32::MAX);
        for value in 0..4 {
            ring.put([value; 3]);
        }
        let _ = ring.publish();
        set(page, RSP_PROD, 3);
        for value in 0..4 {
            assert_eq!(ring.take(), Ok(Some(value)));
        }
        assert_eq!(ring.take(), Ok(None));
        assert_eq!(ring.outstanding(), 0);
    }

    #[test]
    #[should_panic(expected = "ring overflow")]
    fn a_full_ring_takes_no_more() {
        let (_memory, mut ring, _) = ring();
        for _ in 0..=FrontRing::<Numbers>::SIZE {
            ring.put([0; 3]);
        }
    }
}
