//! What Xen tells of the machine and of itself.

use xen_abi::sysctl::{PhysInfo, XEN_SYSCTL_PHYSINFO};

use crate::error::Error;
use crate::hypercall::Xen;
use crate::units::Pages;

/// The machine (`struct xen_sysctl_physinfo`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostInfo {
    /// Physical CPUs.
    pub cpus: u32,
    /// Clock rate of a CPU in kHz.
    pub cpu_khz: u32,
    /// All memory.
    pub total: Pages,
    /// Memory that no domain has. Includes [`HostInfo::scrub`].
    pub free: Pages,
    /// Free memory that must still be cleared before a domain gets it.
    pub scrub: Pages,
    /// Free memory that is promised to domains already.
    pub outstanding: Pages,
}

impl Xen {
    /// Asks about the machine.
    ///
    /// # Errors
    /// Xen refuses.
    pub fn physinfo(&self) -> Result<HostInfo, Error> {
        let mut raw = PhysInfo::default();
        self.sysctl("sysctl physinfo", XEN_SYSCTL_PHYSINFO, &mut raw)?;
        Ok(HostInfo {
            cpus: raw.nr_cpus,
            cpu_khz: raw.cpu_khz,
            total: Pages(raw.total_pages),
            free: Pages(raw.free_pages),
            scrub: Pages(raw.scrub_pages),
            outstanding: Pages(raw.outstanding_pages),
        })
    }
}
