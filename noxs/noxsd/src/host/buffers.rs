//! Private pages that what a guest has granted is copied to and from.

use super::{DomId, GrantRef, PAGE_SIZE};

/// Number of a buffer in [`PageBuffers`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferIndex(pub usize);

/// Private buffers, each one page so that no copy crosses a page.
#[derive(Debug)]
pub struct PageBuffers(Box<[Page]>);

#[derive(Clone, Debug)]
#[repr(C, align(4096))]
struct Page([u8; PAGE_SIZE]);

impl PageBuffers {
    /// Creates that many buffers.
    #[must_use]
    pub fn new(count: usize) -> Self {
        Self(vec![Page([0; PAGE_SIZE]); count].into_boxed_slice())
    }

    /// Returns the buffer with the number.
    ///
    /// # Panics
    /// If there is no such buffer.
    #[must_use]
    pub fn get(&self, index: BufferIndex) -> &[u8; PAGE_SIZE] {
        &self.0[index.0].0
    }

    /// Returns the buffer with the number.
    ///
    /// # Panics
    /// If there is no such buffer.
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
    /// Whose page.
    pub domid: DomId,
    /// Grant reference of the page.
    pub gref: GrantRef,
    /// Where in the page; together with `length` at most a page.
    pub offset: u16,
    /// How many bytes.
    pub length: u16,
    /// The private end of the copy.
    pub buffer: BufferIndex,
    /// Whether it was done; set by [`Host::fetch`](super::Host::fetch) and
    /// [`Host::deliver`](super::Host::deliver).
    pub done: bool,
}
