// SPDX-License-Identifier: GPL-3.0-or-later
//! Computes the layout of a guest's memory from its flavour.

use noxs::MAX_RING_PAGES;
use xen::units::Gfn;

use super::discovery::{GuestSide, SpecialPages};
use super::flavour::Flavour;
use super::layout::{HOLE_START, Layout, OVERLAY_FRAMES};

/// Limit of the frames of the specials: enough for the rings of all devices that a guest can have.
const MOST_SPECIALS: u64 = 3 + MAX_RING_PAGES as u64 + OVERLAY_FRAMES as u64;

impl Layout {
    /// Returns the layout for a flavour.
    #[must_use]
    pub fn new(flavour: &Flavour) -> Self {
        let memory = flavour.memory_pages();
        let low_end = memory.0.min(HOLE_START.0 - MOST_SPECIALS);
        let SpecialPages { noxs, acpi, rings, ring_count, overlay } =
            flavour.store.discovery().special_pages(flavour, low_end + 1);
        Self {
            memory,
            boot_page: Gfn(low_end),
            noxs,
            acpi,
            rings,
            ring_count,
            overlay,
            low_end: Gfn(low_end),
        }
    }
}

#[cfg(test)]
mod tests {
    use xen::units::{KiB, Pages};

    use super::super::layout::HOLE_END;
    use super::*;
    use crate::config::{Limits, Store};

    fn layout(kib: u64, console: bool, vifs: u16) -> Layout {
        let store = Store::Noxs;
        Layout::new(&Flavour {
            memory: KiB(kib),
            vcpus: 1,
            console,
            vifs,
            disks: 0,
            limits: Limits::default(),
            store,
        })
    }

    #[test]
    fn the_specials_begin_behind_the_memory() {
        let layout = layout(8192, true, 1);
        assert_eq!(layout.low_end, Gfn(2048));
        assert_eq!(layout.boot_page, Gfn(2048));
        assert_eq!(layout.rings, Gfn(2051));
        // Behind the places of all rings that a guest may have.
        assert_eq!(layout.overlay, Gfn(2090));
        assert_eq!(layout.specials(), Pages(6));
        assert_eq!(layout.specials_end(), 2092 << 12);
        assert_eq!(layout.in_boot_page(56), 0x80_0038);
        assert_eq!(layout.memory_runs(), [(Gfn(0), Pages(2048)), (HOLE_END, Pages(0))]);
    }

    #[test]
    fn in_xenstore_mode_the_rings_are_those_of_xenstore_and_the_console() {
        let store = Store::XenStore;
        let flavour = Flavour {
            memory: KiB(8192),
            vcpus: 1,
            console: true,
            vifs: 1,
            disks: 0,
            limits: Limits::default(),
            store,
        };
        let layout = Layout::new(&flavour);
        assert_eq!(layout.noxs, None);
        assert_eq!((layout.rings, layout.ring_count), (Gfn(2050), 2));
        assert_eq!(layout.specials(), Pages(4));
    }

    #[test]
    fn memory_beyond_the_hole_goes_above_4_gib() {
        let vifs = u16::try_from(noxs::MAX_VIFS).unwrap();
        let disks = u16::try_from(noxs::MAX_DEVICES).unwrap() - vifs - 1;
        let (memory, console, store) = (KiB(5 << 20), true, Store::Noxs);
        let layout = Layout::new(&Flavour {
            memory,
            vcpus: 1,
            console,
            vifs,
            disks,
            limits: Limits::default(),
            store,
        });
        assert_eq!(layout.ring_count, MAX_RING_PAGES as u64);
        assert!(layout.specials_end() <= HOLE_START.0 << 12);
        let [(_, low), (high_start, high)] = layout.memory_runs();
        assert_eq!((high_start, low.0 + high.0), (HOLE_END, 5 << 18));
    }
}
