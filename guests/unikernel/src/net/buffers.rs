//! Pages that frames lie in while they go to the backend and come from it.
//!
//! All are granted once, at start. Pages for received frames can be written by the backend at any
//! time: frames are copied out before anything looks at them. Pages for sent frames are granted
//! read-only, so that only this guest writes them.
//!
//! `unsafe`, because the backend touches the pages while the guest does.
#![allow(unsafe_code)]

use alloc::vec::Vec;

use crate::grant::{Access, GrantRef, GrantTable};
use crate::heap;
use crate::layout::PAGE_SIZE;

/// Room for one sent frame; two share a page.
pub(crate) const TX_FRAME: usize = PAGE_SIZE / 2;

/// Granted pages, one after the other.
#[derive(Debug)]
struct Pages {
    start: *mut u8,
    grants: Vec<GrantRef>,
}

impl Pages {
    fn new(count: usize, access: Access, domid: u16, table: &mut GrantTable) -> Option<Self> {
        let start = heap::take_pages(count)?;
        let first = (start.expose_provenance() / PAGE_SIZE) as u64;
        let grants: Option<Vec<_>> =
            (0..count as u64).map(|page| table.grant(domid, first + page, access)).collect();
        Some(Self { start, grants: grants? })
    }
}

/// Pages for frames that the backend writes, one frame each.
#[derive(Debug)]
pub(crate) struct RxBuffers(Pages);

impl RxBuffers {
    /// Takes and grants `count` pages; `None` if there are not enough pages or grant entries.
    pub(crate) fn new(count: usize, domid: u16, table: &mut GrantTable) -> Option<Self> {
        Pages::new(count, Access::ReadWrite, domid, table).map(Self)
    }

    /// How many frames there is room for.
    pub(crate) fn count(&self) -> usize {
        self.0.grants.len()
    }

    /// The grant of buffer `number`, if there is such a buffer.
    pub(crate) fn grant(&self, number: usize) -> Option<GrantRef> {
        self.0.grants.get(number).copied()
    }

    /// Copies bytes out of a buffer. `None` if there is no such buffer or they do not lie in it.
    pub(crate) fn copy_out(&self, number: usize, offset: usize, to: &mut [u8]) -> Option<()> {
        if number >= self.count() || offset.checked_add(to.len())? > PAGE_SIZE {
            return None;
        }
        let from = self.0.start.wrapping_add(number * PAGE_SIZE + offset);
        // SAFETY: the bytes lie in the pages that `new` took, as was checked; `to` is private
        // memory, so the two do not overlap. The backend may write meanwhile: the copy is made by
        // assembly (`memcpy` is memory.s's), so that torn bytes are the worst that comes of it.
        unsafe { core::ptr::copy_nonoverlapping(from, to.as_mut_ptr(), to.len()) };
        Some(())
    }
}

/// Room for frames that the backend reads, two in a page.
#[derive(Debug)]
pub(crate) struct TxBuffers(Pages);

/// Where the backend finds a sent frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TxPlace {
    /// The granted page.
    pub(crate) grant: GrantRef,
    /// Where the frame begins in it, in bytes.
    pub(crate) offset: usize,
}

impl TxBuffers {
    /// Takes and grants `pages` pages; `None` if there are not enough pages or grant entries.
    pub(crate) fn new(pages: usize, domid: u16, table: &mut GrantTable) -> Option<Self> {
        Pages::new(pages, Access::ReadOnly, domid, table).map(Self)
    }

    /// How many frames there is room for.
    pub(crate) fn count(&self) -> usize {
        self.0.grants.len() * (PAGE_SIZE / TX_FRAME)
    }

    /// Where buffer `number` is.
    ///
    /// # Panics
    /// If there is no such buffer.
    pub(crate) fn place(&self, number: usize) -> TxPlace {
        let grant = self.0.grants[number * TX_FRAME / PAGE_SIZE];
        TxPlace { grant, offset: number * TX_FRAME % PAGE_SIZE }
    }

    /// The bytes of buffer `number`, to be written.
    ///
    /// # Panics
    /// If there is no such buffer.
    pub(crate) fn bytes(&mut self, number: usize) -> &mut [u8] {
        assert!(number < self.count(), "tx buffer {number}");
        // SAFETY: the bytes lie in the pages that `new` took for good, whose bytes have some value
        // (`heap::take`). Nothing else in this program refers to them while `self` is borrowed,
        // and the backend can only read them: the grant is read-only.
        unsafe { core::slice::from_raw_parts_mut(self.0.start.add(number * TX_FRAME), TX_FRAME) }
    }
}
