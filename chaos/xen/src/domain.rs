//! Domains: making, limiting, pausing, asking about and destroying them.

use nix::errno::Errno;

use crate::arena::{EXTRA, EXTRA_LEN};
use crate::error::Error;
use crate::hypercall::Xen;
use crate::sys::domctl::{
    self, CreateDomain16, CreateDomain17, GetDomainInfo, HvmContext, MaxMem, MaxVcpus,
    PagingMempool, SetTimeOffset,
};
use crate::sys::sysctl::{GetDomainInfoList, XEN_SYSCTL_GETDOMAININFOLIST};
use crate::sys::{self, HYPERVISOR_SCHED_OP, SCHEDOP_REMOTE_SHUTDOWN, SchedRemoteShutdown};
use crate::units::{Bytes, DomId, DomainHandle, KiB, Pages};

/// What a domain is created with (`struct xen_domctl_createdomain`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CreateDomain {
    /// Its handle.
    pub handle: DomainHandle,
    /// How many vCPUs it can have, 1 to 128 for PVH.
    pub max_vcpus: u32,
    /// Highest event channel port it may use; 0 leaves it none.
    pub max_event_channels: u32,
    /// Most grant table frames, at least 1; a negative number takes Xen's default.
    pub max_grant_frames: i32,
    /// Most frames for tracking the grants it maps; 0 if it maps none.
    pub max_maptrack_frames: i32,
}

impl CreateDomain {
    /// A PVH domain with libxl's limits.
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
}

/// Why a domain shut down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShutdownReason {
    /// It powered off.
    Poweroff,
    /// It asked to be started again.
    Reboot,
    /// It suspended, to be saved or migrated.
    Suspend,
    /// It crashed.
    Crash,
    /// Its watchdog bit.
    Watchdog,
    /// It asked to be reset without losing its memory.
    SoftReset,
    /// A code that is not known.
    Other(u8),
}

impl ShutdownReason {
    fn from_raw(raw: u32) -> Self {
        match raw {
            sys::SHUTDOWN_POWEROFF => Self::Poweroff,
            sys::SHUTDOWN_REBOOT => Self::Reboot,
            sys::SHUTDOWN_SUSPEND => Self::Suspend,
            sys::SHUTDOWN_CRASH => Self::Crash,
            sys::SHUTDOWN_WATCHDOG => Self::Watchdog,
            sys::SHUTDOWN_SOFT_RESET => Self::SoftReset,
            other => Self::Other(u8::try_from(other).unwrap_or(u8::MAX)),
        }
    }
}

/// What a domain is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DomainState {
    /// Xen has taken it apart; something still holds its pages.
    pub dying: bool,
    /// It has shut down.
    pub shutdown: Option<ShutdownReason>,
    /// The toolstack has paused it.
    pub paused: bool,
    /// All its vCPUs wait for something.
    pub blocked: bool,
    /// One of its vCPUs is on a CPU.
    pub running: bool,
}

/// What Xen tells of a domain (`struct xen_domctl_getdomaininfo`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DomainInfo {
    /// Its number.
    pub domid: DomId,
    /// Its handle.
    pub handle: DomainHandle,
    /// What it is doing.
    pub state: DomainState,
    /// Pages it has.
    pub tot_pages: Pages,
    /// Pages it may have.
    pub max_pages: Pages,
    /// CPU time it has used, in nanoseconds.
    pub cpu_time_ns: u64,
    /// vCPUs that are up.
    pub online_vcpus: u32,
    /// Highest number of a vCPU; `None` before there is one.
    pub max_vcpu_id: Option<u32>,
}

