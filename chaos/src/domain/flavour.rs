//! What a shell is prepared for.

use xen::units::{KiB, Pages};

use super::discovery::GuestSide;
use crate::config::Store;

/// The properties of a domain that must be known before its image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flavour {
    /// All memory of the guest, in KiB; a multiple of 4.
    pub memory: KiB,
    /// Number of virtual CPUs.
    pub vcpus: u32,
    /// Whether the domain has a console.
    pub console: bool,
    /// Number of network interfaces.
    pub vifs: u16,
    /// How the guest finds its devices, and which backends serve them.
    pub store: Store,
}

/// Pages of the paging pool that a domain needs before any part of its memory is split up: Xen's
/// roots (11), the monitor table, the tables above the last level, and those of the first start on
/// Intel (2).
const PAGING_BASE: u64 = 24;

impl Flavour {
    /// Returns the guest's memory in pages.
    #[must_use]
    pub fn memory_pages(&self) -> Pages {
        Pages(self.memory.0 / 4)
    }

    /// Returns the size of the paging pool. Xen's default is 256 pages, more than the memory of a
    /// small guest.
    ///
    /// It suffices for the monitor table of each vCPU, and for all memory to be split into single
    /// pages. So the pool cannot run out, which would kill the guest.
    #[must_use]
    pub fn paging_pages(&self) -> Pages {
        // One more, because the specials may be in a region of their own.
        let regions = self.memory_pages().0.div_ceil(512) + 1;
        let directories = regions.div_ceil(512);
        let by_discovery = self.store.discovery().paging_pages();
        Pages(PAGING_BASE + by_discovery + u64::from(self.vcpus) + regions + directories)
    }
}
