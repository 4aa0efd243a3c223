// SPDX-License-Identifier: GPL-3.0-or-later
//! Shells of the fake hypervisor: entries of its table that go away when they are dropped.

use std::rc::Rc;
use std::sync::Arc;

use xen::Error;
use xen::units::{DomId, DomainHandle, Gfn, GrantRef, Port};

use super::super::{BuiltShell, Hypervisor, ReadyDomain};
use super::FakeXen;
use crate::config::Discovery;
use crate::domain::{
    BuildError, Flavour, Layout, NoxsPages, Payload, Ports, RingPage, XenStoreRings,
};
use crate::image::Image;
use crate::timings::Timings;

/// A domain that is destroyed unless it is finished.
#[derive(Debug)]
pub(super) struct FakeDomain {
    xen: Rc<FakeXen>,
    domid: DomId,
    handle: DomainHandle,
    finished: bool,
}

impl FakeDomain {
    pub(super) fn new(xen: &Rc<FakeXen>, domid: DomId, handle: DomainHandle) -> Self {
        Self { xen: Rc::clone(xen), domid, handle, finished: false }
    }
}

impl Drop for FakeDomain {
    fn drop(&mut self) {
        if !self.finished {
            let _ = self.xen.destroy(self.domid);
        }
    }
}

/// A shell.
#[derive(Debug)]
pub(crate) struct FakeShell {
    pub(super) domain: FakeDomain,
    pub(super) flavour: Flavour,
}

impl BuiltShell for FakeShell {
    type Parked = (DomId, DomainHandle, Flavour);
    type Ready = FakeReady;

    fn domid(&self) -> DomId {
        self.domain.domid
    }

    fn handle(&self) -> DomainHandle {
        self.domain.handle
    }

    fn flavour(&self) -> &Flavour {
        &self.flavour
    }

    fn ports(&self) -> Ports {
        Ports { store: Port(1), devices: Some(Port(2)) }
    }

    fn console_grant(&self) -> Option<GrantRef> {
        self.flavour.console.then_some(GrantRef(8))
    }

    fn vif_grants(&self, _: u16) -> [GrantRef; 2] {
        [GrantRef(9), GrantRef(10)]
    }

    fn disk_grant(&self, index: u16) -> GrantRef {
        GrantRef(11 + u32::from(index))
    }

    fn xenstore_rings(&self) -> Option<XenStoreRings> {
        let page = |gfn| RingPage { gfn: Gfn(gfn), port: Port(1) };
        let has_them = self.flavour.store.discovery() == Discovery::XenStore;
        has_them.then(|| XenStoreRings { store: page(1025), console: Some(page(1026)) })
    }

    fn set_handle(&mut self, handle: DomainHandle) -> Result<(), Error> {
        self.domain.xen.set_handle(self.domain.domid, handle)?;
        self.domain.handle = handle;
        Ok(())
    }

    fn load(&mut self, _: &Arc<Image>) -> Result<(), BuildError> {
        self.domain.xen.build("load", self.domain.domid)
    }

    fn execute(self, _: &Payload<'_>, _: &mut Timings) -> Result<FakeReady, BuildError> {
        self.domain.xen.build("execute", self.domain.domid)?;
        let Self { domain, flavour } = self;
        Ok(FakeReady { domain, layout: Layout::new(&flavour) })
    }

    fn park(mut self) -> Self::Parked {
        self.domain.finished = true;
        (self.domain.domid, self.domain.handle, self.flavour)
    }
}

/// A domain that has everything and does not run yet.
#[derive(Debug)]
pub(crate) struct FakeReady {
    domain: FakeDomain,
    layout: Layout,
}

impl ReadyDomain for FakeReady {
    type Mapped = ();

    fn noxs_pages(&self) -> Option<NoxsPages> {
        self.layout.noxs
    }

    fn unpause(self, _: &mut Timings) -> Result<(), BuildError> {
        let unpaused = self.domain.xen.unpause(self.domain.domid);
        unpaused.map_err(|source| BuildError::Xen { doing: "start the guest", source })?;
        self.keep_paused();
        Ok(())
    }

    fn keep_paused(mut self) {
        self.domain.finished = true;
    }
}
