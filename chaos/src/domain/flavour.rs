//! What a shell is made for.

use xen::units::{KiB, Pages};

use super::discovery::GuestSide;
use crate::config::Store;

/// Everything about a domain that must be known before its image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flavour {
    /// All memory of the guest, in KiB; a multiple of 4.
    pub memory: KiB,
    /// Number of virtual CPUs.
    pub vcpus: u32,
    /// Whether it has a console.
    pub console: bool,
    /// Number of network interfaces.
    pub vifs: u16,
    /// How its guest finds its devices, and who serves them.
    pub store: Store,
}

/// Pages a domain's paging pool needs before any part of its memory is split up: Xen's own roots
/// (11), the monitor table, the tables above the last level, and what the first start takes on
/// Intel (2).
const PAGING_BASE: u64 = 24;

impl Flavour {
    /// The guest's memory in pages.
    #[must_use]
    pub fn memory_pages(&self) -> Pages {
        Pages(self.memory.0 / 4)
    }

    /// Size of the paging pool: Xen gives each domain 256 pages, which is more than small guests
    /// are themselves.
    ///
    /// Enough for each vCPU's monitor table and for each 2 MiB of memory to be split into single
    /// pages, so that the guest cannot be killed for lack of it.
    #[must_use]
    pub fn paging_pages(&self) -> Pages {
        // The specials may begin a region of their own.
        let regions = self.memory_pages().0.div_ceil(512) + 1;
        let directories = regions.div_ceil(512);
        let elsewhere = self.store.discovery().paging_pages();
        Pages(PAGING_BASE + elsewhere + u64::from(self.vcpus) + regions + directories)
    }
}
