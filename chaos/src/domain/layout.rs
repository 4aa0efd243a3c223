// SPDX-License-Identifier: GPL-3.0-or-later
//! The layout of a guest's memory.
//!
//! ```text
//! 0           image, at the addresses that it names; the rest is free
//!             ramdisk, page-aligned, at the highest free address
//! low end     end of memory, or of its part below the hole
//! specials    boot page      start_info, module list, memory map, command line
//!             device page    noxs, sealed read-only
//!             answer page    the guest's answers to sysctl requests
//!             rings          console (1), then transmit and receive of each vif (2), then disks (1)
//!             spare          without memory: the rings of devices that are added later
//!             overlay (2)    without memory: the guest maps shared_info and its grant table here
//! 0xfc000000  hole up to 4 GiB (local APIC at 0xfee00000)
//! 4 GiB       the rest of the memory
//! ```
//!
//! A guest that finds its devices in XenStore has a page of ACPI tables instead of the device page
//! and the answer page. Its rings are those of XenStore and the console; it chooses the places of
//! the others itself.
//!
//! The specials are additional pages behind the guest's memory, not a part of it. Inside the
//! memory, sealing the device page would split up a mapping of 2 MiB, which costs six times as much
//! as all other specials together. The guest's memory map marks them as reserved.

use noxs::MAX_RING_PAGES;
use xen::memory::{MemoryKind, MemoryRange};
use xen::units::{Bytes, Gfn, Pages};

/// First frame of the hole below 4 GiB (`libxl_x86.c`: the lowest special address of a PVH guest).
pub(super) const HOLE_START: Gfn = Gfn(0xfc000);

/// First frame after the hole.
pub(super) const HOLE_END: Gfn = Gfn(0x100000);

/// Frames where the guest maps pages of Xen: `shared_info` and one frame of its grant table.
pub(crate) const OVERLAY_FRAMES: u32 = 2;

/// Returns the first overlay frame of a guest with a device page, given its first ring page. Its place
/// does not depend on the guest's devices, so the frames of all rings that the guest may ever have
/// follow from the first.
pub(crate) fn noxs_overlay(rings: Gfn) -> Gfn {
    Gfn(rings.0 + MAX_RING_PAGES as u64)
}

/// The layout of one guest's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The guest's memory, without the specials.
    pub memory: Pages,
    /// First special frame: the boot page.
    pub boot_page: Gfn,
    /// The pages of noxs, if the guest finds its devices in the device page.
    pub noxs: Option<NoxsPages>,
    /// The ACPI tables, for an unmodified kernel.
    pub acpi: Option<Gfn>,
    /// First ring page.
    pub rings: Gfn,
    /// Number of ring pages.
    pub ring_count: u64,
    /// First overlay frame.
    pub overlay: Gfn,
    /// End of the memory below the hole; the specials begin here.
    pub low_end: Gfn,
}

/// The pages that noxs shares with a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoxsPages {
    /// The device page.
    pub device_page: Gfn,
    /// The answer page.
    pub answer_page: Gfn,
}

impl Layout {
    /// Returns the number of pages of the specials that have memory: from the boot page to the last
    /// ring.
    #[must_use]
    pub fn specials(&self) -> Pages {
        Pages(self.rings.0 + self.ring_count - self.boot_page.0)
    }

    /// Returns the physical address of a byte of the boot page.
    ///
    /// # Panics
    /// The byte is not below 4 GiB, which is a bug: the boot page is below [`HOLE_START`].
    pub(super) fn in_boot_page(&self, offset: usize) -> u32 {
        u32::try_from((self.boot_page.0 << 12) + offset as u64)
            .expect("the boot page is below the hole")
    }

    /// Returns the end of the memory that the image and the ramdisk may use.
    #[must_use]
    pub fn usable_end(&self) -> u64 {
        self.low_end.0 << 12
    }

    /// Returns the end of the specials, which include the overlay.
    #[must_use]
    pub fn specials_end(&self) -> u64 {
        (self.overlay.0 + u64::from(OVERLAY_FRAMES)) << 12
    }

    /// Returns the memory map for the guest: the memory that it may use, and the specials, which it
    /// must leave alone.
    pub(super) fn memory_map(&self) -> impl Iterator<Item = MemoryRange> {
        let low_end = self.low_end.0 << 12;
        let range = |start, size, kind| MemoryRange { start, size: Bytes(size), kind };
        let low = range(0, self.usable_end(), MemoryKind::Ram);
        let specials = range(low_end, self.specials_end() - low_end, MemoryKind::Reserved);
        let high = (self.memory.0 << 12) - low_end;
        let high = range(HOLE_END.0 << 12, high, MemoryKind::Ram);
        [low, specials, high].into_iter().filter(|range| range.size.0 > 0)
    }

    /// Returns the memory below and above the hole, as first frame and number of pages.
    #[must_use]
    pub fn memory_runs(&self) -> [(Gfn, Pages); 2] {
        let low = Pages(self.low_end.0);
        [(Gfn(0), low), (HOLE_END, Pages(self.memory.0 - low.0))]
    }
}
