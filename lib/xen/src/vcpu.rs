// SPDX-License-Identifier: MIT OR Apache-2.0
//! vCPUs: their state, the CPUs that they may and should run on, and triggers.

use xen_abi::domctl::{self, GetVcpuInfo, SendTrigger, VcpuAffinity};

use crate::cpu_map::CpuMap;
use crate::error::Error;
use crate::hypercall::Xen;
use crate::units::DomId;

/// Which of a vCPU's two sets of CPUs is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Affinity {
    /// The CPUs that it may run on.
    Hard,
    /// The CPUs that it should run on if one of them is free.
    Soft,
}

impl Affinity {
    fn flag(self) -> u32 {
        match self {
            Self::Hard => domctl::XEN_VCPUAFFINITY_HARD,
            Self::Soft => domctl::XEN_VCPUAFFINITY_SOFT,
        }
    }
}

/// What Xen reports about a vCPU (`struct xen_domctl_getvcpuinfo`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VcpuInfo {
    /// It is up.
    pub online: bool,
    /// It waits for an event.
    pub blocked: bool,
    /// It runs on a CPU.
    pub running: bool,
    /// CPU time it has used, in nanoseconds.
    pub cpu_time_ns: u64,
    /// The CPU that it runs on, or last ran on.
    pub cpu: u32,
}

impl From<GetVcpuInfo> for VcpuInfo {
    fn from(raw: GetVcpuInfo) -> Self {
        Self {
            online: raw.online != 0,
            blocked: raw.blocked != 0,
            running: raw.running != 0,
            cpu_time_ns: raw.cpu_time,
            cpu: raw.cpu,
        }
    }
}

/// An event that [`Xen::send_trigger`] raises in a vCPU (`XEN_DOMCTL_SENDTRIGGER_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// A non-maskable interrupt.
    Nmi,
    /// A reset. Xen on x86 does not support it.
    Reset,
    /// An INIT. Xen on x86 does not support it.
    Init,
    /// ACPI's power button.
    Power,
    /// ACPI's sleep button.
    Sleep,
}

impl Trigger {
    fn number(self) -> u32 {
        match self {
            Self::Nmi => domctl::XEN_DOMCTL_SENDTRIGGER_NMI,
            Self::Reset => domctl::XEN_DOMCTL_SENDTRIGGER_RESET,
            Self::Init => domctl::XEN_DOMCTL_SENDTRIGGER_INIT,
            Self::Power => domctl::XEN_DOMCTL_SENDTRIGGER_POWER,
            Self::Sleep => domctl::XEN_DOMCTL_SENDTRIGGER_SLEEP,
        }
    }

    /// Returns whether Xen would accept the trigger for such a domain and do nothing.
    fn is_lost(self, flags: u32, emulation_flags: u32) -> bool {
        matches!(self, Self::Power | Self::Sleep)
            && flags & domctl::XEN_DOMINF_HVM_GUEST != 0
            && emulation_flags & domctl::XEN_X86_EMU_PM == 0
    }
}

impl Xen {
    /// Returns what Xen reports about a vCPU. The domain may be dom0: nothing is changed.
    ///
    /// # Errors
    /// `EINVAL` if the domain cannot have a vCPU of this number (`ENOENT` since Xen 4.22), `ESRCH` if
    /// the domain does not exist or does not have this vCPU yet.
    pub fn vcpu_info(&self, domid: DomId, vcpu: u32) -> Result<VcpuInfo, Error> {
        let mut raw = GetVcpuInfo { vcpu, ..GetVcpuInfo::default() };
        self.domctl("domctl getvcpuinfo", domctl::XEN_DOMCTL_GETVCPUINFO, domid, &mut raw)?;
        Ok(raw.into())
    }

    /// Returns a vCPU's set of CPUs as it was last set, or the default: all. It may contain CPUs
    /// that do not exist, or that are not in the domain's cpupool. The domain may be dom0: nothing
    /// is changed.
    ///
    /// # Errors
    /// As for [`Xen::vcpu_info`].
    pub fn vcpu_affinity(
        &self,
        domid: DomId,
        vcpu: u32,
        affinity: Affinity,
    ) -> Result<CpuMap, Error> {
        let cmd = domctl::XEN_DOMCTL_GETVCPUAFFINITY;
        let raw = VcpuAffinity { vcpu, flags: affinity.flag(), ..VcpuAffinity::default() };
        self.affinity_call("domctl getvcpuaffinity", cmd, domid, raw, &CpuMap::new())
    }

