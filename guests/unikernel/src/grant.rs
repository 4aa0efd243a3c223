//! The grant table: which pages of this guest another domain may touch (`public/grant_table.h`).
//!
//! `unsafe`, because Xen reads and writes the table while the guest does.
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

/// Number of a granted page, valid for the domain it was granted to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GrantRef(pub(crate) u32);

/// What the other domain may do with a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    ReadOnly,
    ReadWrite,
}

/// Why nothing can be granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GrantError {
    /// There is no frame to map the table at.
    NoFrame,
    /// Xen refuses to map the table.
    Xen(HypercallError),
}

/// The first frame of the table. Grants are never taken back: a guest's network buffers stay
/// granted as long as it lives, so that a packet costs no change of the table.
#[derive(Debug)]
pub(crate) struct GrantTable {
    entries: *mut u8,
    next: u32,
}

impl GrantTable {
    /// Maps the table.
    pub(crate) fn map(guest: &mut Guest) -> Result<Self, GrantError> {
        let gfn = guest.take_overlay_frame().ok_or(GrantError::NoFrame)?;
        // SAFETY: the frame is an overlay frame, or one that the heap gave away for good: nothing
        // of this program lies there.
        unsafe { add_to_physmap(MapSpace::GrantTable, gfn) }.map_err(GrantError::Xen)?;
        Ok(Self { entries: pointer(gfn * PAGE_SIZE_U64), next: FIRST_GUEST })
    }

    /// A table in private memory.
    #[cfg(test)]
    pub(crate) fn over(entries: *mut u8) -> Self {
        Self { entries, next: FIRST_GUEST }
    }

    /// Lets `domid` use the page at frame `gfn`; `None` if the table is full or the frame is
    /// beyond what an entry can name.
    pub(crate) fn grant(&mut self, domid: u16, gfn: u64, access: Access) -> Option<GrantRef> {
        // The addresses of a host program are larger than a guest's; the tests put the upper part
        // back.
        let gfn = if cfg!(test) { gfn & u64::from(u32::MAX) } else { gfn };
        let frame = u32::try_from(gfn).ok().filter(|_| (self.next as usize) < ENTRIES_PER_FRAME)?;
        let reference = self.next;
        self.next += 1;
        let flags = match access {
            Access::ReadOnly => GTF_PERMIT_ACCESS | GTF_READONLY,
            Access::ReadWrite => GTF_PERMIT_ACCESS,
        };
        // SAFETY: entry `reference` (8 bytes: flags u16, domid u16, frame u32) lies in the mapped
        // frame, aligned; it is unused, so only this code writes it.
        unsafe {
            let entry = self.entries.add(reference as usize * GRANT_ENTRY_V1_SIZE);
            entry.add(GRANT_ENTRY_FRAME).cast::<u32>().write_volatile(frame);
            entry.add(GRANT_ENTRY_DOMID).cast::<u16>().write_volatile(domid);
            // The flags make the entry valid: they go last, after the frame and the domain.
            AtomicU16::from_ptr(entry.cast()).store(flags, Ordering::Release);
        }
        Some(GrantRef(reference))
    }
}