impl From<GetDomainInfo> for DomainInfo {
    fn from(raw: GetDomainInfo) -> Self {
        let has = |flag| raw.flags & flag != 0;
        let reason =
            raw.flags >> domctl::XEN_DOMINF_SHUTDOWNSHIFT & domctl::XEN_DOMINF_SHUTDOWNMASK;
        let shutdown = has(domctl::XEN_DOMINF_SHUTDOWN).then(|| ShutdownReason::from_raw(reason));
        Self {
            domid: DomId(raw.domain),
            handle: DomainHandle(raw.handle),
            state: DomainState {
                dying: has(domctl::XEN_DOMINF_DYING),
                shutdown,
                paused: has(domctl::XEN_DOMINF_PAUSED),
                blocked: has(domctl::XEN_DOMINF_BLOCKED),
                running: has(domctl::XEN_DOMINF_RUNNING),
            },
            tot_pages: Pages(raw.tot_pages),
            max_pages: Pages(raw.max_pages),
            cpu_time_ns: raw.cpu_time,
            online_vcpus: raw.nr_online_vcpus,
            max_vcpu_id: (raw.max_vcpu_id != u32::MAX).then_some(raw.max_vcpu_id),
        }
    }
}

fn failed(operation: &'static str, domid: DomId) -> impl FnOnce(Errno) -> Error {
    move |errno| Error::Hypercall { operation, domid: Some(domid), errno }
}

impl Xen {
    /// Creates a PVH domain, paused, without vCPUs and memory, and gives its number, which Xen
    /// chooses.
    ///
    /// # Errors
    /// Xen refuses; `ENOMEM` if it has too little memory.
    pub fn create_domain(&self, wanted: &CreateDomain) -> Result<DomId, Error> {
        // Xen takes grant table version 1; 0 is invalid.
        const GRANT_VERSION: u32 = 1;
        let flags = domctl::XEN_DOMCTL_CDF_HVM | domctl::XEN_DOMCTL_CDF_HAP;
        let any = DomId::FIRST_RESERVED;
        let made = if self.domctl_version() < 0x17 {
            let payload = CreateDomain16 {
                handle: wanted.handle.0,
                flags,
                max_vcpus: wanted.max_vcpus,
                max_evtchn_port: wanted.max_event_channels,
                max_grant_frames: wanted.max_grant_frames,
                max_maptrack_frames: wanted.max_maptrack_frames,
                grant_opts: GRANT_VERSION,
                arch_emulation_flags: domctl::XEN_X86_EMU_LAPIC,
                ..CreateDomain16::default()
            };
            self.domctl(domctl::XEN_DOMCTL_CREATEDOMAIN, any, &payload)
        } else {
            let payload = CreateDomain17 {
                handle: wanted.handle.0,
                flags,
                max_vcpus: wanted.max_vcpus,
                max_evtchn_port: wanted.max_event_channels,
                max_grant_frames: wanted.max_grant_frames,
                max_maptrack_frames: wanted.max_maptrack_frames,
                grant_opts: GRANT_VERSION,
                arch_emulation_flags: domctl::XEN_X86_EMU_LAPIC,
                ..CreateDomain17::default()
            };
            self.domctl(domctl::XEN_DOMCTL_CREATEDOMAIN, any, &payload)
        };
        made.map_err(|errno| Error::Hypercall {
            operation: "domctl createdomain",
            domid: None,
            errno,
        })?;
        Ok(self.domctl_domain())
    }

    /// Creates the domain's vCPUs. The number must be the one it was created with.
    ///
    /// # Errors
    /// Xen refuses; the domain must then be destroyed, for it may have some of them.
    pub fn max_vcpus(&self, domid: DomId, max: u32) -> Result<(), Error> {
        self.domctl(domctl::XEN_DOMCTL_MAX_VCPUS, domid, &MaxVcpus { max })
            .map_err(failed("domctl max_vcpus", domid))
    }

    /// Limits the domain's memory.
    ///
    /// # Errors
    /// Xen refuses.
    pub fn set_max_mem(&self, domid: DomId, memory: KiB) -> Result<(), Error> {
        self.domctl(domctl::XEN_DOMCTL_MAX_MEM, domid, &MaxMem { max_memkb: memory.0 })
            .map_err(failed("domctl max_mem", domid))
    }