    /// Sets one of a vCPU's sets of CPUs, and returns what is effective of it: for the hard
    /// affinity, the CPUs that are in the domain's cpupool; for the soft one, those of them that
    /// are in the hard affinity, too. The vCPU moves at once if it has to. An effective soft
    /// affinity that is empty has no effect.
    ///
    /// A call sets one of the two. If the second of two calls fails, the first has taken effect.
    ///
    /// The domain may be dom0: its vCPUs continue on other CPUs, and xl pins them, too.
    ///
    /// # Errors
    /// As for [`Xen::vcpu_info`]; `EINVAL` if a hard affinity has no CPU of the domain's cpupool,
    /// `EBUSY` if the domain's kernel has pinned the vCPU for the moment (see
    /// [`Xen::force_vcpu_affinity`]).
    pub fn set_vcpu_affinity(
        &self,
        domid: DomId,
        vcpu: u32,
        affinity: Affinity,
        cpus: &CpuMap,
    ) -> Result<CpuMap, Error> {
        self.set_affinity(domid, vcpu, affinity.flag(), cpus)
    }

    /// As [`Xen::set_vcpu_affinity`], but first undoes a pinning by the domain's kernel
    /// (`SCHEDOP_pin_override`). Only for a kernel that has failed to undo it, such as after an error
    /// in its firmware calls. The domain may be dom0: its kernel is the one that does so.
    ///
    /// # Errors
    /// As for [`Xen::set_vcpu_affinity`], without `EBUSY`.
    pub fn force_vcpu_affinity(
        &self,
        domid: DomId,
        vcpu: u32,
        affinity: Affinity,
        cpus: &CpuMap,
    ) -> Result<CpuMap, Error> {
        self.set_affinity(domid, vcpu, affinity.flag() | domctl::XEN_VCPUAFFINITY_FORCE, cpus)
    }

    fn set_affinity(
        &self,
        domid: DomId,
        vcpu: u32,
        flags: u32,
        cpus: &CpuMap,
    ) -> Result<CpuMap, Error> {
        let cmd = domctl::XEN_DOMCTL_SETVCPUAFFINITY;
        let raw = VcpuAffinity { vcpu, flags, ..VcpuAffinity::default() };
        self.affinity_call("domctl setvcpuaffinity", cmd, domid, raw, cpus)
    }

    fn affinity_call(
        &self,
        name: &'static str,
        cmd: u32,
        domid: DomId,
        mut raw: VcpuAffinity,
        cpus: &CpuMap,
    ) -> Result<CpuMap, Error> {
        let length = self.cpu_map_length()?;
        let data = self.data(length)?;
        data.put(0, cpus.to_bytes(length).as_slice());
        self.domctl_with(name, cmd, domid, &mut raw, &data)?;
        Ok(data.cpu_map())
    }

    /// Raises an event in a vCPU. The domain may be dom0, for an NMI as xl allows it: Linux logs an
    /// NMI without a cause. The buttons reach HVM guests with emulated ACPI only.
    ///
    /// # Errors
    /// [`Error::Refused`] for a button of a PVH domain, for which Xen would do nothing and report
    /// success. `EINVAL` for a button of a PV domain, `ENOSYS` if Xen does not support the trigger,
    /// `ESRCH` if there is no such domain or vCPU.
    pub fn send_trigger(&self, domid: DomId, vcpu: u32, trigger: Trigger) -> Result<(), Error> {
        let operation = "domctl sendtrigger";
        let info = self.raw_domain_info(domid)?;
        if info.is_some_and(|info| trigger.is_lost(info.flags, info.arch_emulation_flags)) {
            let reason = "a PVH domain has no ACPI buttons; use its power requests";
            return Err(Error::Refused { operation, domid, reason });
        }
        let mut raw = SendTrigger { trigger: trigger.number(), vcpu };
        self.domctl(operation, domctl::XEN_DOMCTL_SENDTRIGGER, domid, &mut raw).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xens_structure_is_converted() {
        let raw = GetVcpuInfo { blocked: 1, cpu_time: 7, cpu: 3, ..GetVcpuInfo::default() };
        let info =
            VcpuInfo { online: false, blocked: true, running: false, cpu_time_ns: 7, cpu: 3 };
        assert_eq!(VcpuInfo::from(raw), info);
    }

    #[test]
    fn only_the_buttons_of_pvh_domains_are_lost() {
        let (hvm, pv) = (domctl::XEN_DOMINF_HVM_GUEST, 0);
        for button in [Trigger::Power, Trigger::Sleep] {
            assert!(button.is_lost(hvm, domctl::XEN_X86_EMU_LAPIC));
            assert!(!button.is_lost(hvm, domctl::XEN_X86_EMU_LAPIC | domctl::XEN_X86_EMU_PM));
            // Xen reports an error for these.
            assert!(!button.is_lost(pv, 0));
        }
        assert!(!Trigger::Nmi.is_lost(hvm, domctl::XEN_X86_EMU_LAPIC));
    }
}
