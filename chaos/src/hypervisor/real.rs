// SPDX-License-Identifier: GPL-3.0-or-later
//! The hypervisor of programs: Xen itself.

use std::rc::Rc;
use std::sync::Arc;

use nix::errno::Errno;
use noxs::shared::PageWords;
use xen::domain::DomainInfo;
use xen::evtchn::EventChannels;
use xen::foreign::{ForeignMapping, GrantEntry, clear_grants, seed_grants};
use xen::units::{DomId, DomainHandle, Gfn, GrantRef, PAGE_SIZE, Pages, Port};
use xen::{Error, Xen};

use super::{BuiltShell, EventPorts, Hypervisor, ReadyDomain};
use crate::clients::xenstored;
use crate::config::DomainConfig;
use crate::domain::{
    self, BuildError, Flavour, Mapped, NoxsPages, ParkedShell, Payload, Ports, Ready, Shell,
    TuneError, XenStoreRings,
};
use crate::image::Image;
use crate::timings::Timings;

impl Hypervisor for Xen {
    type Shell = Shell;
    type Page = MappedPage;
    type Events = EventChannels;

    fn domain_info(&self, domid: DomId) -> Result<Option<DomainInfo>, Error> {
        Self::domain_info(self, domid)
    }

    fn domain_list(&self, first: DomId) -> Result<Vec<DomainInfo>, Error> {
        Self::domain_list(self, first)
    }

    fn changed_domains(&self) -> Result<Option<Vec<DomId>>, Error> {
        // `XEN_DOMCTL_get_domain_state` is newer than 4.20.
        if self.version() < (4, 21) {
            return Ok(None);
        }
        let mut changed = Vec::new();
        while let Some(domid) = self.changed_domain()? {
            changed.push(domid);
        }
        Ok(Some(changed))
    }

    fn pause(&self, domid: DomId) -> Result<(), Error> {
        Self::pause(self, domid)
    }

    fn unpause(&self, domid: DomId) -> Result<(), Error> {
        Self::unpause(self, domid)
    }

    fn destroy(&self, domid: DomId) -> Result<(), Error> {
        Self::destroy(self, domid)
    }

    fn map_page(&self, domid: DomId, gfn: Gfn) -> Result<MappedPage, Error> {
        ForeignMapping::map_range(self, domid, gfn, Pages(1)).map(MappedPage)
    }

    fn provide_page(&self, domid: DomId, gfn: Gfn, most: Pages) -> Result<(), Error> {
        let map = || ForeignMapping::map_range(self, domid, gfn, Pages(1));
        let page = match map() {
            // A device that was detached has left it.
            Ok(page) => page,
            Err(_) => {
                let operation = "domain_info";
                let gone = Error::Hypercall { operation, domid: Some(domid), errno: Errno::ESRCH };
                let info = Self::domain_info(self, domid)?.ok_or(gone)?;
                let needed = Pages(info.tot_pages.0 + 1);
                if needed > most {
                    return Err(Error::ShortPopulate { domid, done: 0, wanted: 1 });
                }
                if needed > info.max_pages {
                    self.set_max_mem(domid, needed.to_kib())?;
                }
                self.populate_range(domid, gfn, 1, 0)?;
                map()?
            }
        };
        page.fill_zero(0, PAGE_SIZE);
        Ok(())
    }

    fn grant_pages(&self, domid: DomId, pages: &[(GrantRef, Gfn)]) -> Result<(), Error> {
        let entry = |(reference, gfn): &(GrantRef, Gfn)| GrantEntry {
            reference: *reference,
            domid: DomId::DOM0,
            gfn: *gfn,
            read_only: false,
        };
        seed_grants(self, domid, &pages.iter().map(entry).collect::<Vec<_>>())
    }

    fn revoke_grants(&self, domid: DomId, references: &[GrantRef]) -> Result<(), Error> {
        clear_grants(self, domid, references)
    }

    fn alloc_port(&self, domid: DomId) -> Result<Port, Error> {
        self.evtchn_alloc_unbound(domid, DomId::DOM0)
    }

    fn tune(
        &self,
        xenstored: &xenstored::Link,
        domid: DomId,
        config: &DomainConfig,
    ) -> Result<(), TuneError> {
        domain::tune(self, xenstored, domid, config)
    }

    fn set_handle(&self, domid: DomId, handle: DomainHandle) -> Result<(), Error> {
        Self::set_handle(self, domid, handle)
    }

    fn open_events(&self) -> Result<EventChannels, Error> {
        EventChannels::open()
    }

    fn prepare(
        self: &Rc<Self>,
        flavour: Flavour,
        image: Option<&Image>,
        handle: DomainHandle,
        timings: &mut Timings,
    ) -> Result<Shell, BuildError> {
        domain::prepare(self, flavour, image, handle, timings)
    }

    fn unpark(self: &Rc<Self>, parked: ParkedShell) -> Shell {
        parked.unpark(self)
    }
}

impl BuiltShell for Shell {
    type Parked = ParkedShell;
    type Ready = Ready;

    fn domid(&self) -> DomId {
        Self::domid(self)
    }

    fn handle(&self) -> DomainHandle {
        Self::handle(self)
    }

    fn flavour(&self) -> &Flavour {
        &self.flavour
    }

    fn ports(&self) -> Ports {
        self.ports
    }

    fn console_grant(&self) -> Option<GrantRef> {
        Self::console_grant(self)
    }

    fn vif_grants(&self, index: u16) -> [GrantRef; 2] {
        Self::vif_grants(self, index)
    }

    fn disk_grant(&self, index: u16) -> GrantRef {
        Self::disk_grant(self, index)
    }

    fn xenstore_rings(&self) -> Option<XenStoreRings> {
        Self::xenstore_rings(self)
    }

    fn set_handle(&mut self, handle: DomainHandle) -> Result<(), Error> {
        Self::set_handle(self, handle)
    }

    fn load(&mut self, image: &Arc<Image>) -> Result<(), BuildError> {
        Self::load(self, image)
    }

    fn execute(self, payload: &Payload<'_>, timings: &mut Timings) -> Result<Ready, BuildError> {
        Self::execute(self, payload, timings)
    }

    fn park(self) -> ParkedShell {
        Self::park(self)
    }
}

impl ReadyDomain for Ready {
    type Mapped = Mapped;

    fn noxs_pages(&self) -> Option<NoxsPages> {
        self.layout.noxs
    }

    fn unpause(self, timings: &mut Timings) -> Result<Mapped, BuildError> {
        Self::unpause(self, timings)
    }

    fn keep_paused(self) -> Mapped {
        Self::keep_paused(self)
    }
}

impl EventPorts for EventChannels {
    fn bind_interdomain(&self, domid: DomId, remote: Port) -> Result<Port, Error> {
        Self::bind_interdomain(self, domid, remote)
    }

    fn bind_virq(&self, virq: u32) -> Result<Port, Error> {
        Self::bind_virq(self, virq)
    }

    fn notify(&self, port: Port) -> Result<(), Error> {
        Self::notify(self, port)
    }

    fn acknowledge_pending(&self) -> Result<(), Error> {
        Self::acknowledge_pending(self)
    }
}

/// A mapped page of a guest, with the access that [`noxs`] asks for.
#[derive(Debug)]
pub struct MappedPage(ForeignMapping);

impl PageWords for MappedPage {
    fn read_u32(&self, offset: usize) -> u32 {
        u32::from_le(self.0.read_u32(offset))
    }

    fn write_u32(&mut self, offset: usize, value: u32) {
        self.0.write_u32(offset, value.to_le());
    }
}
