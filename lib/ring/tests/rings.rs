// SPDX-License-Identifier: MIT OR Apache-2.0
//! The two ends of a ring when both follow the rules.

use std::cell::Cell;

use xen_abi::io::blkif;
use xen_abi::io::netif::{RxRequest, RxResponse, TxRequest, TxResponse};
use xen_abi::io::ring::{REQ_EVENT, RSP_EVENT, RSP_PROD};
use xen_ring::testing::{FakePage, frontend};
use xen_ring::{
    BackRing, Block, ByteStream, ConsoleOutput, Consumer, FrontRing, NetRx, NetTx, Producer,
    Protocol, SharedPage,
};

fn request(id: u16) -> TxRequest {
    TxRequest { gref: 7, offset: 64, flags: 0, id, size: 60 }
}

#[test]
fn requests_are_taken_in_order_and_answered() {
    let page = FakePage::new(1);
    let mut ring = BackRing::<NetTx>::attach(&page, 0);
    assert_eq!(ring.arm(&page), Ok(0));
    for id in 0..300 {
        frontend::submit::<NetTx>(&page, &request(id));
        assert_eq!(ring.available(&page), Ok(1));
        assert_eq!(ring.peek(&page), request(id));
        ring.consume();
        ring.respond(&page, &TxResponse { id, status: -1 });
        let _ = ring.push(&page);
        let response = frontend::response::<NetTx>(&page, u32::from(id));
        assert_eq!(response, TxResponse { id, status: -1 });
    }
    assert_eq!(frontend::responses(&page), 300);
}

#[test]
fn an_event_can_be_requested_for_several_requests() {
    let page = FakePage::new(1);
    let mut ring = BackRing::<NetRx>::attach(&page, 0);
    for posted in 0..3 {
        assert_eq!(ring.arm_for(3, &page), Ok(posted));
        let before = frontend::producer(&page);
        frontend::submit::<NetRx>(&page, &RxRequest { id: 0, pad: 0, gref: 9 });
        assert_eq!(frontend::asked_for_event(&page, before), posted == 2);
    }
    assert_eq!(ring.arm_for(3, &page), Ok(3));
}

#[test]
fn an_event_is_due_only_if_the_front_end_requested_one() {
    let page = FakePage::new(1);
    let mut ring = BackRing::<NetRx>::attach(&page, 0);
    page.store(RSP_EVENT, 2);
    for (id, event) in [(0, false), (1, true), (2, false)] {
        frontend::submit::<NetRx>(&page, &RxRequest { id, pad: 0, gref: 9 });
        ring.consume();
        ring.respond(&page, &RxResponse { id, status: 60, ..RxResponse::default() });
        assert_eq!(ring.push(&page), event, "response {id}");
    }
    assert!(!ring.push(&page), "nothing new");
}

#[test]
fn arming_a_new_page_requests_an_event_for_the_first_request() {
    let page = FakePage::new(1);
    let mut ring = BackRing::<NetTx>::attach(&page, 0);
    assert_eq!(ring.arm(&page), Ok(0));
    assert_eq!(page.load(REQ_EVENT), 1);
    frontend::submit::<NetTx>(&page, &request(0));
    assert!(frontend::asked_for_event(&page, 0));
    assert_eq!(ring.arm(&page), Ok(1), "it must not sleep while a request waits");
}

#[test]
fn an_index_past_the_ring_or_backwards_breaks_it() {
    let page = FakePage::new(1);
    let mut ring = BackRing::<NetTx>::attach(&page, 0);
    frontend::set_producer(&page, NetTx::SLOTS);
    assert_eq!(ring.available(&page), Ok(NetTx::SLOTS));
    for _ in 0..10 {
        ring.consume();
    }
    for wrong in [NetTx::SLOTS + 1, 9, u32::MAX, 1 << 31] {
        frontend::set_producer(&page, wrong);
        let error = ring.available(&page).unwrap_err();
        assert_eq!((error.found, error.consumed, error.answered), (wrong, 10, 0));
        assert!(error.to_string().starts_with("the transmit ring's request index"), "{error}");
    }
}

#[test]
fn a_restarted_back_end_continues_with_the_unanswered_requests() {
    let page = FakePage::new(1);
    let start = u32::MAX - 2;
    frontend::set_producer(&page, start);
    page.store(RSP_PROD, start);
    let mut ring = BackRing::<NetTx>::attach(&page, 0);
    for id in 0..5 {
        frontend::submit::<NetTx>(&page, &request(id));
    }
    for id in 0..3 {
        assert_eq!(ring.peek(&page).id, id);
        ring.consume();
    }
    ring.respond(&page, &TxResponse { id: 0, status: 0 });
    let _ = ring.push(&page);

    let restarted = BackRing::<NetTx>::attach(&page, 0);
    assert_eq!(restarted.available(&page), Ok(4));
    assert_eq!(restarted.peek(&page).id, 1);
}

#[test]
fn both_ends_work_together_in_the_second_page_of_a_mapping() {
    let page = FakePage::new(1);
    let memory = FakePage::join(&[FakePage::new(1), page.clone()]);
    let mut front = FrontRing::<Block, _>::new(page);
    let mut back = BackRing::<Block>::attach(&memory, 4096);
    assert_eq!(back.arm(&memory), Ok(0));
    for id in 0..100 {
        let segment = blkif::Segment { gref: 11, first_sect: 1, last_sect: 7, pad: [0; 2] };
        let request =
            blkif::Request { operation: 1, id, seg: [segment; 11], ..blkif::Request::default() };
        front.put(&request);
        assert!(front.publish());
        assert_eq!(back.available(&memory), Ok(1));
        assert_eq!(back.peek(&memory), request);
        back.consume();
        let response = blkif::Response { id, operation: 1, ..blkif::Response::default() };
        back.respond(&memory, &response);
        assert!(back.push(&memory));
        assert_eq!(back.arm(&memory), Ok(0));
        assert_eq!(front.take(), Ok(Some(response)));
        assert!(!front.ask_for_event(1));
    }
}

