// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where mappings go in the address space of a process.
//!
//! A process that creates one guest and exits lives for a few milliseconds. Mappings close to the
//! vDSO, which the kernel maps into each process, share its page tables. Elsewhere dom0's kernel
//! has to create page tables and free them at exit, which takes several hypercalls in a PV dom0.
//! The gain shows in the instructions of `chaos create` (`scripts/bench cost`).
//!
//! `unsafe`: reading the address of the vDSO is a call of the C library.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::ptr;

/// The distance from the vDSO at which the first mapping is requested, in bytes.
const DISTANCE: u64 = 64 << 10;

/// The mappings that get a hint: those for one guest, and some more. A process that creates more
/// mappings leaves the choice to the kernel, which reuses addresses.
const HINTS: u32 = 8;

/// Chooses an address hint for each new mapping.
///
/// A hint has no influence on correctness: where something is mapped already, the kernel chooses
/// another address.
#[derive(Debug)]
pub(crate) struct Placement {
    /// The next hint; 0 leaves the choice to the kernel.
    next: Cell<usize>,
    /// How many hints are left.
    left: Cell<u32>,
}

impl Placement {
    /// Leaves the choice to the kernel.
    pub(crate) const fn anywhere() -> Self {
        Self { next: Cell::new(0), left: Cell::new(0) }
    }

    /// Places the first mappings close to the vDSO, one after the other.
    pub(crate) fn near_vdso() -> Self {
        // SAFETY: `getauxval` has no preconditions: it reads a table that the kernel passed to the
        // process, and returns 0 if the entry is missing.
        let vdso = unsafe { libc::getauxval(libc::AT_SYSINFO_EHDR) };
        let first = if vdso == 0 { 0 } else { vdso.saturating_add(DISTANCE) };
        Self { next: Cell::new(usize::try_from(first).unwrap_or(0)), left: Cell::new(HINTS) }
    }

    /// Returns the address to pass to `mmap`.
    pub(crate) fn hint(&self) -> *mut libc::c_void {
        let address = match self.left.get() {
            0 => 0,
            left => {
                self.left.set(left - 1);
                self.next.get()
            }
        };
        ptr::without_provenance_mut(address)
    }

    /// Notes where a mapping ends: the next one is requested there.
    pub(crate) fn mapped_until(&self, end: usize) {
        self.next.set(end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_mappings_follow_each_other_and_the_kernel_chooses_the_rest() {
        let placement = Placement::near_vdso();
        assert!(!placement.hint().is_null());
        placement.mapped_until(0x5000);
        for _ in 1..HINTS {
            assert_eq!(placement.hint().addr(), 0x5000);
        }
        assert!(placement.hint().is_null());
    }

    #[test]
    fn without_hints_the_kernel_chooses() {
        let placement = Placement::anywhere();
        placement.mapped_until(0x5000);
        assert!(placement.hint().is_null());
    }
}
