// SPDX-License-Identifier: GPL-3.0-or-later
//! Private memory that granted pages are copied to and from.

use std::ops::Range;

use super::{DomId, GrantRef, PAGE_SIZE};

/// Private pages, one after the other.
#[derive(Debug)]
pub struct Buffers {
    memory: Box<[u8]>,
    /// Where the first page begins.
    start: usize,
    size: usize,
}

impl Buffers {
    /// Creates pages of zeros.
    #[must_use]
    pub fn new(pages: usize) -> Self {
        let size = pages * PAGE_SIZE;
        let memory = vec![0; size + PAGE_SIZE].into_boxed_slice();
        // A page begins within the first one. If the address were unknown, copies would only be
        // slower.
        let start = memory.as_ptr().align_offset(PAGE_SIZE).min(PAGE_SIZE);
        Self { memory, start, size }
    }

    /// Returns all bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.memory[self.start..][..self.size]
    }

    /// Returns all bytes.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..][..self.size]
    }

    /// Returns the bytes of a range.
    ///
    /// # Panics
    /// It is not within the buffers.
    #[must_use]
    pub fn get(&self, range: Range<usize>) -> &[u8] {
        &self.bytes()[range]
    }

    /// Returns the bytes of a range.
    ///
    /// # Panics
    /// It is not within the buffers.
    pub fn get_mut(&mut self, range: Range<usize>) -> &mut [u8] {
        &mut self.bytes_mut()[range]
    }
}

/// A copy between a guest's page and the buffers.
#[derive(Clone, Copy, Debug)]
pub struct GrantCopy {
    /// The domain that granted the page.
    pub domid: DomId,
    /// Grant reference of the page.
    pub gref: GrantRef,
    /// Offset in the page, in bytes; together with `length` at most a page.
    pub offset: u16,
    /// Bytes to copy.
    pub length: u16,
    /// Offset of the private end in the buffers, in bytes.
    pub at: usize,
    /// Whether the copy succeeded; set by [`Host::fetch`](super::Host::fetch) and
    /// [`Host::deliver`](super::Host::deliver).
    pub done: bool,
}

impl GrantCopy {
    /// Returns where the private end lies in the buffers.
    #[must_use]
    pub fn local(&self) -> Range<usize> {
        self.at..self.at + usize::from(self.length)
    }
}