    /// Sizes the pool from which Xen takes the domain's page tables, in whole pages.
    ///
    /// # Errors
    /// Xen refuses; `ENOMEM` if it has too little memory, or if more of the pool is in use.
    pub fn set_paging_mempool(&self, domid: DomId, size: Bytes) -> Result<(), Error> {
        let payload = PagingMempool { size: size.0 };
        self.domctl(domctl::XEN_DOMCTL_SET_PAGING_MEMPOOL_SIZE, domid, &payload)
            .map_err(failed("domctl set_paging_mempool_size", domid))
    }

    /// Size of the pool from which Xen takes the domain's page tables.
    ///
    /// # Errors
    /// Xen refuses.
    pub fn paging_mempool(&self, domid: DomId) -> Result<Bytes, Error> {
        let cmd = domctl::XEN_DOMCTL_GET_PAGING_MEMPOOL_SIZE;
        self.domctl(cmd, domid, &PagingMempool::default())
            .map_err(failed("domctl get_paging_mempool_size", domid))?;
        Ok(Bytes(self.domctl_answer::<PagingMempool>().size))
    }

    /// Sets the domain's wall clock off from the host's, and makes Xen write it.
    ///
    /// # Errors
    /// Xen refuses.
    pub fn set_time_offset(&self, domid: DomId, seconds: i64) -> Result<(), Error> {
        let payload = SetTimeOffset { time_offset_seconds: seconds };
        self.domctl(domctl::XEN_DOMCTL_SETTIMEOFFSET, domid, &payload)
            .map_err(failed("domctl settimeoffset", domid))
    }

    /// Loads HVM state into the domain (see [`crate::hvm_context`]). Only vCPUs with a CPU record
    /// in it are up afterwards.
    ///
    /// # Errors
    /// Xen refuses, or the state is too long.
    pub fn set_hvm_context(&self, domid: DomId, context: &[u8]) -> Result<(), Error> {
        let failed = failed("domctl sethvmcontext", domid);
        let size = match u32::try_from(context.len()) {
            Ok(size) if context.len() <= EXTRA_LEN => size,
            _ => return Err(failed(Errno::E2BIG)),
        };
        self.arena.put_bytes(EXTRA, context);
        let payload = HvmContext { size, pad: 0, buffer: self.arena.address(EXTRA) };
        self.domctl(domctl::XEN_DOMCTL_SETHVMCONTEXT, domid, &payload).map_err(failed)
    }

    /// Pauses the domain; pauses are counted.
    ///
    /// # Errors
    /// Xen refuses.
    pub fn pause(&self, domid: DomId) -> Result<(), Error> {
        self.domctl(domctl::XEN_DOMCTL_PAUSEDOMAIN, domid, &[0u8; 0])
            .map_err(failed("domctl pausedomain", domid))
    }

    /// Takes one pause back; the first time starts the domain.
    ///
    /// # Errors
    /// Xen refuses; `EINVAL` if the domain is not paused.
    pub fn unpause(&self, domid: DomId) -> Result<(), Error> {
        self.domctl(domctl::XEN_DOMCTL_UNPAUSEDOMAIN, domid, &[0u8; 0])
            .map_err(failed("domctl unpausedomain", domid))
    }

    /// Destroys the domain. Blocks until Xen has taken its memory back. While somebody holds a
    /// page of it, it stays as a zombie.
    ///
    /// # Errors
    /// Xen refuses, or the domain is dom0.
    pub fn destroy(&self, domid: DomId) -> Result<(), Error> {
        guest_only("destroydomain", domid)?;
        self.domctl(domctl::XEN_DOMCTL_DESTROYDOMAIN, domid, &[0u8; 0])
            .map_err(failed("domctl destroydomain", domid))
    }

