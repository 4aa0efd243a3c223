// SPDX-License-Identifier: GPL-3.0-or-later
//! A domain that has everything but an image.

use std::rc::Rc;
use std::sync::Arc;

use xen::Xen;
use xen::foreign::GrantTable;
use xen::units::{DomId, DomainHandle, Gfn, GrantRef, Pages, Port};

use super::error::BuildError;
use super::flavour::Flavour;
use super::grants::noxs_grant;
use super::layout::Layout;
use super::window::{Window, run_around};
use crate::image::Image;

/// The guest's ends of its event channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// The port of the device page's sysctl block, or of XenStore's ring.
    pub store: Port,
    /// The port that all devices share, if there are any. With XenStore it is the console's,
    /// because the guest allocates the ports of its other devices.
    ///
    /// The port is shared because binding one costs dom0 more than everything else that noxsd does
    /// for a device. The cost grows with the number of bound ports: Xen searches for a free port of
    /// dom0 from the lowest one on (`get_free_port` in event_channel.c).
    pub devices: Option<Port>,
}

/// A domain that has everything but an image.
///
/// Dropping it destroys the domain.
#[derive(Debug)]
pub struct Shell {
    /// The pages that dom0 has mapped. The first field, so that it is dropped first: Xen keeps a
    /// destroyed domain as long as one of its pages is mapped.
    pub(super) window: Window,
    /// Its grant table, if it has rings.
    pub(super) grants: Option<GrantTable>,
    pub(super) domain: Unfinished,
    /// What it was prepared for.
    pub flavour: Flavour,
    /// The layout of its memory.
    pub layout: Layout,
    /// Its event channels.
    pub ports: Ports,
    /// The image that is loaded already.
    pub(super) loaded: Option<Arc<Image>>,
}

/// A domain that is destroyed when dropped, unless it was finished.
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
            // The error is not reported, because the create has failed with another one. An
            // incomplete domain may be left, which `chaos list` shows and `chaos destroy` removes.
            let _ = self.xen.destroy(self.domid);
        }
    }
}

impl Shell {
    /// Copies the segments of an image and clears the rest of their memory. [`Shell::execute`] with
    /// the same image then skips this.
    ///
    /// # Errors
    /// The image does not fit or cannot be read. The shell then contains a part of it and must be
    /// dropped.
    pub fn load(&mut self, image: &Arc<Image>) -> Result<(), BuildError> {
        image.check_fits(self.layout.usable_end())?;
        let mut extra: Option<Window> = None;
        for segment in image.segments() {
            let has = |window: &&Window| window.has(segment.paddr, segment.mem_size);
            let window = match Some(&self.window).filter(has).or(extra.as_ref().filter(has)) {
                Some(window) => window,
                None => {
                    let run = run_around(image, segment);
                    let count = Pages(run.end - run.start);
                    let Unfinished { xen, domid, .. } = &self.domain;
                    extra.insert(Window::of_memory(xen, *domid, Gfn(run.start), count)?)
                }
            };
            let filled = segment.file_size();
            window.write_content(segment.paddr, image.content(segment))?;
            window.fill_zero(segment.paddr + filled, segment.mem_size - filled);
        }
        image.check_unchanged()?;
        self.loaded = Some(Arc::clone(image));
        Ok(())
    }

    /// Returns whether [`Shell::load`] has loaded this image.
    #[must_use]
    pub fn holds(&self, image: &Arc<Image>) -> bool {
        self.loaded.as_ref().is_some_and(|loaded| Arc::ptr_eq(loaded, image))
    }

    /// Drops the Xen handle, so that the shell can be sent to another thread.
    pub fn park(self) -> ParkedShell {
        let Self { domain, flavour, layout, ports, window, grants, loaded } = self;
        let (domid, handle) = (domain.domid, domain.handle);
        domain.finish();
        ParkedShell { domid, handle, flavour, layout, ports, window, grants, loaded }
    }

    /// Returns the domain's number.
    #[must_use]
    pub fn domid(&self) -> DomId {
        self.domain.domid
    }

    /// Returns the domain's handle.
    #[must_use]
    pub fn handle(&self) -> DomainHandle {
        self.domain.handle
    }

    /// Replaces the domain's handle, in Xen too.
    ///
    /// # Errors
    /// Xen refuses.
    pub fn set_handle(&mut self, handle: DomainHandle) -> Result<(), xen::Error> {
        self.domain.xen.set_handle(self.domain.domid, handle)?;
        self.domain.handle = handle;
        Ok(())
    }

    /// Returns the grant reference of the console's ring, if there is a console.
    #[must_use]
    pub fn console_grant(&self) -> Option<GrantRef> {
        self.flavour.console.then(|| noxs_grant(0))
    }

    /// Returns the grant references of a vif's transmit and receive ring.
    #[must_use]
    pub fn vif_grants(&self, index: u16) -> [GrantRef; 2] {
        let first = self.first_ring(index);
        [noxs_grant(first), noxs_grant(first + 1)]
    }

    /// Returns the grant reference of a disk's ring.
    #[must_use]
    pub fn disk_grant(&self, index: u16) -> GrantRef {
        noxs_grant(self.disk_ring(index))
    }

    /// Returns the number of a disk's ring among the domain's ring pages.
    pub(super) fn disk_ring(&self, disk: u16) -> u64 {
        self.first_ring(self.flavour.vifs) + u64::from(disk)
    }

    /// Returns the number of a vif's transmit ring among the domain's ring pages.
    pub(super) fn first_ring(&self, vif: u16) -> u64 {
        u64::from(self.flavour.console) + 2 * u64::from(vif)
    }
}

/// A shell that can be sent to another thread.
///
/// It has no Xen handle, so dropping it cannot destroy the domain, which stays incomplete. Use
/// [`unpark`](Self::unpark) instead.
#[derive(Debug)]
#[must_use = "the domain is left incomplete if this is dropped"]
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
    /// Turns it back into a shell.
    #[must_use]
    pub fn unpark(self, xen: &Rc<Xen>) -> Shell {
        let Self { domid, handle, flavour, layout, ports, window, grants, loaded } = self;
        let domain = Unfinished::new(xen, domid, handle);
        Shell { flavour, layout, ports, window, grants, loaded, domain }
    }
}
