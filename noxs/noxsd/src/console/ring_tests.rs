// SPDX-License-Identifier: GPL-3.0-or-later
//! A console's rings, with these tests as the guest. What holds for any ring of bytes is tested in
//! `xen_ring`.

use proptest::prelude::*;

use xen_ring::ByteStream;
use xen_ring::testing::FakePage;

use super::*;
use crate::console::frontend;

fn console(page: &FakePage, now: Instant) -> ConsoleRing {
    ConsoleRing::attach(page, 0, now)
}

#[test]
fn a_full_ring_of_output_is_taken_at_once() {
    let page = FakePage::new(1);
    let now = Instant::now();
    for start in [0, 2000, u32::MAX - 10] {
        page.store(ConsoleOutput::CONS, start);
        page.store(ConsoleOutput::PROD, start);
        let mut console = console(&page, now);
        let mut buffer = [0; OUTPUT_SIZE];
        let text: Vec<u8> = (0..3000u32).map(|i| (i % 251).to_le_bytes()[0]).collect();
        assert_eq!(frontend::print(&page, &text), OUTPUT_SIZE);
        let taken = console.take_output(&page, &mut buffer, now);
        assert_eq!(taken, Ok(Output::Bytes(OUTPUT_SIZE)));
        assert_eq!(buffer[..], text[..OUTPUT_SIZE]);
        assert_eq!(console.take_output(&page, &mut buffer, now), Ok(Output::Nothing));
    }
}

#[test]
fn input_waits_for_room() {
    let page = FakePage::new(1);
    let mut console = console(&page, Instant::now());
    let text: Vec<u8> = (0..5000u32).map(|i| (i % 251).to_le_bytes()[0]).collect();
    console.queue_input(&text);
    assert_eq!(console.input_room(), 0);
    let mut arrived = Vec::new();
    while console.put_input(&page) != Ok(0) {
        arrived.extend(frontend::input(&page));
    }
    assert_eq!(arrived, text[..INPUT_WAITING]);
}

#[test]
fn output_over_the_rate_waits() {
    let page = FakePage::new(1);
    let mut now = Instant::now();
    let start = now;
    let mut console = console(&page, now);
    let mut buffer = [0; OUTPUT_SIZE];
    let mut taken = 0;
    while now < start + 4 * OUTPUT_INTERVAL {
        frontend::print(&page, &[b'x'; OUTPUT_SIZE]);
        match console.take_output(&page, &mut buffer, now).unwrap() {
            Output::Bytes(count) => taken += count,
            Output::NotBefore(later) => now = later,
            Output::Nothing => panic!("the ring is full"),
        }
    }
    let most = 5 * usize::try_from(OUTPUT_RATE).unwrap() + 2 * OUTPUT_SIZE;
    assert!(taken > most / 2 && taken <= most, "{taken}");
}

#[test]
fn impossible_indices_are_refused() {
    let page = FakePage::new(1);
    let now = Instant::now();
    let mut console = console(&page, now);
    let mut buffer = [0; OUTPUT_SIZE];
    for wrong in [2049, u32::MAX, 1 << 31] {
        frontend::set_output_index(&page, wrong);
        assert!(console.take_output(&page, &mut buffer, now).is_err(), "{wrong}");
    }
    console.queue_input(b"x");
    for wrong in [1, 1 << 31, u32::MAX - 1024] {
        frontend::set_input_index(&page, wrong);
        assert!(console.put_input(&page).is_err(), "{wrong}");
    }
}

proptest! {
    #[test]
    fn hostile_indices_cause_no_panic(
        start in any::<[u32; 4]>(),
        indices in proptest::collection::vec(any::<(u32, u32)>(), 1..50),
    ) {
        let page = FakePage::new(1);
        for (word, value) in start.into_iter().enumerate() {
            page.store(ConsoleInput::CONS + word * 4, value);
        }
        let now = Instant::now();
        let mut console = console(&page, now);
        let mut buffer = [0; OUTPUT_SIZE];
        for (output, input) in indices {
            frontend::set_output_index(&page, output);
            frontend::set_input_index(&page, input);
            let _ = console.take_output(&page, &mut buffer, now);
            console.queue_input(b"hello");
            let _ = console.put_input(&page);
        }
    }
}
