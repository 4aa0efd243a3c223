//! Discovery through XenStore: the guest gets the rings of XenStore and of its console from dom0, and
//! makes those of its other devices itself, in memory of its own choice.
//!
//! Each of the two has a ring page, a reserved entry of the grant table, and an event channel. The
//! guest learns of them through parameters of its domain (Xen's `public/hvm/params.h`).

use xen::Xen;
use xen::hvm::Param;
use xen::units::{DomId, Gfn, GrantRef, Port};
use xen_abi::grant_table::{GNTTAB_RESERVED_CONSOLE, GNTTAB_RESERVED_XENSTORE};

use super::{GuestSide, SpecialPages};
use crate::config::Discovery;
use crate::domain::error::{BuildError, Doing};
use crate::domain::execute::DevicePageVif;
use crate::domain::flavour::Flavour;
use crate::domain::layout::Layout;
use crate::domain::shell::{Ports, Shell};

/// Paging pool of a kernel that is not ours beside what each domain needs, in pages: it maps
/// `shared_info` and the frames of its grant table where it likes, each time in a region of its own.
const PAGING_PAGES: u64 = 16;

/// A ring page of a guest, and the guest's end of the event channel that belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingPage {
    /// The page.
    pub gfn: Gfn,
    /// The event channel.
    pub port: Port,
}

/// The ring pages that dom0 makes for a guest that finds its devices in XenStore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XenStoreRings {
    /// XenStore's.
    pub store: RingPage,
    /// The console's, if it has one.
    pub console: Option<RingPage>,
}

impl XenStoreRings {
    fn new(layout: &Layout, ports: &Ports) -> Self {
        let page = |number, port| RingPage { gfn: Gfn(layout.rings.0 + number), port };
        Self { store: page(0, ports.store), console: ports.devices.map(|port| page(1, port)) }
    }
}

impl Shell {
    /// Returns its rings of XenStore and the console, if its guest finds its devices in XenStore.
    #[must_use]
    pub fn xenstore_rings(&self) -> Option<XenStoreRings> {
        let has_them = self.flavour.store.discovery() == Discovery::XenStore;
        has_them.then(|| XenStoreRings::new(&self.layout, &self.ports))
    }
}

/// This way.
#[derive(Clone, Copy)]
pub(super) struct XenStore;

impl GuestSide for XenStore {
    fn paging_pages(self) -> u64 {
        PAGING_PAGES
    }

    fn max_grant_frames(self) -> i32 {
        // A kernel that is not ours grants as much as its drivers like.
        -1
    }

    fn special_pages(self, flavour: &Flavour, next: u64) -> SpecialPages {
        SpecialPages {
            noxs: None,
            acpi: Some(Gfn(next)),
            rings: Gfn(next + 1),
            ring_count: 1 + u64::from(flavour.console),
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
            xen.set_hvm_param(domid, param, value).doing("tell the guest where its rings are")
        };
        set(Param::StorePfn, rings.store.gfn.0)?;
        set(Param::StoreEvtchn, rings.store.port.0.into())?;
        if let Some(console) = rings.console {
            set(Param::ConsolePfn, console.gfn.0)?;
            set(Param::ConsoleEvtchn, console.port.0.into())?;
        }
        Ok("parameters")
    }

    fn describe(self, _shell: &Shell, _vifs: &[DevicePageVif]) -> Result<(), BuildError> {
        // The nodes say it all.
        Ok(())
    }
}
