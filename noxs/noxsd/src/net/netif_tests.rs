//! The rings with these tests as guest, from the backend's end.

use crate::host::GrantRef;
use proptest::prelude::*;

use super::*;
use crate::host::fake::FakeMemory;
use crate::host::memory::SharedMemory;
use crate::host::ring::{Ring, header};

#[test]
fn requests_are_taken_in_order_and_answered() {
    let page = FakeMemory::new(1);
    let mut ring = Ring::<Tx>::attach(&page, 0);
    assert_eq!(ring.arm(&page), Ok(0));
    for id in 0..300 {
        frontend::send(&page, 7, 64, 0, id, 60);
        assert_eq!(ring.available(&page), Ok(1));
        let request = ring.peek(&page);
        let gref = GrantRef(7);
        assert_eq!(request, TxRequest { gref, offset: 64, flags: 0, id, size: 60 });
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
