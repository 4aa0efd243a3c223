//! What a guest of XenStore mode finds its store and its console by.
//!
//! Each has a ring page, a reserved entry of the grant table, and an event channel. The guest learns
//! of them through parameters of its domain (Xen's `public/hvm/params.h`); xenstored and xenconsoled
//! are told in XenStore ([`crate::announce::xenstore`]).

use xen::Xen;
use xen::hvm::Param;
use xen::units::{DomId, Gfn, GrantRef, Port};
use xen_abi::grant_table::{GNTTAB_RESERVED_CONSOLE, GNTTAB_RESERVED_XENSTORE};

use super::error::{BuildError, Doing};
use super::layout::Layout;
use super::shell::{Ports, Shell};

/// Returns the grant reference of a ring page, counted in the order of the layout: xenstored and
/// xenconsoled map the reserved ones.
pub(super) fn grant(ring: u64) -> GrantRef {
    match ring {
        0 => GrantRef(GNTTAB_RESERVED_XENSTORE),
        _ => GrantRef(GNTTAB_RESERVED_CONSOLE),
    }
}

/// A ring page of a guest, and the guest's end of the event channel that belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingPage {
    /// The page.
    pub gfn: Gfn,
    /// The event channel.
    pub port: Port,
}

/// Ring pages of a guest in XenStore mode.
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
    /// Its rings, if it was made for XenStore mode.
    #[must_use]
    pub fn xenstore_rings(&self) -> Option<XenStoreRings> {
        self.layout.noxs.is_none().then(|| XenStoreRings::new(&self.layout, &self.ports))
    }
}

/// Tells the guest where its rings are.
pub(super) fn tell(
    xen: &Xen,
    domid: DomId,
    layout: &Layout,
    ports: &Ports,
) -> Result<(), BuildError> {
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
    Ok(())
}
