// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory that another domain writes, and how slots are copied out of it and into it.

use core::sync::atomic::{Ordering, fence};

use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Memory that another domain may change at any time: one ring page, or several one after the
/// other.
///
/// No implementation may return a reference to the memory. What was read is a copy: check it once,
/// use it, and do not read it again for the same decision.
///
/// Offsets are in bytes; those of words are multiples of four. An access outside of the memory is a
/// bug of the caller and panics.
pub trait SharedPage {
    /// Loads a little-endian word with acquire order: later reads see what the other end wrote
    /// before it stored the word, and later writes stay after it.
    fn load(&self, offset: usize) -> u32;

    /// Stores a little-endian word with release order: an end that loads it sees earlier writes,
    /// and earlier reads are complete.
    fn store(&self, offset: usize, value: u32);

    /// Copies bytes out. Bytes that the other domain changes meanwhile may be old or new, each on
    /// its own.
    fn read(&self, offset: usize, bytes: &mut [u8]);

    /// Copies bytes in.
    fn write(&self, offset: usize, bytes: &[u8]);

    /// Orders all accesses before it with all after it, stores before loads included.
    ///
    /// The memory of a model checker has a fence of its own; others keep this one.
    fn fence(&self) {
        fence(Ordering::SeqCst);
    }
}

/// Copies a value out of a slot, word by word: slots are aligned to words and a few words long.
pub(crate) fn read_slot<T: FromBytes + IntoBytes>(page: &impl SharedPage, offset: usize) -> T {
    const { assert!(size_of::<T>().is_multiple_of(4)) };
    let mut value = T::new_zeroed();
    let (words, _) = value.as_mut_bytes().as_chunks_mut();
    for (index, word) in words.iter_mut().enumerate() {
        *word = page.load(offset + index * 4).to_le_bytes();
    }
    value
}

/// Copies a value into a slot, word by word.
pub(crate) fn write_slot<T: IntoBytes + Immutable>(
    page: &impl SharedPage,
    offset: usize,
    value: &T,
) {
    const { assert!(size_of::<T>().is_multiple_of(4)) };
    let (words, _) = value.as_bytes().as_chunks();
    for (index, word) in words.iter().enumerate() {
        page.store(offset + index * 4, u32::from_le_bytes(*word));
    }
}
