//! Where things are in a guest's memory.
//!
//! ```text
//! 0           image (the guest's own addresses), then free memory
//!             ramdisk, page-aligned, as high as it fits
//! specials    boot page      start_info, module list, memory map, command line
//!             device page    noxs, sealed read-only
//!             answer page    the guest's answers to sysctl requests
//!             rings          console (1), then transmit and receive of each vif (2)
//!             overlay (2)    nothing: the guest maps shared_info and its grant table here
//! low end     end of memory, or of its part below the hole
//! 0xfc000000  hole up to 4 GiB (local APIC at 0xfee00000)
//! 4 GiB       the rest of the memory
//! ```
//!
//! The specials lie inside the guest's memory, not beside it, so a guest takes no more than it was
//! given, and no further page table. They are reserved in the memory map the guest gets.

use xen::units::{Gfn, Pages};

use super::flavour::Flavour;

/// First frame of the hole below 4 GiB (`libxl_x86.c`: the lowest special address of a PVH guest).
pub(super) const HOLE_START: Gfn = Gfn(0xfc000);

/// First frame after the hole.
pub(super) const HOLE_END: Gfn = Gfn(0x100000);

/// Frames the guest may map Xen's pages over: `shared_info` and one grant table frame.
pub(super) const OVERLAY_FRAMES: u64 = 2;

/// The map of one guest's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// All of the guest's memory.
    pub memory: Pages,
    /// First special frame: the boot page. What lies below is the guest's to use.
    pub boot_page: Gfn,
    /// The device page.
    pub device_page: Gfn,
    /// The answer page.
    pub answer_page: Gfn,
    /// First ring page.
    pub rings: Gfn,
    /// How many ring pages there are.
    pub ring_count: u64,
    /// First overlay frame.
    pub overlay: Gfn,
    /// End of the memory below the hole.
    pub low_end: Gfn,
}

impl Layout {
    /// The map for a flavour.
    #[must_use]
    pub fn new(flavour: &Flavour) -> Self {
        let memory = flavour.memory_pages();
        let low_end = memory.0.min(HOLE_START.0);
        let ring_count = u64::from(flavour.console) + 2 * u64::from(flavour.vifs);
        let overlay = low_end - OVERLAY_FRAMES;
        let rings = overlay - ring_count;
        Self {
            memory,
            boot_page: Gfn(rings - 3),
            device_page: Gfn(rings - 2),
            answer_page: Gfn(rings - 1),
            rings: Gfn(rings),
            ring_count,
            overlay: Gfn(overlay),
            low_end: Gfn(low_end),
        }
    }

    /// How many pages dom0 writes or shares: from the boot page to the last ring.
    #[must_use]
    pub fn mapped_specials(&self) -> Pages {
        Pages(self.overlay.0 - self.boot_page.0)
    }

    /// Where the boot page is from the first mapped special, in bytes; the others likewise.
    #[must_use]
    pub fn offset_of(&self, page: Gfn) -> usize {
        usize::try_from((page.0 - self.boot_page.0) << 12).unwrap_or(usize::MAX)
    }

    /// First byte the image and the ramdisk may not use.
    #[must_use]
    pub fn usable_end(&self) -> u64 {
        self.boot_page.0 << 12
    }

    /// Parts of the memory as runs of frames, in order.
    #[must_use]
    pub fn memory_runs(&self) -> [(Gfn, Pages); 2] {
        let low = Pages(self.low_end.0);
        [(Gfn(0), low), (HOLE_END, Pages(self.memory.0 - low.0))]
    }
}

#[cfg(test)]
mod tests {
    use xen::units::KiB;

    use super::*;

    fn layout(kib: u64, console: bool, vifs: u16) -> Layout {
        Layout::new(&Flavour { memory: KiB(kib), vcpus: 1, console, vifs })
    }

    #[test]
    fn specials_end_where_the_memory_ends() {
        let layout = layout(8192, true, 1);
        assert_eq!(layout.low_end, Gfn(2048));
        assert_eq!(layout.overlay, Gfn(2046));
        assert_eq!(layout.rings, Gfn(2043));
        assert_eq!(layout.boot_page, Gfn(2040));
        assert_eq!(layout.mapped_specials(), Pages(6));
        assert_eq!(layout.offset_of(layout.rings), 3 * 4096);
        assert_eq!(layout.memory_runs(), [(Gfn(0), Pages(2048)), (HOLE_END, Pages(0))]);
    }

    #[test]
    fn memory_beyond_the_hole_goes_above_4_gib() {
        let layout = layout(5 << 20, false, 0);
        assert_eq!(layout.low_end, HOLE_START);
        assert_eq!(layout.usable_end(), 0xfbff_b000);
        let [(_, low), (high_start, high)] = layout.memory_runs();
        assert_eq!((high_start, low.0 + high.0), (HOLE_END, 5 << 18));
    }
}
