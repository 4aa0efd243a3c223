// SPDX-License-Identifier: MIT OR Apache-2.0
//! What Xen reports about a domain.

use xen_abi::domctl::{self, GetDomainInfo};
use xen_abi::sched;

use crate::units::{DomId, DomainHandle, Pages};

/// Why a domain shut down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShutdownReason {
    /// It powered off.
    Poweroff,
    /// It asked to be restarted.
    Reboot,
    /// It suspended, to be saved or migrated.
    Suspend,
    /// It crashed.
    Crash,
    /// Its watchdog expired.
    Watchdog,
    /// It asked to be reset without losing its memory.
    SoftReset,
    /// An unknown code.
    Other(u8),
}

impl ShutdownReason {
    fn from_raw(raw: u32) -> Self {
        match raw {
            sched::SHUTDOWN_POWEROFF => Self::Poweroff,
            sched::SHUTDOWN_REBOOT => Self::Reboot,
            sched::SHUTDOWN_SUSPEND => Self::Suspend,
            sched::SHUTDOWN_CRASH => Self::Crash,
            sched::SHUTDOWN_WATCHDOG => Self::Watchdog,
            sched::SHUTDOWN_SOFT_RESET => Self::SoftReset,
            // `XEN_DOMINF_SHUTDOWNMASK` leaves one byte.
            other => Self::Other(other.to_le_bytes()[0]),
        }
    }
}

/// What a domain is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DomainState {
    /// Xen has destroyed it, but some process or domain still holds pages of it.
    pub dying: bool,
    /// It has shut down.
    pub shutdown: Option<ShutdownReason>,
    /// The toolstack paused it.
    pub paused: bool,
    /// All its vCPUs wait for events.
    pub blocked: bool,
    /// One of its vCPUs runs on a CPU.
    pub running: bool,
}

/// What Xen reports about a domain (`struct xen_domctl_getdomaininfo`).
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
    /// Number of vCPUs that are up.
    pub online_vcpus: u32,
    /// The highest vCPU number; `None` if there are no vCPUs yet.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xens_structure_is_converted() {
        let raw = GetDomainInfo {
            domain: 7,
            flags: domctl::XEN_DOMINF_SHUTDOWN
                | domctl::XEN_DOMINF_HVM_GUEST
                | sched::SHUTDOWN_CRASH << domctl::XEN_DOMINF_SHUTDOWNSHIFT,
            max_vcpu_id: u32::MAX,
            ..GetDomainInfo::default()
        };
        let info = DomainInfo::from(raw);
        assert_eq!(info.state.shutdown, Some(ShutdownReason::Crash));
        assert_eq!(info.max_vcpu_id, None);
        assert!(!info.state.paused && !info.state.dying);
    }

    #[test]
    fn each_shutdown_code_has_its_reason() {
        for (code, reason) in [
            (sched::SHUTDOWN_POWEROFF, ShutdownReason::Poweroff),
            (sched::SHUTDOWN_REBOOT, ShutdownReason::Reboot),
            (sched::SHUTDOWN_SUSPEND, ShutdownReason::Suspend),
            (sched::SHUTDOWN_CRASH, ShutdownReason::Crash),
            (sched::SHUTDOWN_WATCHDOG, ShutdownReason::Watchdog),
            (sched::SHUTDOWN_SOFT_RESET, ShutdownReason::SoftReset),
            (77, ShutdownReason::Other(77)),
            (255, ShutdownReason::Other(255)),
        ] {
            assert_eq!(ShutdownReason::from_raw(code), reason);
        }
    }
}
