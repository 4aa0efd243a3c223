//! What Xen tells of the machine.

use crate::error::Error;
use crate::hypercall::Xen;
use crate::sys::sysctl::{PhysInfo, XEN_SYSCTL_PHYSINFO};
use crate::units::Pages;

/// The machine (`struct xen_sysctl_physinfo`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostInfo {
    /// Physical CPUs.
    pub cpus: u32,
    /// All memory.
    pub total: Pages,
    /// Memory that no domain has. Includes [`HostInfo::scrub`].
    pub free: Pages,
    /// Free memory that must still be cleared before a domain gets it.
    pub scrub: Pages,
}

impl Xen {
    /// Asks about the machine.
    ///
    /// # Errors
    /// Xen refuses.
    pub fn physinfo(&self) -> Result<HostInfo, Error> {
        let raw = self.sysctl("sysctl physinfo", XEN_SYSCTL_PHYSINFO, &PhysInfo::default())?;
        Ok(HostInfo {
            cpus: raw.nr_cpus,
            total: Pages(raw.total_pages),
            free: Pages(raw.free_pages),
            scrub: Pages(raw.scrub_pages),
        })
    }
}