    /// What Xen tells of a domain; `None` if there is none with this number.
    ///
    /// # Errors
    /// Xen refuses.
    pub fn domain_info(&self, domid: DomId) -> Result<Option<DomainInfo>, Error> {
        let cmd = domctl::XEN_DOMCTL_GETDOMAININFO;
        match self.domctl(cmd, domid, &GetDomainInfo::default()) {
            Ok(()) => {
                let info: DomainInfo = self.domctl_answer::<GetDomainInfo>().into();
                // Xen 4.17 answers for the next higher domain if this one does not exist.
                Ok((info.domid == domid).then_some(info))
            }
            Err(Errno::ESRCH) => Ok(None),
            Err(errno) => Err(failed("domctl getdomaininfo", domid)(errno)),
        }
    }

    /// What Xen tells of all domains from a number on, in the order of their numbers.
    ///
    /// # Errors
    /// Xen refuses.
    pub fn domain_list(&self, first: DomId) -> Result<Vec<DomainInfo>, Error> {
        const AT_ONCE: usize = EXTRA_LEN / size_of::<GetDomainInfo>();
        let mut domains = Vec::new();
        let mut next = first.0;
        loop {
            let question = GetDomainInfoList {
                first_domain: next,
                max_domains: u32::try_from(AT_ONCE).unwrap_or(u32::MAX),
                buffer: self.arena.address(EXTRA),
                ..GetDomainInfoList::default()
            };
            let answer =
                self.sysctl("sysctl getdomaininfolist", XEN_SYSCTL_GETDOMAININFOLIST, &question)?;
            let count = usize::try_from(answer.num_domains).unwrap_or(usize::MAX).min(AT_ONCE);
            let raw = |index: usize| -> GetDomainInfo {
                self.arena.get(EXTRA + index * size_of::<GetDomainInfo>())
            };
            domains.extend((0..count).map(raw).map(DomainInfo::from));
            match domains.last().and_then(|last: &DomainInfo| last.domid.0.checked_add(1)) {
                Some(after) if count == AT_ONCE => next = after,
                _ => return Ok(domains),
            }
        }
    }

    /// Makes a domain shut down as if it had done so itself.
    ///
    /// # Errors
    /// Xen refuses, or the domain is dom0: that would shut down the host.
    pub fn remote_shutdown(&self, domid: DomId, reason: u32) -> Result<(), Error> {
        guest_only("remote_shutdown", domid)?;
        self.arena.put(0, &SchedRemoteShutdown { domain_id: domid.0, pad: 0, reason });
        self.call(HYPERVISOR_SCHED_OP, [SCHEDOP_REMOTE_SHUTDOWN, self.arena.address(0), 0, 0, 0])
            .map(drop)
            .map_err(failed("sched_op remote_shutdown", domid))
    }
}

fn guest_only(operation: &'static str, domid: DomId) -> Result<(), Error> {
    match domid.is_guest() {
        true => Ok(()),
        false => Err(Error::Refused { operation, domid, reason: "it is no guest" }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_xen_tells_is_read_right() {
        let raw = GetDomainInfo {
            domain: 7,
            flags: domctl::XEN_DOMINF_SHUTDOWN
                | domctl::XEN_DOMINF_HVM_GUEST
                | sys::SHUTDOWN_CRASH << domctl::XEN_DOMINF_SHUTDOWNSHIFT,
            max_vcpu_id: u32::MAX,
            ..GetDomainInfo::default()
        };
        let info = DomainInfo::from(raw);
        assert_eq!(info.state.shutdown, Some(ShutdownReason::Crash));
        assert_eq!(info.max_vcpu_id, None);
        assert!(!info.state.paused && !info.state.dying);
    }

    #[test]
    fn dom0_and_reserved_numbers_are_no_guests() {
        for domid in [DomId::DOM0, DomId::FIRST_RESERVED, DomId(u16::MAX)] {
            assert!(matches!(guest_only("x", domid), Err(Error::Refused { .. })));
        }
    }
}
