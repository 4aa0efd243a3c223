// SPDX-License-Identifier: MIT OR Apache-2.0
//! Both ends of a ring, with few requests, on every interleaving that Rust's memory model permits.
//! The tests take seconds; building the model checker takes longer.
//!
//! `RUSTFLAGS="--cfg loom" cargo test --package xen-ring --test loom`
#![cfg(loom)]

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, Ordering, fence};
use loom::thread;
use xen_abi::io::ring::SLOTS;
use xen_ring::{BackRing, ByteStream, Consumer, FrontRing, Producer, Protocol, SharedPage};

/// Slots that the models use; requests and responses have one word.
const USED_SLOTS: usize = 4;

/// A ring page that has only the words that the models use.
///
/// Accesses to indices are ordered as [`SharedPage`] says. Accesses to slots are not ordered, so
/// that only the indices can order them.
struct Page {
    header: [AtomicU32; 4],
    slots: [AtomicU32; USED_SLOTS],
    fences: bool,
}

impl Page {
    fn new(fences: bool) -> Self {
        let word = |_| AtomicU32::new(0);
        Self { header: [0; 4].map(word), slots: [0; USED_SLOTS].map(word), fences }
    }
}

/// The page that both ends of a model share.
#[derive(Clone)]
struct Shared(Arc<Page>);

impl SharedPage for Shared {
    fn load(&self, offset: usize) -> u32 {
        match offset.checked_sub(SLOTS) {
            None => self.0.header[offset / 4].load(Ordering::Acquire),
            Some(offset) => self.0.slots[offset / 4].load(Ordering::Relaxed),
        }
    }

    fn store(&self, offset: usize, value: u32) {
        match offset.checked_sub(SLOTS) {
            None => self.0.header[offset / 4].store(value, Ordering::Release),
            Some(offset) => self.0.slots[offset / 4].store(value, Ordering::Relaxed),
        }
    }

    fn read(&self, offset: usize, bytes: &mut [u8]) {
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = self.0.slots[offset - SLOTS + index].load(Ordering::Relaxed).to_le_bytes()[0];
        }
    }

    fn write(&self, offset: usize, bytes: &[u8]) {
        for (index, byte) in bytes.iter().enumerate() {
            self.0.slots[offset - SLOTS + index].store(u32::from(*byte), Ordering::Relaxed);
        }
    }

    fn fence(&self) {
        if self.0.fences {
            fence(Ordering::SeqCst);
        }
    }
}

/// Requests and responses of one word.
enum Words {}

impl Protocol for Words {
    const NAME: &'static str = "model";
    type Request = u32;
    type Response = u32;
}

/// A stream of four bytes, each of which is a word of the model's page.
enum Bytes {}

impl ByteStream for Bytes {
    const NAME: &'static str = "model";
    const DATA: usize = SLOTS;
    const SIZE: usize = USED_SLOTS;
    const CONS: usize = 0;
    const PROD: usize = 4;
}

/// Requests of a model.
const REQUESTS: u32 = 2;

/// A front end publishes requests one by one, while the back end takes them and goes to sleep when
/// it finds no more. The first request that it has not seen by then must come with an event.
fn no_request_is_missed(fences: bool) {
    loom::model(move || {
        let page = Shared(Arc::new(Page::new(fences)));
        let mut back = BackRing::<Words>::attach(&page, 0);
        let mut front = FrontRing::<Words, _>::new(page.clone());
        let sender = thread::spawn(move || {
            let publish = |request| {
                front.put(&(request + 10));
                front.publish()
            };
            (0..REQUESTS).map(publish).collect::<Vec<_>>()
        });
        let mut taken = 0;
        while back.arm(&page).expect("the front end is honest") > 0 {
            assert_eq!(back.peek(&page), taken + 10, "the request is there before its index");
            back.consume();
            taken += 1;
        }
        let events = sender.join().expect("the front end returns");
        assert_ne!(events.get(taken as usize), Some(&false), "the back end sleeps on a request");
    });
}

/// A back end answers requests one by one, while the front end takes the responses and goes to
/// sleep when it finds no more. The first response that it has not seen by then must come with an
/// event.
fn no_response_is_missed(fences: bool) {
    loom::model(move || {
        let page = Shared(Arc::new(Page::new(fences)));
        let mut front = FrontRing::<Words, _>::new(page.clone());
        let mut back = BackRing::<Words>::attach(&page, 0);
        for request in 0..=REQUESTS {
            front.put(&request);
            back.consume();
        }
        let _ = front.publish();
        // A new front end always requests an event for the first response, so the model begins
        // after that one.
        back.respond(&page, &20);
        assert!(back.push(&page));
        assert_eq!(front.take(), Ok(Some(20)));
        let shared = page.clone();
        let responder = thread::spawn(move || {
            let answer = |request| {
                back.respond(&shared, &(request + 20));
                back.push(&shared)
            };
            (1..=REQUESTS).map(answer).collect::<Vec<_>>()
        });
        let mut taken = 0;
        loop {
            while let Some(response) = front.take().expect("the back end is honest") {
                taken += 1;
                assert_eq!(response, taken + 20, "the response is there before its index");
            }
            if !front.ask_for_event(1) {
                break;
            }
        }
        let events = responder.join().expect("the back end returns");
        assert_ne!(events.get(taken as usize), Some(&false), "the front end sleeps on a response");
    });
}

#[test]
fn no_request_is_missed_by_a_back_end_that_goes_to_sleep() {
    no_request_is_missed(true);
}

#[test]
fn no_response_is_missed_by_a_front_end_that_goes_to_sleep() {
    no_response_is_missed(true);
}

#[test]
#[should_panic(expected = "the back end sleeps on a request")]
fn without_fences_a_request_is_missed() {
    no_request_is_missed(false);
}

#[test]
#[should_panic(expected = "the front end sleeps on a response")]
fn without_fences_a_response_is_missed() {
    no_response_is_missed(false);
}

/// Five bytes pass through a ring of four, so that one slot is used twice.
#[test]
fn bytes_are_visible_before_their_index_and_stay_until_they_are_taken() {
    loom::model(|| {
        let page = Shared(Arc::new(Page::new(true)));
        let shared = page.clone();
        let writer = thread::spawn(move || {
            let mut producer = Producer::<Bytes>::attach(&shared, 0);
            let first = producer.put(&shared, &[1, 2, 3, 4]).expect("the consumer is honest");
            assert_eq!(first, 4);
            producer.put(&shared, &[5]).expect("the consumer is honest")
        });
        let mut consumer = Consumer::<Bytes>::attach(&page, 0);
        let mut next = 1;
        for _ in 0..2 {
            let count = consumer.available(&page).expect("the producer is honest");
            let mut bytes = [0; USED_SLOTS];
            consumer.take(&page, &mut bytes[..count]);
            for byte in &bytes[..count] {
                assert_eq!(*byte, next);
                next += 1;
            }
        }
        let second = writer.join().expect("the producer returns");
        assert!(usize::from(next) <= 1 + 4 + second);
    });
}
