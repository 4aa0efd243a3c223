// SPDX-License-Identifier: GPL-3.0-or-later
//! Fills a page of a guest's memory. Numbers are little-endian.

/// The used bytes at the start of a page. Bytes that are not written are zero.
#[derive(Debug)]
pub(super) struct Page(Vec<u8>);

impl Page {
    /// Returns a page of which `size` bytes are used.
    pub(super) fn new(size: usize) -> Self {
        Self(vec![0; size])
    }

    /// Writes bytes.
    ///
    /// # Panics
    /// They are not all in the used part, which is a bug in the page's layout.
    pub(super) fn put(&mut self, at: usize, value: &[u8]) {
        self.0[at..at + value.len()].copy_from_slice(value);
    }

    /// Writes a 32-bit number.
    ///
    /// # Panics
    /// As [`Page::put`].
    pub(super) fn u32(&mut self, at: usize, value: u32) {
        self.put(at, &value.to_le_bytes());
    }

    /// Writes a 64-bit number.
    ///
    /// # Panics
    /// As [`Page::put`].
    pub(super) fn u64(&mut self, at: usize, value: u64) {
        self.put(at, &value.to_le_bytes());
    }

    /// Returns bytes that were written.
    pub(super) fn get(&self, range: std::ops::Range<usize>) -> &[u8] {
        &self.0[range]
    }

    /// Returns the used bytes.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}
