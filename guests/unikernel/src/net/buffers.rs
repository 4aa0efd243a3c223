// SPDX-License-Identifier: MIT OR Apache-2.0
//! Granted pages for frames on their way to and from the backend.
//!
//! All are granted once, at start. The backend can write the pages for received frames at any time,
//! so frames are copied out before they are parsed. Pages for sent frames are granted read-only, so
//! only this guest writes them.
//!
//! `unsafe`: the backend accesses the pages at the same time as the guest.
#![allow(unsafe_code)]

use crate::grant::{Access, GrantRef, GrantTable};
use crate::granted::GrantedPages;
use crate::layout::PAGE_SIZE;

/// The size of the buffer of a sent frame, in bytes; two share a page.
pub(crate) const TX_FRAME: usize = PAGE_SIZE / 2;

/// Pages for frames that the backend writes, one frame each.
#[derive(Debug)]
pub(crate) struct RxBuffers(GrantedPages);

impl RxBuffers {
    /// Allocates and grants `count` pages. Returns `None` if pages or grant entries do not suffice.
    pub(crate) fn new(count: usize, domid: u16, table: &mut GrantTable) -> Option<Self> {
        GrantedPages::new(count, Access::ReadWrite, domid, table).map(Self)
    }

    /// Returns the number of buffers.
    pub(crate) fn count(&self) -> usize {
        self.0.count()
    }

    /// Returns the grant of buffer `number`, if it exists.
    pub(crate) fn grant(&self, number: usize) -> Option<GrantRef> {
        self.0.grant(number)
    }

    /// Copies bytes out of a buffer. Returns `None` if the buffer does not exist or does not
    /// contain all of them.
    pub(crate) fn copy_out(&self, number: usize, offset: usize, to: &mut [u8]) -> Option<()> {
        if number >= self.count() || offset.checked_add(to.len())? > PAGE_SIZE {
            return None;
        }
        self.0.copy_out(number * PAGE_SIZE + offset, to)
    }
}

/// The pages of the buffer of a long frame: nearly 64 KiB.
pub(crate) const LONG_PAGES: usize = 16;

/// The size of the longest frame in bytes.
pub(crate) const LONG_FRAME: usize = LONG_PAGES * PAGE_SIZE - 1;

/// Buffers for long frames that the backend reads, each of [`LONG_PAGES`] pages.
#[derive(Debug)]
pub(crate) struct LongBuffers(GrantedPages);

impl LongBuffers {
    /// Allocates and grants the pages of `count` buffers. Returns `None` if pages or grant entries
    /// do not suffice.
    pub(crate) fn new(count: usize, domid: u16, table: &mut GrantTable) -> Option<Self> {
        GrantedPages::new(count * LONG_PAGES, Access::ReadOnly, domid, table).map(Self)
    }

    /// Returns the grants of the pages of buffer `number`; none if it does not exist.
    pub(crate) fn grants(&self, number: usize) -> impl Iterator<Item = GrantRef> {
        let first = number * LONG_PAGES;
        (first..first + LONG_PAGES).filter_map(|page| self.0.grant(page))
    }

    /// Returns the bytes of buffer `number`, to write to.
    ///
    /// # Panics
    /// If the buffer does not exist.
    pub(crate) fn bytes(&mut self, number: usize) -> &mut [u8] {
        const SIZE: usize = LONG_PAGES * PAGE_SIZE;
        assert!(number < self.0.count() / LONG_PAGES, "long tx buffer {number}");
        // SAFETY: the slice must be valid, initialized, and have no other reference for its
        // lifetime. `number` was checked, so the bytes lie in the pages that `new` allocated for
        // good, and they have some value (`heap::take`). They are reachable only through `self`,
        // which is borrowed mutably, and the backend can only read them, because the grants are
        // read-only.
        unsafe { core::slice::from_raw_parts_mut(self.0.start().add(number * SIZE), SIZE) }
    }
}

/// Buffers for frames that the backend reads, two in a page.
#[derive(Debug)]
pub(crate) struct TxBuffers(GrantedPages);

/// The location of a sent frame, for the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TxLocation {
    /// The grant of the page.
    pub(crate) grant: GrantRef,
    /// The frame's offset in the page, in bytes.
    pub(crate) offset: usize,
}

impl TxBuffers {
    /// Allocates and grants `pages` pages. Returns `None` if pages or grant entries do not suffice.
    pub(crate) fn new(pages: usize, domid: u16, table: &mut GrantTable) -> Option<Self> {
        GrantedPages::new(pages, Access::ReadOnly, domid, table).map(Self)
    }

    /// Returns the number of buffers.
    pub(crate) fn count(&self) -> usize {
        self.0.count() * (PAGE_SIZE / TX_FRAME)
    }

    /// Returns the location of buffer `number`.
    ///
    /// # Panics
    /// If the buffer does not exist.
    pub(crate) fn location(&self, number: usize) -> TxLocation {
        let Some(grant) = self.0.grant(number * TX_FRAME / PAGE_SIZE) else {
            panic!("tx buffer {number}")
        };
        TxLocation { grant, offset: number * TX_FRAME % PAGE_SIZE }
    }

    /// Returns the bytes of buffer `number`, to write to.
    ///
    /// # Panics
    /// If the buffer does not exist.
    pub(crate) fn bytes(&mut self, number: usize) -> &mut [u8] {
        assert!(number < self.count(), "tx buffer {number}");
        // SAFETY: the slice must be valid, initialized, and have no other reference for its
        // lifetime. `number` was checked, so the bytes lie in the pages that `new` allocated for
        // good, and they have some value (`heap::take`). They are reachable only through `self`,
        // which is borrowed mutably, and the backend can only read them, because the grant is
        // read-only.
        unsafe { core::slice::from_raw_parts_mut(self.0.start().add(number * TX_FRAME), TX_FRAME) }
    }
}
