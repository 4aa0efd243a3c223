//! A domain that has everything but an image.

use std::rc::Rc;
use std::sync::Arc;

use xen::Xen;
use xen::foreign::GrantTable;
use xen::units::{DomId, DomainHandle, Gfn, GrantRef, Pages, Port};
use xen_abi::grants::{FIRST_GUEST, FIRST_TOOLSTACK};

use super::error::BuildError;
use super::flavour::Flavour;
use super::layout::Layout;
use super::window::Window;
use crate::config::MAX_VIFS;
use crate::image::Image;

/// The guest's ends of its event channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// That of what announces the devices: the device page's sysctl block, or XenStore's ring.
    pub store: Port,
    /// That of all devices together, if there are any; in XenStore mode the console's, for the
    /// guest makes those of the others itself. To bind one costs dom0 more than all else
    /// that noxsd does for a device, and what Xen's part of it costs grows with their number: it
    /// looks for a free port of dom0 from the lowest on (`get_free_port`, event_channel.c).
    pub devices: Option<Port>,
}

/// A domain that has everything but an image.
///
/// Dropping it destroys the domain.
#[derive(Debug)]
pub struct Shell {
    /// What dom0 has mapped of it. First among the fields: a domain whose pages are mapped cannot
    /// be destroyed whole.
    pub(super) window: Window,
    /// Its grant table, if it has rings.
    pub(super) grants: Option<GrantTable>,
    pub(super) domain: Unfinished,
    /// What it was made for.
    pub flavour: Flavour,
    /// Where things are in it.
    pub layout: Layout,
    /// Its event channels.
    pub ports: Ports,
    /// The image that it holds already.
    pub(super) loaded: Option<Arc<Image>>,
}

/// A domain that is destroyed unless it is finished.
#[derive(Debug)]
pub(super) struct Unfinished {
    pub(super) xen: Rc<Xen>,
    pub(super) domid: DomId,
    pub(super) handle: DomainHandle,
    finished: bool,
}

impl Unfinished {
    pub(super) fn new(xen: &Rc<Xen>, domid: DomId, handle: DomainHandle) -> Self {
        Self { xen: Rc::clone(xen), domid, handle, finished: false }
    }

    pub(super) fn finish(mut self) {
        self.finished = true;
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.finished {
            // There is nobody to tell: this runs while another error is on its way. What is left
            // is a half-made domain, which `chaos list` shows and `chaos destroy` removes.
            let _ = self.xen.destroy(self.domid);
        }
    }
}

// A console has one ring, a vif has two.
const _: () = assert!(FIRST_TOOLSTACK as usize + 1 + 2 * MAX_VIFS <= FIRST_GUEST as usize);

/// Returns the grant reference of a ring page, counted from the first one.
///
/// # Panics
/// A guest has more rings than the toolstack has grants: a mistake in the layout.
pub(super) fn ring_grant(ring: u64) -> GrantRef {
    let reference = u32::try_from(u64::from(FIRST_TOOLSTACK).saturating_add(ring)).ok();
    let reference = reference.filter(|reference| *reference < FIRST_GUEST);
    GrantRef(reference.expect("a guest has a console and MAX_VIFS vifs at most"))
}

impl Shell {
    /// Copies the segments of an image and clears what they leave open. [`Shell::execute`] with
    /// the same image then finds it done.
    ///
    /// # Errors
    /// The image does not fit or cannot be read. The shell then holds a part of it and is of no
    /// more use.
    pub fn load(&mut self, image: &Arc<Image>) -> Result<(), BuildError> {
        image.check_fits(self.layout.usable_end())?;
        for segment in image.segments() {
            let extra;
            let window = if self.window.has(segment.paddr, segment.mem_size) {
                &self.window
            } else {
                let start = segment.paddr >> 12;
                let count = Pages(segment.end().div_ceil(4096) - start);
                let Unfinished { xen, domid, .. } = &self.domain;
                extra = Window::of_memory(xen, *domid, Gfn(start), count)?;
                &extra
            };
            let filled = segment.file_size();
            window.write_content(segment.paddr, image.content(segment))?;
            window.fill_zero(segment.paddr + filled, segment.mem_size - filled);
        }
        image.check_unchanged()?;
        self.loaded = Some(Arc::clone(image));
        Ok(())
    }

    /// Whether [`Shell::load`] has put this image in.
    #[must_use]
    pub fn holds(&self, image: &Arc<Image>) -> bool {
        self.loaded.as_ref().is_some_and(|loaded| Arc::ptr_eq(loaded, image))
    }

    /// Lets go of the hand on Xen, so that another thread can have the shell.
    pub fn park(self) -> ParkedShell {
        let Self { domain, flavour, layout, ports, window, grants, loaded } = self;
        let (domid, handle) = (domain.domid, domain.handle);
        domain.finish();
        ParkedShell { domid, handle, flavour, layout, ports, window, grants, loaded }
    }

    /// The domain's number.
    #[must_use]
    pub fn domid(&self) -> DomId {
        self.domain.domid
    }

    /// The domain's handle.
    #[must_use]
    pub fn handle(&self) -> DomainHandle {
        self.domain.handle
    }

    /// Grant reference of the console's ring.
    #[must_use]
    pub fn console_grant(&self) -> Option<GrantRef> {
        self.flavour.console.then(|| ring_grant(0))
    }

    /// Grant references of a vif's transmit and receive ring.
    #[must_use]
    pub fn vif_grants(&self, index: u16) -> [GrantRef; 2] {
        let first = self.first_ring(index);
        [ring_grant(first), ring_grant(first + 1)]
    }

    /// Number of a vif's transmit ring among the domain's ring pages.
    pub(super) fn first_ring(&self, vif: u16) -> u64 {
        u64::from(self.flavour.console) + 2 * u64::from(vif)
    }
}

/// A shell that belongs to no thread.
///
/// Dropping it leaves the domain as it is, half-made: nobody has a hand on Xen here. So it is to
/// be made a shell again, by whoever has one.
#[derive(Debug)]
#[must_use = "the domain is left half-made if this is dropped"]
pub struct ParkedShell {
    domid: DomId,
    handle: DomainHandle,
    flavour: Flavour,
    layout: Layout,
    ports: Ports,
    window: Window,
    grants: Option<GrantTable>,
    loaded: Option<Arc<Image>>,
}

impl ParkedShell {
    /// Makes it a shell again.
    #[must_use]
    pub fn unpark(self, xen: &Rc<Xen>) -> Shell {
        let Self { domid, handle, flavour, layout, ports, window, grants, loaded } = self;
        let domain = Unfinished::new(xen, domid, handle);
        Shell { flavour, layout, ports, window, grants, loaded, domain }
    }
}
