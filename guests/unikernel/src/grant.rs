// SPDX-License-Identifier: MIT OR Apache-2.0
//! The grant table: which pages of this guest other domains may access (`public/grant_table.h`).
//!
//! `unsafe`: Xen reads and writes the table at the same time as the guest.
#![allow(unsafe_code)]

use core::sync::atomic::{AtomicU16, Ordering};

use xen_abi::grant_table::{
    ENTRIES_PER_FRAME, GRANT_ENTRY_DOMID, GRANT_ENTRY_FRAME, GRANT_ENTRY_V1_SIZE,
    GTF_PERMIT_ACCESS, GTF_READONLY,
};
use xen_abi::grants::FIRST_GUEST;

use crate::guest::Guest;
use crate::hypercall::{HypercallError, MapSpace, add_to_physmap};
use crate::layout::{PAGE_SIZE_U64, pointer};

/// The reference of a granted page, for the domain to which it is granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GrantRef(pub(crate) u32);

/// The access that another domain gets to a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    ReadOnly,
    ReadWrite,
}

/// Why pages cannot be granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GrantError {
    /// No frame is free to map the table at.
    NoFrame,
    /// Xen refuses to map the table.
    Xen(HypercallError),
}

/// The first frame of the table. Grants are never revoked: the buffers of devices stay granted as
/// long as the guest runs, so that requests need no changes of the table.
#[derive(Debug)]
pub(crate) struct GrantTable {
    entries: *mut u8,
    next: u32,
}

impl GrantTable {
    /// Maps the table.
    pub(crate) fn map(guest: &mut Guest) -> Result<Self, GrantError> {
        let gfn = guest.take_overlay_frame().ok_or(GrantError::NoFrame)?;
        // SAFETY: no part of this program may lie in the frame. It is an overlay frame, or was
        // taken from the heap for good.
        unsafe { add_to_physmap(MapSpace::GrantTable, gfn) }.map_err(GrantError::Xen)?;
        Ok(Self { entries: pointer(gfn * PAGE_SIZE_U64), next: FIRST_GUEST })
    }

    /// Returns a table in private memory.
    #[cfg(test)]
    pub(crate) fn over(entries: *mut u8) -> Self {
        Self { entries, next: FIRST_GUEST }
    }

    /// Reserves `count` references, one after the other, and returns the first. Returns `None` if the
    /// table has fewer left.
    pub(crate) fn reserve(&mut self, count: usize) -> Option<GrantRef> {
        let first = self.next;
        let next = first.checked_add(u32::try_from(count).ok()?)?;
        if next as usize > ENTRIES_PER_FRAME {
            return None;
        }
        self.next = next;
        Some(GrantRef(first))
    }

    /// Returns how many references are left.
    #[cfg(feature = "hot-plug")]
    pub(crate) fn left(&self) -> usize {
        ENTRIES_PER_FRAME.saturating_sub(self.next as usize)
    }

    /// Grants `domid` access to the page at frame `gfn` by a reference that was reserved. Returns
    /// `None` if the frame number does not fit into an entry.
    ///
    /// # Panics
    /// If the reference is not reserved.
    pub(crate) fn grant(
        &mut self,
        reference: GrantRef,
        domid: u16,
        gfn: u64,
        access: Access,
    ) -> Option<()> {
        // Addresses of a host program are larger than a guest's. Tests restore the upper part.
        let gfn = if cfg!(test) { gfn & u64::from(u32::MAX) } else { gfn };
        let frame = u32::try_from(gfn).ok()?;
        assert!((FIRST_GUEST..self.next).contains(&reference.0), "grant {} is free", reference.0);
        let flags = match access {
            Access::ReadOnly => GTF_PERMIT_ACCESS | GTF_READONLY,
            Access::ReadWrite => GTF_PERMIT_ACCESS,
        };
        // SAFETY: the fields must be mapped, aligned, and written by this code only. The reference
        // is below `next`, which `reserve` keeps within `ENTRIES_PER_FRAME`, so its 8 bytes (flags
        // u16, domid u16, frame u32) lie in the frame, which is mapped for good; entries are
        // aligned to their size; and only this code writes entries from `FIRST_GUEST` on.
        unsafe {
            let entry = self.entries.add(reference.0 as usize * GRANT_ENTRY_V1_SIZE);
            entry.add(GRANT_ENTRY_FRAME).cast::<u32>().write_volatile(frame);
            entry.add(GRANT_ENTRY_DOMID).cast::<u16>().write_volatile(domid);
            // The flags make the entry valid, so they are written last.
            AtomicU16::from_ptr(entry.cast()).store(flags, Ordering::Release);
        }
        Some(())
    }
}
