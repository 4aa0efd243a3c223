// SPDX-License-Identifier: MIT OR Apache-2.0
//! Creates, limits, pauses, queries and destroys domains.

mod clock;
mod info;

use nix::errno::Errno;

use xen_abi::domctl::{
    self, CreateDomain16, CreateDomain17, GetDomainInfo, GetDomainState, HvmContext, MaxMem,
    MaxVcpus, PagingMempool, SetDomainHandle,
};
use xen_abi::sysctl::{GetDomainInfoList, XEN_SYSCTL_GETDOMAININFOLIST};

use crate::error::Error;
use crate::hypercall::{Xen, guest_only};
use crate::units::{Bytes, DomId, DomainHandle, KiB};

pub use clock::TscMode;
pub use info::{DomainInfo, DomainState, ShutdownReason};

/// The parameters of a new domain (`struct xen_domctl_createdomain`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CreateDomain {
    /// Its handle.
    pub handle: DomainHandle,
    /// The number of vCPUs it can have, 1 to 128 for PVH.
    pub max_vcpus: u32,
    /// The highest event channel port it may use; with 0 it has none.
    pub max_event_channels: u32,
    /// The most grant table frames, at least 1; a negative number means Xen's default.
    pub max_grant_frames: i32,
    /// The most frames for tracking the grants that it maps; 0 if it maps none.
    pub max_maptrack_frames: i32,
}

impl CreateDomain {
    /// Returns the parameters of a PVH domain with libxl's limits.
    #[must_use]
    pub fn pvh(handle: DomainHandle, max_vcpus: u32) -> Self {
        Self {
            handle,
            max_vcpus,
            max_event_channels: 1023,
            max_grant_frames: -1,
            max_maptrack_frames: -1,
        }
    }

    /// Returns the domctl's structure in its latest form.
    fn payload(&self) -> CreateDomain17 {
        // The highest grant table version that the guest may use; 0 is invalid.
        const GRANT_VERSION: u32 = 1;
        CreateDomain17 {
            handle: self.handle.0,
            flags: domctl::XEN_DOMCTL_CDF_HVM | domctl::XEN_DOMCTL_CDF_HAP,
            max_vcpus: self.max_vcpus,
            max_evtchn_port: self.max_event_channels,
            max_grant_frames: self.max_grant_frames,
            max_maptrack_frames: self.max_maptrack_frames,
            grant_opts: GRANT_VERSION,
            arch_emulation_flags: domctl::XEN_X86_EMU_LAPIC,
            ..CreateDomain17::default()
        }
    }
}

impl Xen {
    /// Creates a PVH domain, paused, without vCPUs and memory. Returns its number, which Xen
    /// chooses.
    ///
    /// # Errors
    /// Xen refuses; `ENOMEM` if it has too little memory.
    pub fn create_domain(&self, wanted: &CreateDomain) -> Result<DomId, Error> {
        let name = "domctl createdomain";
        let cmd = domctl::XEN_DOMCTL_CREATEDOMAIN;
        let any = if self.domctl_version() < 0x18 { DomId::FIRST_RESERVED } else { DomId::ANY };
        let mut payload = wanted.payload();
        let created = if self.domctl_version() < 0x17 {
            self.domctl(name, cmd, any, &mut CreateDomain16::from(payload))
        } else {
            self.domctl(name, cmd, any, &mut payload)
        };
        let domid = created.map_err(|error| error.without_domain())?;
        self.note_vcpus(domid, false);
        Ok(domid)
    }

    /// Creates the domain's vCPUs. Their number must be the one that the domain was created with.
    ///
    /// # Errors
    /// Xen refuses; destroy the domain then, because it may have some of the vCPUs.
    pub fn max_vcpus(&self, domid: DomId, max: u32) -> Result<(), Error> {
        guest_only("domctl max_vcpus", domid)?;
        let mut payload = MaxVcpus { max };
        self.domctl("domctl max_vcpus", domctl::XEN_DOMCTL_MAX_VCPUS, domid, &mut payload)?;
        self.note_vcpus(domid, true);
        Ok(())
    }

    /// Limits the domain's memory.
    ///
    /// # Errors
    /// Xen refuses.
    pub fn set_max_mem(&self, domid: DomId, memory: KiB) -> Result<(), Error> {
        // Xen would accept this for dom0, too.
        guest_only("domctl max_mem", domid)?;
        let mut payload = MaxMem { max_memkb: memory.0 };
        self.domctl("domctl max_mem", domctl::XEN_DOMCTL_MAX_MEM, domid, &mut payload).map(drop)
    }