#[test]
fn bytes_wrap_around_the_end_of_their_ring() {
    let page = FakePage::new(1);
    let text: Vec<u8> = (0..3000u32).map(|i| (i % 251).to_le_bytes()[0]).collect();
    for start in [0, 2000, u32::MAX - 10] {
        page.store(ConsoleOutput::CONS, start);
        page.store(ConsoleOutput::PROD, start);
        let mut producer = Producer::<ConsoleOutput>::attach(&page, 0);
        let mut consumer = Consumer::<ConsoleOutput>::attach(&page, 0);
        assert_eq!(producer.put(&page, &text), Ok(ConsoleOutput::SIZE));
        assert_eq!(producer.put(&page, &text), Ok(0), "full");
        assert_eq!(consumer.available(&page), Ok(ConsoleOutput::SIZE));
        let mut taken = vec![0; 48];
        consumer.take(&page, &mut taken);
        assert_eq!(taken[..], text[..48]);
        assert_eq!(producer.room(&page), Ok(48));
        let mut rest = vec![0; ConsoleOutput::SIZE - 48];
        consumer.take(&page, &mut rest);
        assert_eq!(rest[..], text[48..ConsoleOutput::SIZE]);
        assert_eq!(consumer.available(&page), Ok(0));
    }
}

#[test]
fn impossible_indices_of_a_stream_are_errors() {
    let page = FakePage::new(1);
    let mut producer = Producer::<ConsoleOutput>::attach(&page, 0);
    let mut consumer = Consumer::<ConsoleOutput>::attach(&page, 0);
    for wrong in [2049, u32::MAX, 1 << 31] {
        page.store(ConsoleOutput::PROD, wrong);
        let error = consumer.available(&page).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("the console's output index {wrong} is impossible: it is {wrong} bytes from 0")
        );
    }
    for wrong in [1, 1 << 31, u32::MAX - 2048] {
        page.store(ConsoleOutput::CONS, wrong);
        assert_eq!(producer.put(&page, b"x").unwrap_err().found, wrong);
    }
}

#[test]
#[should_panic(expected = "3 bytes of 2 are taken")]
fn no_more_bytes_are_taken_than_were_counted() {
    let page = FakePage::new(1);
    let _ = Producer::<ConsoleOutput>::attach(&page, 0).put(&page, b"ab");
    let mut consumer = Consumer::<ConsoleOutput>::attach(&page, 0);
    let _ = consumer.available(&page);
    consumer.take(&page, &mut [0; 3]);
}

/// A page whose owner is killed before one of its stores: that one and later ones do not happen.
struct Killed {
    page: FakePage,
    stores_left: Cell<u32>,
}

impl SharedPage for Killed {
    fn load(&self, offset: usize) -> u32 {
        self.page.load(offset)
    }

    fn store(&self, offset: usize, value: u32) {
        if let Some(left) = self.stores_left.get().checked_sub(1) {
            self.stores_left.set(left);
            self.page.store(offset, value);
        }
    }

    fn read(&self, offset: usize, bytes: &mut [u8]) {
        self.page.read(offset, bytes);
    }

    fn write(&self, _: usize, _: &[u8]) {
        unimplemented!("a ring stores words");
    }
}

/// Answers the second of three requests, in a back end that is killed before its store number
/// `stores`. Returns whether its successor finds the answer, and not the request.
fn answered_before_the_kill(first: u32, stores: u32) -> bool {
    let request = |id: u64| blkif::Request { operation: 1, id, ..blkif::Request::default() };
    let answer = |id: u64| blkif::Response { id, operation: 1, ..blkif::Response::default() };
    let page = FakePage::new(1);
    frontend::set_producer(&page, first);
    page.store(RSP_PROD, first);
    for id in [7, 8, 9] {
        frontend::submit::<Block>(&page, &request(id));
    }
    let mut ring = BackRing::<Block>::resume(&page, 0);
    ring.consume();
    let _ = ring.answer(&page, &answer(7));
    ring.consume();
    let killed = Killed { page: page.clone(), stores_left: Cell::new(stores) };
    let _ = ring.answer(&killed, &answer(8));

    let mut successor = BackRing::<Block>::resume(&page, 0);
    assert_eq!(frontend::response::<Block>(&page, first), answer(7));
    let answered = frontend::responses(&page) == first.wrapping_add(2);
    if answered {
        assert_eq!(frontend::response::<Block>(&page, first.wrapping_add(1)), answer(8));
    } else {
        assert_eq!(successor.available(&page), Ok(2));
        assert_eq!(successor.peek(&page), request(8), "killed before store {stores}");
        successor.consume();
        let _ = successor.answer(&page, &answer(8));
    }
    assert_eq!(successor.available(&page), Ok(1));
    assert_eq!(successor.peek(&page), request(9));
    answered
}

#[test]
fn a_kill_between_any_two_stores_loses_neither_request_nor_answer() {
    for first in [0, 31, u32::MAX - 1, u32::MAX] {
        let outcomes: Vec<bool> = (0..20).map(|at| answered_before_the_kill(first, at)).collect();
        // Four words are kept, one is noted, four are replaced, and the last store publishes.
        let expected: Vec<bool> = (0..20).map(|stores| stores >= 10).collect();
        assert_eq!(outcomes, expected, "at index {first}");
    }
}
