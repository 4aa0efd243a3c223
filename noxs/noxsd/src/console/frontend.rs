// SPDX-License-Identifier: GPL-3.0-or-later
//! A guest's end of its console, for tests. It keeps no state of its own.

use xen_ring::testing::FakePage;
use xen_ring::{ByteStream, ConsoleInput, ConsoleOutput, Consumer, Producer, SharedPage};

/// Prints as much as fits and returns how many bytes that was.
pub(crate) fn print(page: &FakePage, text: &[u8]) -> usize {
    Producer::<ConsoleOutput>::attach(page, 0).put(page, text).unwrap()
}

/// Takes all input out of the ring.
pub(crate) fn input(page: &FakePage) -> Vec<u8> {
    let mut input = Consumer::<ConsoleInput>::attach(page, 0);
    let mut bytes = vec![0; input.available(page).unwrap()];
    input.take(page, &mut bytes);
    bytes
}

/// Sets the index of output to any value.
pub(crate) fn set_output_index(page: &FakePage, index: u32) {
    page.store(ConsoleOutput::PROD, index);
}

/// Sets the index of input to any value.
pub(crate) fn set_input_index(page: &FakePage, index: u32) {
    page.store(ConsoleInput::CONS, index);
}