    /// Replaces the domain's handle. The guest may read it.
    ///
    /// # Errors
    /// Xen refuses.
    pub fn set_handle(&self, domid: DomId, handle: DomainHandle) -> Result<(), Error> {
        let name = "domctl setdomainhandle";
        guest_only(name, domid)?;
        let mut payload = SetDomainHandle { handle: handle.0 };
        self.domctl(name, domctl::XEN_DOMCTL_SETDOMAINHANDLE, domid, &mut payload).map(drop)
    }

    /// Sets the size of the pool from which Xen allocates the domain's page tables, in whole pages.
    ///
    /// # Errors
    /// Xen refuses; `ENOMEM` if it has too little memory, or if more of the pool is in use already.
    pub fn set_paging_mempool(&self, domid: DomId, size: Bytes) -> Result<(), Error> {
        let name = "domctl set_paging_mempool_size";
        guest_only(name, domid)?;
        let cmd = domctl::XEN_DOMCTL_SET_PAGING_MEMPOOL_SIZE;
        self.domctl(name, cmd, domid, &mut PagingMempool { size: size.0 }).map(drop)
    }

    /// Returns the size of the pool from which Xen allocates the domain's page tables.
    ///
    /// # Errors
    /// Xen refuses.
    pub fn paging_mempool(&self, domid: DomId) -> Result<Bytes, Error> {
        let cmd = domctl::XEN_DOMCTL_GET_PAGING_MEMPOOL_SIZE;
        let mut payload = PagingMempool::default();
        self.domctl("domctl get_paging_mempool_size", cmd, domid, &mut payload)?;
        Ok(Bytes(payload.size))
    }

    /// Loads HVM state into the domain (see [`crate::hvm_context`]). Afterwards, only the vCPUs for
    /// which it has a CPU record are up.
    ///
    /// # Errors
    /// Xen refuses.
    pub fn set_hvm_context(&self, domid: DomId, context: &[u8]) -> Result<(), Error> {
        let name = "domctl sethvmcontext";
        guest_only(name, domid)?;
        let data = self.data(context.len())?;
        data.put(0, context);
        let mut payload = HvmContext::default();
        self.domctl_with(name, domctl::XEN_DOMCTL_SETHVMCONTEXT, domid, &mut payload, &data)
    }

    /// Returns all HVM state of the domain, as [`Xen::set_hvm_context`] takes it.
    ///
    /// # Errors
    /// The domain has no vCPUs yet, which would crash Xen 4.17 to 4.20; or Xen refuses.
    pub fn hvm_context(&self, domid: DomId) -> Result<Vec<u8>, Error> {
        // The state of one vCPU has about 9 KiB; that of 128, the maximum, fits into the last size.
        const SIZES: [usize; 3] = [32 << 10, 256 << 10, 2 << 20];
        let name = "domctl gethvmcontext";
        // Ask Xen again instead of trusting the remembered answer: a mistake would be fatal, and
        // this call is not on a fast path.
        self.note_vcpus(domid, false);
        self.vcpus_needed(name, domid)?;
        let mut result = Ok(Vec::new());
        for size in SIZES {
            let data = self.data(size)?;
            let mut payload = HvmContext::default();
            let cmd = domctl::XEN_DOMCTL_GETHVMCONTEXT;
            result = self.domctl_with(name, cmd, domid, &mut payload, &data).map(|()| {
                let used = usize::try_from(payload.size).map_or(size, |used| used.min(size));
                let mut context = vec![0; used];
                data.get_into(0, context.as_mut_slice());
                context
            });
            match &result {
                Err(Error::Hypercall { errno: Errno::ENOSPC, .. }) => {}
                _ => break,
            }
        }
        result
    }

    /// Pauses the domain; pauses are counted.
    ///
    /// # Errors
    /// Xen refuses.
    pub fn pause(&self, domid: DomId) -> Result<(), Error> {
        let name = "domctl pausedomain";
        guest_only(name, domid)?;
        self.domctl(name, domctl::XEN_DOMCTL_PAUSEDOMAIN, domid, &mut [0u8; 0]).map(drop)
    }

