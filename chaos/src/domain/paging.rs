// SPDX-License-Identifier: GPL-3.0-or-later
//! The size of a domain's paging pool.

use xen::units::Pages;

use super::discovery::GuestSide;
use super::flavour::Flavour;

/// Pages of the paging pool that a domain needs before any part of its memory is split up: Xen's
/// roots (11), the monitor table, the tables above the last level, and those of the first start on
/// Intel (2).
const PAGING_BASE: u64 = 24;

impl Flavour {
    /// Returns the size of the paging pool. Xen's default is 256 pages, more than the memory of a
    /// small guest.
    ///
    /// It suffices for the monitor table of each vCPU, and for all memory to be split into single
    /// pages. So the pool cannot run out, which would kill the guest.
    #[must_use]
    pub fn paging_pages(&self) -> Pages {
        // One more, because the specials may be in a region of their own.
        let regions = self.max_memory_pages().0.div_ceil(512) + 1;
        let directories = regions.div_ceil(512);
        let by_discovery = self.store.discovery().paging_pages();
        Pages(PAGING_BASE + by_discovery + u64::from(self.max_vcpus()) + regions + directories)
    }
}
