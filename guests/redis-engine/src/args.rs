// SPDX-License-Identifier: MIT OR Apache-2.0
//! The arguments of one command.

use alloc::vec::Vec;

use crate::memory::{Memory, fits_in_transit, free, room};

/// Returns whether a table of `old` bytes can be replaced by one of `new` bytes, and whether the
/// request then holds at most half of what is free without it. Its other tables hold `others`
/// bytes.
fn fits_in_share(memory: &dyn Memory, others: usize, old: usize, new: usize) -> bool {
    let without = free(memory).saturating_add(others).saturating_add(old);
    fits_in_transit(memory, new) && others.saturating_add(new) <= without / 2
}

/// The arguments of one command, its name included, one after the other in one buffer.
#[derive(Debug, Default)]
pub(crate) struct Args {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Args {
    /// Returns their number, including the command's name.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Returns the total length of all arguments in bytes.
    pub(crate) fn total(&self) -> usize {
        self.bytes.len()
    }

    /// Returns one argument; empty if there is none with this number.
    pub(crate) fn get(&self, index: usize) -> &[u8] {
        let Some(end) = self.ends.get(index) else { return &[] };
        let start = index.checked_sub(1).and_then(|before| self.ends.get(before)).unwrap_or(&0);
        &self.bytes[*start..*end]
    }

    /// Returns the arguments from number `first` on.
    pub(crate) fn from(&self, first: usize) -> impl ExactSizeIterator<Item = &[u8]> {
        (first.min(self.len())..self.len()).map(|index| self.get(index))
    }

    /// Returns whether an argument is `word`, ignoring case.
    pub(crate) fn is(&self, index: usize, word: &str) -> bool {
        self.get(index).eq_ignore_ascii_case(word.as_bytes())
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        // Free the memory of a large command.
        self.bytes.shrink_to(4096);
        self.ends.shrink_to(512);
    }

    /// Makes room for an argument. Returns false if memory runs out, or if the arguments would take
    /// more than half of what is free without them.
    pub(crate) fn reserve(&mut self, memory: &dyn Memory, bytes: usize) -> bool {
        let (held, table) = (self.held(), self.bytes.capacity());
        if !room(&mut self.bytes, bytes, |new| fits_in_share(memory, held - table, table, new)) {
            return false;
        }
        let (held, table) = (self.held(), self.ends.capacity() * size_of::<usize>());
        room(&mut self.ends, 1, |new| fits_in_share(memory, held - table, table, new))
    }

    /// Returns the bytes of memory that the arguments take.
    pub(crate) fn held(&self) -> usize {
        self.bytes.capacity() + self.ends.capacity() * size_of::<usize>()
    }

    /// Adds bytes to the argument that is being read. `reserve` must have made room.
    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Completes the argument that is being read.
    pub(crate) fn end_argument(&mut self) {
        self.ends.push(self.bytes.len());
    }
}