    /// Reverts one pause; the first call starts a new domain.
    ///
    /// # Errors
    /// Xen refuses; `EINVAL` if the domain is not paused.
    pub fn unpause(&self, domid: DomId) -> Result<(), Error> {
        let name = "domctl unpausedomain";
        guest_only(name, domid)?;
        self.domctl(name, domctl::XEN_DOMCTL_UNPAUSEDOMAIN, domid, &mut [0u8; 0]).map(drop)
    }

    /// Destroys the domain. Blocks until Xen has reclaimed its memory. While a process or another
    /// domain holds a page of it, it stays as a zombie.
    ///
    /// # Errors
    /// Xen refuses, or the domain is dom0.
    pub fn destroy(&self, domid: DomId) -> Result<(), Error> {
        let name = "domctl destroydomain";
        guest_only(name, domid)?;
        self.note_vcpus(domid, false);
        self.domctl(name, domctl::XEN_DOMCTL_DESTROYDOMAIN, domid, &mut [0u8; 0]).map(drop)
    }

    /// Returns what Xen reports about a domain; `None` if it does not exist.
    ///
    /// # Errors
    /// Xen refuses.
    pub fn domain_info(&self, domid: DomId) -> Result<Option<DomainInfo>, Error> {
        Ok(self.raw_domain_info(domid)?.map(DomainInfo::from))
    }

    /// As [`Xen::domain_info`], in Xen's form.
    pub(crate) fn raw_domain_info(&self, domid: DomId) -> Result<Option<GetDomainInfo>, Error> {
        let mut raw = GetDomainInfo::default();
        let cmd = domctl::XEN_DOMCTL_GETDOMAININFO;
        match self.domctl("domctl getdomaininfo", cmd, domid, &mut raw) {
            // Xen 4.17 reports the next higher domain if this one does not exist.
            Ok(_) => Ok((raw.domain == domid.0).then_some(raw)),
            Err(Error::Hypercall { errno: Errno::ESRCH, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns the number of a domain that has begun or ended since Xen last named it here; `None` if
    /// there is no further one. For dom0 to ask, a process of it must have bound `VIRQ_DOM_EXC`
    /// ([`crate::evtchn::EventChannels::bind_virq`]). A domain that is named is not named again until
    /// it changes, whichever process has asked.
    ///
    /// # Errors
    /// Xen refuses: `EACCES` if no process has bound the interrupt, `ENOSYS` before Xen 4.21.
    pub fn changed_domain(&self) -> Result<Option<DomId>, Error> {
        let name = "domctl get_domain_state";
        let cmd = domctl::XEN_DOMCTL_GET_DOMAIN_STATE;
        match self.domctl(name, cmd, DomId::INVALID, &mut GetDomainState::default()) {
            Ok(domid) => Ok(Some(domid)),
            Err(error) if error.errno() == Some(Errno::ENOENT) => Ok(None),
            Err(error) => Err(error.without_domain()),
        }
    }

    /// Returns what Xen reports about all domains from `first` on, in the order of their numbers.
    ///
    /// # Errors
    /// Xen refuses.
    pub fn domain_list(&self, first: DomId) -> Result<Vec<DomainInfo>, Error> {
        const SIZE: usize = size_of::<GetDomainInfo>();
        // The hypercall page holds the domains of a small host; more need a larger mapping.
        const FEW: usize = 32;
        const MANY: usize = 512;
        let (mut domains, mut next, mut at_once) = (Vec::new(), first.0, FEW);
        loop {
            let data = self.data(at_once * SIZE)?;
            let mut answer =
                GetDomainInfoList { first_domain: next, ..GetDomainInfoList::default() };
            let cmd = XEN_SYSCTL_GETDOMAININFOLIST;
            self.sysctl_with("sysctl getdomaininfolist", cmd, &mut answer, &data)?;
            let count = usize::try_from(answer.num_domains).map_or(at_once, |n| n.min(at_once));
            let raw = |index: usize| data.get::<GetDomainInfo>(index * SIZE);
            domains.extend((0..count).map(raw).map(DomainInfo::from));
            match domains.last().and_then(|last: &DomainInfo| last.domid.0.checked_add(1)) {
                Some(after) if count == at_once => (next, at_once) = (after, MANY),
                _ => return Ok(domains),
            }
        }
    }
}
