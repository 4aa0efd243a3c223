// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pages that a backend may access. They are granted once, when a device is set up, and stay granted
//! as long as the guest runs, so that no request needs a change of the grant table.
//!
//! `unsafe`: the backend accesses the pages at the same time as the guest.
#![allow(unsafe_code)]

use crate::grant::{Access, GrantRef, GrantTable};
use crate::heap;
use crate::layout::PAGE_SIZE;

/// Granted pages, one after the other. Their references are consecutive, too.
#[derive(Debug)]
pub(crate) struct GrantedPages {
    start: *mut u8,
    count: usize,
    first: GrantRef,
}

impl GrantedPages {
    /// Allocates `count` pages, at least one, and grants them. Returns `None` if pages or grant
    /// entries do not suffice.
    pub(crate) fn new(
        count: usize,
        access: Access,
        domid: u16,
        table: &mut GrantTable,
    ) -> Option<Self> {
        let first = table.reserve(count)?;
        let start = heap::take_pages(count)?;
        let gfn = (start.expose_provenance() / PAGE_SIZE) as u64;
        for (page, reference) in (gfn..).zip(first.0..).take(count) {
            table.grant(GrantRef(reference), domid, page, access)?;
        }
        Some(Self { start, count, first })
    }

    /// Splits the pages into parts of `pages` pages, which must not be 0. Drops the rest.
    pub(crate) fn split(self, pages: usize) -> impl Iterator<Item = Self> {
        (0..self.count / pages).filter_map(move |part| {
            let first = self.grant(part * pages)?;
            let start = self.start.wrapping_add(part * pages * PAGE_SIZE);
            Some(Self { start, count: pages, first })
        })
    }

    /// Returns the number of pages.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Returns the address of the first page.
    pub(crate) fn start(&self) -> *mut u8 {
        self.start
    }

    /// Returns the grant of a page, if it exists.
    pub(crate) fn grant(&self, page: usize) -> Option<GrantRef> {
        let number = u32::try_from(page).ok().filter(|_| page < self.count)?;
        Some(GrantRef(self.first.0 + number))
    }

    /// Copies bytes out. Returns `None` if the pages do not contain all of them.
    pub(crate) fn copy_out(&self, offset: usize, to: &mut [u8]) -> Option<()> {
        self.check(offset, to.len())?;
        let from = self.start.wrapping_add(offset);
        // SAFETY: the source must be readable and must not overlap `to`. The bytes were checked to
        // lie in the pages that `new` allocated for good, and `to` is private memory. The backend
        // may write the source at the same time. The copy is assembly (`memcpy` of memory.s), which
        // reads each byte as it was before or after the write, and both are valid.
        unsafe { core::ptr::copy_nonoverlapping(from, to.as_mut_ptr(), to.len()) };
        Some(())
    }

    /// Copies bytes in. Returns `None` if the pages do not have room for all of them.
    pub(crate) fn copy_in(&mut self, offset: usize, from: &[u8]) -> Option<()> {
        self.check(offset, from.len())?;
        let to = self.start.wrapping_add(offset);
        // SAFETY: the target must be writable and must not overlap `from`. The bytes were checked to
        // lie in the pages that `new` allocated for good and to which no reference exists, and
        // `from` is private memory. The backend may access the target at the same time. The copy is
        // assembly (`memcpy` of memory.s), so a concurrent access only decides which bytes each sees.
        unsafe { core::ptr::copy_nonoverlapping(from.as_ptr(), to, from.len()) };
        Some(())
    }

    fn check(&self, offset: usize, length: usize) -> Option<()> {
        (offset.checked_add(length)? <= self.count * PAGE_SIZE).then_some(())
    }
}
