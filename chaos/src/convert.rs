// SPDX-License-Identifier: GPL-3.0-or-later
//! Conversions of numbers that cannot fail on the machines that Xen runs on.

/// Returns the same number as an index or a size in memory.
#[must_use]
pub(crate) fn u64_to_usize(number: u64) -> usize {
    const { assert!(size_of::<usize>() >= size_of::<u64>(), "chaos needs a 64-bit machine") };
    #[expect(clippy::cast_possible_truncation, reason = "checked above")]
    let number = number as usize;
    number
}
