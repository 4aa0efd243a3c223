// SPDX-License-Identifier: MIT OR Apache-2.0
//! The front end of a ring: requests go out, responses come back.

use core::marker::PhantomData;

use xen_abi::io::ring::{REQ_EVENT, REQ_PROD, RSP_EVENT, RSP_PROD, wants_event};

use crate::page::{SharedPage, read_slot, write_slot};
use crate::protocol::Protocol;

/// The back end claims responses to requests that were never published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the response index {claimed} is impossible: only {possible} requests were published")]
pub struct Overrun {
    /// The back end's index.
    pub claimed: u32,
    /// The highest possible index.
    pub possible: u32,
}

/// The front end of one ring, and the ring's page.
#[derive(Debug)]
pub struct FrontRing<P, M> {
    page: M,
    /// Requests written, published or not.
    req_prod: u32,
    /// Requests published.
    req_published: u32,
    /// Responses taken.
    rsp_cons: u32,
    /// Responses that the back end has published, as last loaded.
    rsp_published: u32,
    protocol: PhantomData<P>,
}

impl<P: Protocol, M: SharedPage> FrontRing<P, M> {
    /// Takes the page of a ring on which nothing has been sent yet.
    pub fn new(page: M) -> Self {
        page.store(RSP_EVENT, 1);
        Self {
            page,
            req_prod: 0,
            req_published: 0,
            rsp_cons: 0,
            rsp_published: 0,
            protocol: PhantomData,
        }
    }

    /// Returns how many requests have no response yet, or one that was not taken yet.
    pub fn outstanding(&self) -> u32 {
        self.req_prod.wrapping_sub(self.rsp_cons)
    }

    /// Writes a request, which the back end does not see before [`publish`](Self::publish).
    ///
    /// # Panics
    /// The ring is full: a bug of the driver, which must not have more buffers than slots.
    pub fn put(&mut self, request: &P::Request) {
        assert!(self.outstanding() < P::SLOTS, "ring overflow");
        write_slot(&self.page, P::slot(self.req_prod), request);
        self.req_prod = self.req_prod.wrapping_add(1);
    }

    /// Publishes the requests written so far. Returns whether the back end requested an event for
    /// them (`RING_PUSH_REQUESTS_AND_CHECK_NOTIFY`).
    #[must_use]
    pub fn publish(&mut self) -> bool {
        let old = self.req_published;
        let new = self.req_prod;
        if old == new {
            return false;
        }
        // Release: a back end that sees the index sees the requests.
        self.page.store(REQ_PROD, new);
        self.req_published = new;
        // Store the index, then load the event index. A back end that goes to sleep stores the
        // event index, then loads this one: at least one of the two sees the other's store.
        self.page.fence();
        wants_event(old, new, self.page.load(REQ_EVENT))
    }

    /// Returns the number of the slot, from 0, into which [`put`](Self::put) writes next.
    pub fn request_slot(&self) -> usize {
        (self.req_prod & (P::SLOTS - 1)) as usize
    }

    /// Returns the number of the slot, from 0, whose response [`take`](Self::take) returns next. A
    /// back end that answers in order writes a response into the slot of its request.
    pub fn response_slot(&self) -> usize {
        (self.rsp_cons & (P::SLOTS - 1)) as usize
    }

    /// Takes the next response, if there is one. Its fields are unchecked.
    ///
    /// # Errors
    /// The back end's index is impossible.
    pub fn take(&mut self) -> Result<Option<P::Response>, Overrun> {
        if self.rsp_cons == self.rsp_published {
            // Acquire: the responses are read after the index that covers them.
            let claimed = self.page.load(RSP_PROD);
            let count = claimed.wrapping_sub(self.rsp_cons);
            if count > self.req_published.wrapping_sub(self.rsp_cons) {
                return Err(Overrun { claimed, possible: self.req_published });
            }
            self.rsp_published = claimed;
            if count == 0 {
                return Ok(None);
            }
        }
        let response = read_slot(&self.page, P::slot(self.rsp_cons));
        self.rsp_cons = self.rsp_cons.wrapping_add(1);
        Ok(Some(response))
    }

