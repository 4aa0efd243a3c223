// SPDX-License-Identifier: MIT OR Apache-2.0
//! What Xen reports about the machine.

use xen_abi::sysctl::{PhysInfo, XEN_SYSCTL_PHYSINFO};

use crate::error::Error;
use crate::hypercall::Xen;
use crate::units::Pages;

/// The machine (`struct xen_sysctl_physinfo`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostInfo {
    /// Number of physical CPUs.
    pub cpus: u32,
    /// Clock rate of a CPU in kHz.
    pub cpu_khz: u32,
    /// All physical memory.
    pub total: Pages,
    /// Memory that belongs to no domain, [`HostInfo::scrub`] included.
    pub free: Pages,
    /// Free memory that Xen still has to clear before a domain can get it.
    pub scrub: Pages,
    /// Free memory that is already claimed by domains.
    pub outstanding: Pages,
}

impl Xen {
    /// Returns the machine's CPUs and memory.
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
