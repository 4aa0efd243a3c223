//! The words of one command.

use alloc::vec::Vec;

use crate::memory::{Memory, fits_in_transit, room};

/// The words of one command, one behind the other in one buffer.
#[derive(Debug, Default)]
pub(crate) struct Args {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Args {
    /// How many there are, the command's name among them.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Bytes of all words.
    pub(crate) fn total(&self) -> usize {
        self.bytes.len()
    }

    /// One word; empty if there is none with this number.
    pub(crate) fn get(&self, index: usize) -> &[u8] {
        let Some(end) = self.ends.get(index) else { return &[] };
        let start = index.checked_sub(1).and_then(|before| self.ends.get(before)).unwrap_or(&0);
        &self.bytes[*start..*end]
    }

    /// The words from one on.
    pub(crate) fn from(&self, first: usize) -> impl ExactSizeIterator<Item = &[u8]> {
        (first.min(self.len())..self.len()).map(|index| self.get(index))
    }

    /// Whether a word is this one, in any case.
    pub(crate) fn is(&self, index: usize, word: &str) -> bool {
        self.get(index).eq_ignore_ascii_case(word.as_bytes())
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        // A large command does not keep its memory.
        self.bytes.shrink_to(4096);
        self.ends.shrink_to(512);
    }

    /// Makes room for a word; `false` if there is no memory.
    pub(crate) fn reserve(&mut self, memory: &dyn Memory, bytes: usize) -> bool {
        let fits = |bytes| fits_in_transit(memory, bytes);
        room(&mut self.bytes, bytes, fits) && room(&mut self.ends, 1, fits)
    }

    /// Adds bytes to the word that is being read. Room was made by `reserve`.
    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Ends the word that is being read.
    pub(crate) fn end_word(&mut self) {
        self.ends.push(self.bytes.len());
    }
}