    /// Requests an event for the `count`th response from now, then checks once more
    /// (`RING_FINAL_CHECK_FOR_RESPONSES`). Returns whether so many are there already; then the
    /// event may not come.
    #[must_use]
    pub fn ask_for_event(&mut self, count: u32) -> bool {
        self.page.store(RSP_EVENT, self.rsp_cons.wrapping_add(count));
        // Store the event index, then load the response index: see the other end's `push`.
        self.page.fence();
        self.page.load(RSP_PROD).wrapping_sub(self.rsp_cons) >= count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::NetTx;
    use crate::testing::FakePage;
    use xen_abi::io::netif::{TxRequest, TxResponse};

    fn ring() -> (FakePage, FrontRing<NetTx, FakePage>) {
        let page = FakePage::new(1);
        (page.clone(), FrontRing::new(page))
    }

    fn request(id: u16) -> TxRequest {
        TxRequest { gref: 7, offset: 64, flags: 0, id, size: 60 }
    }

    #[test]
    fn requests_are_visible_once_published_and_responses_come_back() {
        let (page, mut ring) = ring();
        page.store(REQ_EVENT, 1);
        ring.put(&request(1));
        assert_eq!(page.load(REQ_PROD), 0);
        assert!(ring.publish());
        assert_eq!(page.load(REQ_PROD), 1);
        ring.put(&request(2));
        assert!(!ring.publish(), "the back end is awake");
        assert!(!ring.publish(), "nothing is new");
        assert_eq!(ring.take(), Ok(None));
        page.store(NetTx::slot(0), 0xffff_0001);
        page.store(RSP_PROD, 1);
        assert_eq!(ring.take(), Ok(Some(TxResponse { id: 1, status: -1 })));
        assert_eq!((ring.take(), ring.outstanding()), (Ok(None), 1));
    }

    #[test]
    fn a_response_that_comes_before_the_event_is_requested_is_noticed() {
        let (page, mut ring) = ring();
        ring.put(&request(0));
        let _ = ring.publish();
        assert!(!ring.ask_for_event(1));
        page.store(RSP_PROD, 1);
        assert!(ring.ask_for_event(1));
        assert!(!ring.ask_for_event(2));
    }

    #[test]
    fn more_responses_than_requests_are_refused() {
        let (page, mut ring) = ring();
        ring.put(&request(0));
        page.store(RSP_PROD, 1);
        assert_eq!(ring.take(), Err(Overrun { claimed: 1, possible: 0 }), "not published");
        let _ = ring.publish();
        for claimed in [2, 1 << 31, u32::MAX] {
            page.store(RSP_PROD, claimed);
            assert_eq!(ring.take(), Err(Overrun { claimed, possible: 1 }));
        }
    }

    #[test]
    fn indices_wrap() {
        let (page, mut ring) = ring();
        (ring.req_prod, ring.req_published) = (u32::MAX, u32::MAX);
        (ring.rsp_cons, ring.rsp_published) = (u32::MAX, u32::MAX);
        page.store(RSP_PROD, u32::MAX);
        for id in 0..4 {
            ring.put(&request(id));
            page.store(NetTx::slot(u32::MAX.wrapping_add(id.into())), id.into());
        }
        let _ = ring.publish();
        page.store(RSP_PROD, 3);
        for id in 0..4 {
            assert_eq!(ring.take(), Ok(Some(TxResponse { id, status: 0 })));
        }
        assert_eq!(ring.take(), Ok(None));
        assert_eq!(ring.outstanding(), 0);
    }

    #[test]
    #[should_panic(expected = "ring overflow")]
    fn a_full_ring_takes_no_more() {
        let (_, mut ring) = ring();
        for _ in 0..=NetTx::SLOTS {
            ring.put(&request(0));
        }
    }
}
