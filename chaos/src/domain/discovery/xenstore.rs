// SPDX-License-Identifier: GPL-3.0-or-later
//! Discovery through XenStore: dom0 provides the rings of XenStore and of the console. The guest
//! creates the rings of its other devices itself, anywhere in its memory.
//!
//! XenStore and the console each have a ring page, a reserved entry of the grant table, and an
//! event channel. The guest reads them from parameters of its domain (Xen's `public/hvm/params.h`).

use xen::Xen;
use xen::hvm::Param;
use xen::units::{DomId, Gfn, GrantRef, Port};
use xen_abi::grant_table::{GNTTAB_RESERVED_CONSOLE, GNTTAB_RESERVED_XENSTORE};

use super::side::{DevicePageDisk, DevicePageVif, GuestSide, SpecialPages};
use crate::config::Discovery;
use crate::domain::error::{BuildError, Doing};
use crate::domain::flavour::Flavour;
use crate::domain::layout::Layout;
use crate::domain::shell::{Ports, Shell};

/// Additional pages of the paging pool for an unmodified kernel: it maps `shared_info` and the
/// frames of its grant table anywhere, so each may split up another 2 MiB region.
const PAGING_PAGES: u64 = 16;

/// A ring page of a guest, with the guest's end of its event channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingPage {
    /// The frame of the page.
    pub gfn: Gfn,
    /// The event channel.
    pub port: Port,
}

/// The ring pages that dom0 provides for a guest that finds its devices in XenStore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XenStoreRings {
    /// XenStore's ring.
    pub store: RingPage,
    /// The console's ring, if the guest has a console.
    pub console: Option<RingPage>,
}

impl XenStoreRings {
    fn new(layout: &Layout, ports: &Ports) -> Self {
        let page = |number, port| RingPage { gfn: Gfn(layout.rings.0 + number), port };
        Self { store: page(0, ports.store), console: ports.devices.map(|port| page(1, port)) }
    }
}

impl Shell {
    /// Returns the rings of XenStore and the console, if the guest finds its devices in XenStore.
    #[must_use]
    pub fn xenstore_rings(&self) -> Option<XenStoreRings> {
        let has_them = self.flavour.store.discovery() == Discovery::XenStore;
        has_them.then(|| XenStoreRings::new(&self.layout, &self.ports))
    }
}

/// XenStore, as a way of discovery.
#[derive(Clone, Copy)]
pub(super) struct XenStore;

impl GuestSide for XenStore {
    fn paging_pages(self) -> u64 {
        PAGING_PAGES
    }

    fn max_grant_frames(self) -> i32 {
        // How much an unmodified kernel grants depends on its drivers.
        -1
    }

    fn special_pages(self, flavour: &Flavour, next: u64) -> SpecialPages {
        SpecialPages {
            noxs: None,
            acpi: Some(Gfn(next)),
            rings: Gfn(next + 1),
            ring_count: 1 + u64::from(flavour.console),
            overlay: Gfn(next + 2 + u64::from(flavour.console)),
        }
    }

    fn has_device_port(self, flavour: &Flavour) -> bool {
        flavour.console
    }

    fn ring_grant(self, ring: u64) -> GrantRef {
        match ring {
            0 => GrantRef(GNTTAB_RESERVED_XENSTORE),
            _ => GrantRef(GNTTAB_RESERVED_CONSOLE),
        }
    }

    fn finish(
        self,
        xen: &Xen,
        domid: DomId,
        layout: &Layout,
        ports: &Ports,
    ) -> Result<&'static str, BuildError> {
        let rings = XenStoreRings::new(layout, ports);
        let set = |param, value| {
            xen.set_hvm_param(domid, param, value).doing("set the parameters of the guest's rings")
        };
        set(Param::StorePfn, rings.store.gfn.0)?;
        set(Param::StoreEvtchn, rings.store.port.0.into())?;
        if let Some(console) = rings.console {
            set(Param::ConsolePfn, console.gfn.0)?;
            set(Param::ConsoleEvtchn, console.port.0.into())?;
        }
        Ok("parameters")
    }

    fn describe(
        self,
        _: &Shell,
        _: &[DevicePageVif],
        _: &[DevicePageDisk],
    ) -> Result<(), BuildError> {
        // The nodes in XenStore describe the devices.
        Ok(())
    }
}
