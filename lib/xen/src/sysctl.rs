// SPDX-License-Identifier: MIT OR Apache-2.0
//! What Xen reports about the machine as a whole. For its CPUs and NUMA nodes see
//! [`crate::topology`].

use xen_abi::sysctl::{self, PhysInfo, XEN_SYSCTL_PHYSINFO};

use crate::error::Error;
use crate::hypercall::Xen;
use crate::units::Pages;

/// The most CPUs that a Xen can be built for, rounded up to whole bytes of a bitmap: 16383 since
/// 4.20, 4095 before (`CONFIG_NR_CPUS`).
const MAX_CPUS: usize = 16384;

/// The machine (`struct xen_sysctl_physinfo`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostInfo {
    /// Number of physical CPUs that are online.
    pub cpus: u32,
    /// The highest number that a CPU can have.
    pub max_cpu_id: u32,
    /// Threads of a core.
    pub threads_per_core: u32,
    /// Cores of a socket.
    pub cores_per_socket: u32,
    /// Number of NUMA nodes that are online.
    pub nodes: u32,
    /// The highest number that a NUMA node can have.
    pub max_node_id: u32,
    /// Clock rate of a CPU in kHz.
    pub cpu_khz: u32,
    /// The first words of Xen's list of CPU features (`X86_FEATURE_*`, CPUID).
    pub hw_cap: [u32; 8],
    /// What the machine can do.
    pub capabilities: HostCapabilities,
    /// All physical memory.
    pub total: Pages,
    /// Memory that belongs to no domain, [`HostInfo::scrub`] included.
    pub free: Pages,
    /// Free memory that Xen still has to clear before a domain can get it.
    pub scrub: Pages,
    /// Free memory that is already claimed by domains.
    pub outstanding: Pages,
    /// The highest number that a machine frame can have.
    pub max_mfn: u64,
}

/// What this machine can do with this Xen (`XEN_SYSCTL_PHYSCAP_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostCapabilities(u32);

impl HostCapabilities {
    /// Returns whether it can run HVM and PVH guests.
    #[must_use]
    pub fn hvm(self) -> bool {
        self.has(sysctl::XEN_SYSCTL_PHYSCAP_HVM)
    }

    /// Returns whether it can run PV guests.
    #[must_use]
    pub fn pv(self) -> bool {
        self.has(sysctl::XEN_SYSCTL_PHYSCAP_PV)
    }

    /// Returns whether guests can get devices, because there is an IOMMU.
    #[must_use]
    pub fn directio(self) -> bool {
        self.has(sysctl::XEN_SYSCTL_PHYSCAP_DIRECTIO)
    }

    /// Returns whether CPUs translate guests' addresses (hardware-assisted paging), which PVH guests
    /// of this project need.
    #[must_use]
    pub fn hap(self) -> bool {
        self.has(sysctl::XEN_SYSCTL_PHYSCAP_HAP)
    }

    /// Returns xl's names of the capabilities, in xl's order (`virt_caps` of `xl info`).
    #[must_use]
    pub fn names(self) -> Vec<&'static str> {
        let names = [
            ("pv", self.pv()),
            ("hvm", self.hvm()),
            ("hvm_directio", self.hvm() && self.directio()),
            ("pv_directio", self.pv() && self.directio()),
            ("hap", self.hap()),
            ("shadow", self.has(sysctl::XEN_SYSCTL_PHYSCAP_SHADOW)),
            ("iommu_hap_pt_share", self.has(sysctl::XEN_SYSCTL_PHYSCAP_IOMMU_HAP_PT_SHARE)),
            ("vmtrace", self.has(sysctl::XEN_SYSCTL_PHYSCAP_VMTRACE)),
            ("vpmu", self.has(sysctl::XEN_SYSCTL_PHYSCAP_VPMU)),
            ("gnttab-v1", self.has(sysctl::XEN_SYSCTL_PHYSCAP_GNTTAB_V1)),
            ("gnttab-v2", self.has(sysctl::XEN_SYSCTL_PHYSCAP_GNTTAB_V2)),
        ];
        names.into_iter().filter_map(|(name, has)| has.then_some(name)).collect()
    }

    fn has(self, bit: u32) -> bool {
        self.0 & bit != 0
    }
}

impl Xen {
    /// Returns the machine's CPUs, capabilities and memory.
    ///
    /// # Errors
    /// Xen refuses.
    pub fn physinfo(&self) -> Result<HostInfo, Error> {
        let mut raw = PhysInfo::default();
        self.sysctl("sysctl physinfo", XEN_SYSCTL_PHYSINFO, &mut raw)?;
        Ok(HostInfo {
            cpus: raw.nr_cpus,
            max_cpu_id: raw.max_cpu_id,
            threads_per_core: raw.threads_per_core,
            cores_per_socket: raw.cores_per_socket,
            nodes: raw.nr_nodes,
            max_node_id: raw.max_node_id,
            cpu_khz: raw.cpu_khz,
            hw_cap: raw.hw_cap,
            capabilities: HostCapabilities(raw.capabilities),
            total: Pages(raw.total_pages),
            free: Pages(raw.free_pages),
            scrub: Pages(raw.scrub_pages),
            outstanding: Pages(raw.outstanding_pages),
            max_mfn: raw.max_mfn,
        })
    }

    /// Returns how many numbers CPUs can have. It does not change while Xen runs, so Xen is asked
    /// once.
    pub(crate) fn possible_cpus(&self) -> Result<usize, Error> {
        if let Some(known) = self.known_cpus() {
            return Ok(known);
        }
        let count = count_of(self.physinfo()?.max_cpu_id);
        self.note_cpus(count);
        Ok(count)
    }

    /// Returns the length in bytes of a bitmap that has a bit for each CPU.
    pub(crate) fn cpu_map_length(&self) -> Result<usize, Error> {
        Ok(self.possible_cpus()?.div_ceil(8))
    }
}

fn count_of(max_cpu_id: u32) -> usize {
    usize::try_from(max_cpu_id).map_or(MAX_CPUS, |highest| highest.min(MAX_CPUS - 1) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_cpus_is_bounded() {
        assert_eq!(count_of(0), 1);
        assert_eq!(count_of(255), 256);
        assert_eq!(count_of(u32::MAX), MAX_CPUS);
    }

    #[test]
    fn capabilities_have_xls_names() {
        let all = HostCapabilities(u32::MAX);
        assert_eq!(all.names().len(), 11);
        let bits = sysctl::XEN_SYSCTL_PHYSCAP_PV | sysctl::XEN_SYSCTL_PHYSCAP_DIRECTIO;
        assert_eq!(HostCapabilities(bits).names(), ["pv", "pv_directio"]);
        assert_eq!(HostCapabilities(0).names(), [""; 0]);
    }
}
