// SPDX-License-Identifier: GPL-3.0-or-later
//! Private pages that granted pages are copied to and from.

use super::{DomId, GrantRef, PAGE_SIZE};

/// Number of a buffer in [`PageBuffers`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferIndex(pub usize);

/// Private buffers of one page each, so that no copy crosses a page.
#[derive(Debug)]
pub struct PageBuffers(Box<[Page]>);

#[derive(Clone, Debug)]
#[repr(C, align(4096))]
struct Page([u8; PAGE_SIZE]);

impl PageBuffers {
    /// Creates `count` buffers.
    #[must_use]
    pub fn new(count: usize) -> Self {
        Self(vec![Page([0; PAGE_SIZE]); count].into_boxed_slice())
    }

    /// Returns a buffer.
    ///
    /// # Panics
    /// There is no such buffer.
    #[must_use]
    pub fn get(&self, index: BufferIndex) -> &[u8; PAGE_SIZE] {
        &self.0[index.0].0
    }

    /// Returns a buffer.
    ///
    /// # Panics
    /// There is no such buffer.
    pub fn get_mut(&mut self, index: BufferIndex) -> &mut [u8; PAGE_SIZE] {
        &mut self.0[index.0].0
    }

    /// Returns all buffers.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut [u8; PAGE_SIZE]> {
        self.0.iter_mut().map(|page| &mut page.0)
    }
}

/// A copy between a guest's page and the beginning of a buffer.
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
    /// The private end of the copy.
    pub buffer: BufferIndex,
    /// Whether the copy succeeded; set by [`Host::fetch`](super::Host::fetch) and
    /// [`Host::deliver`](super::Host::deliver).
    pub done: bool,
}
