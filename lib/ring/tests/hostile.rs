// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whatever the other end writes, and whenever, an end never takes more than a ring holds, never
//! panics, and never touches another page.
#![cfg(not(loom))]

use proptest::collection::vec;
use proptest::prelude::*;
use xen_abi::PAGE_SIZE;
use xen_abi::io::ring::RSP_PROD;
use xen_ring::testing::{FakePage, frontend};
use xen_ring::{
    BackRing, Block, ByteStream, ConsoleInput, ConsoleOutput, Consumer, FrontRing, NetRx, NetTx,
    Producer, Protocol, SharedPage, XenStoreRequests, XenStoreResponses,
};
use zerocopy::FromZeros;

/// Three pages: the ring's in the middle, and two that must stay zero.
struct Guarded {
    memory: FakePage,
    before: FakePage,
    ring: FakePage,
    after: FakePage,
}

impl Guarded {
    fn new() -> Self {
        let [before, ring, after] = [(); 3].map(|()| FakePage::new(1));
        let memory = FakePage::join(&[before.clone(), ring.clone(), after.clone()]);
        Self { memory, before, ring, after }
    }

    fn assert_untouched(&self) {
        for page in [&self.before, &self.after] {
            let mut bytes = [0; PAGE_SIZE];
            page.read(0, &mut bytes);
            assert!(bytes.iter().all(|byte| *byte == 0));
        }
    }
}

fn words() -> impl Strategy<Value = Vec<(usize, u32)>> {
    vec((0..PAGE_SIZE / 4, any::<u32>()), 0..200)
}

/// Indices near zero, near the wrap, and anywhere.
fn indices() -> impl Strategy<Value = Vec<u32>> {
    vec(prop_oneof![0u32..600, any::<u32>(), (u32::MAX - 600)..=u32::MAX], 1..50)
}

fn scribble(page: &FakePage, words: &[(usize, u32)]) {
    for (at, value) in words {
        page.store(at * 4, *value);
    }
}

fn back_end<P: Protocol>(words: &[(usize, u32)], indices: &[u32]) {
    let pages = Guarded::new();
    scribble(&pages.ring, words);
    let mut ring = BackRing::<P>::attach(&pages.memory, PAGE_SIZE);
    for index in indices {
        frontend::set_producer(&pages.ring, *index);
        let Ok(waiting) = ring.available(&pages.memory) else { break };
        assert!(waiting <= P::SLOTS);
        for _ in 0..waiting {
            let _ = ring.peek(&pages.memory);
            ring.consume();
            ring.respond(&pages.memory, &P::Response::new_zeroed());
        }
        let _ = ring.push(&pages.memory);
        if ring.arm(&pages.memory).is_err() {
            break;
        }
    }
    pages.assert_untouched();
}

fn front_end<P: Protocol>(words: &[(usize, u32)], indices: &[u32], puts: u32) {
    let page = FakePage::new(1);
    scribble(&page, words);
    let mut ring = FrontRing::<P, _>::new(page.clone());
    let mut taken = 0u32;
    let mut put = 0u32;
    for index in indices {
        for _ in 0..puts.min(P::SLOTS - ring.outstanding()) {
            ring.put(&P::Request::new_zeroed());
            put += 1;
        }
        let _ = ring.publish();
        page.store(RSP_PROD, *index);
        loop {
            match ring.take() {
                Ok(Some(_)) => taken += 1,
                Ok(None) => break,
                Err(_) => {
                    assert!(taken <= put);
                    return;
                }
            }
        }
        assert!(taken <= put);
        let _ = ring.ask_for_event(1);
    }
}

fn producer<S: ByteStream>(words: &[(usize, u32)], indices: &[u32]) {
    let pages = Guarded::new();
    scribble(&pages.ring, words);
    let mut producer = Producer::<S>::attach(&pages.memory, PAGE_SIZE);
    for index in indices {
        pages.ring.store(S::CONS, *index);
        if let Ok(count) = producer.put(&pages.memory, &[7; 3000]) {
            assert!(count <= S::SIZE);
        }
    }
    pages.assert_untouched();
}

fn consumer<S: ByteStream>(words: &[(usize, u32)], indices: &[u32]) {
    let pages = Guarded::new();
    scribble(&pages.ring, words);
    let mut consumer = Consumer::<S>::attach(&pages.memory, PAGE_SIZE);
    for index in indices {
        pages.ring.store(S::PROD, *index);
        if let Ok(count) = consumer.available(&pages.memory) {
            assert!(count <= S::SIZE);
            consumer.take(&pages.memory, &mut vec![0; count]);
        }
    }
    pages.assert_untouched();
}

proptest! {
    #[test]
    fn a_hostile_front_end_breaks_only_its_ring(words in words(), indices in indices()) {
        back_end::<NetTx>(&words, &indices);
        back_end::<NetRx>(&words, &indices);
        back_end::<Block>(&words, &indices);
    }

    #[test]
    fn a_hostile_back_end_breaks_only_its_ring(
        words in words(),
        indices in indices(),
        puts in 0u32..300,
    ) {
        front_end::<NetTx>(&words, &indices, puts);
        front_end::<NetRx>(&words, &indices, puts);
        front_end::<Block>(&words, &indices, puts);
    }

    #[test]
    fn a_hostile_end_breaks_only_its_stream(words in words(), indices in indices()) {
        producer::<ConsoleInput>(&words, &indices);
        producer::<XenStoreResponses>(&words, &indices);
        consumer::<ConsoleOutput>(&words, &indices);
        consumer::<XenStoreRequests>(&words, &indices);
    }
}
