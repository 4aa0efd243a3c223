// SPDX-License-Identifier: MIT OR Apache-2.0
//! The machine and Xen itself: `version.h`, and the parts of `sysctl.h` about them.

use std::mem::size_of;

use xen_abi::{memory, sysctl, version};

use crate::c::{Table, structure};
use crate::{PROLOGUE, xen_headers};

#[test]
fn xens_console_and_the_machine() {
    let mut t = Table::default();
    structure!(
        t,
        "struct xen_sysctl_readconsole" = sysctl::ReadConsole {
            clear: "clear",
            incremental: "incremental",
            index: "index",
            buffer: "buffer",
            count: "count",
        }
    );
    structure!(
        t,
        "struct xen_sysctl_debug_keys" = sysctl::DebugKeys { keys: "keys", nr_keys: "nr_keys" }
    );
    structure!(
        t,
        "struct xen_sysctl_physinfo" = sysctl::PhysInfo {
            threads_per_core: "threads_per_core",
            cores_per_socket: "cores_per_socket",
            max_cpu_id: "max_cpu_id",
            nr_nodes: "nr_nodes",
            max_node_id: "max_node_id",
            cpu_khz: "cpu_khz",
            capabilities: "capabilities",
            arch_capabilities: "arch_capabilities",
            max_mfn: "max_mfn",
        }
    );
    t.size("((struct xen_sysctl_physinfo *)0)->hw_cap", size_of::<[u32; 8]>());
    structure!(
        t,
        "struct xen_sysctl_getcpuinfo" =
            sysctl::GetCpuInfo { max_cpus: "max_cpus", info: "info", nr_cpus: "nr_cpus" }
    );
    t.size("struct xen_sysctl_cpuinfo", size_of::<u64>());
    structure!(
        t,
        "struct xen_sysctl_cputopo" =
            sysctl::CpuTopo { core: "core", socket: "socket", node: "node" }
    );
    structure!(
        t,
        "struct xen_sysctl_cputopoinfo" =
            sysctl::CpuTopoInfo { num_cpus: "num_cpus", cputopo: "cputopo" }
    );
    structure!(
        t,
        "struct physdev_pci_device" = sysctl::PciDevice { seg: "seg", bus: "bus", devfn: "devfn" }
    );
    structure!(
        t,
        "struct xen_sysctl_pcitopoinfo" =
            sysctl::PciTopoInfo { num_devs: "num_devs", devs: "devs", nodes: "nodes" }
    );
    structure!(
        t,
        "struct xen_sysctl_meminfo" = sysctl::MemInfo { memsize: "memsize", memfree: "memfree" }
    );
    structure!(
        t,
        "struct xen_sysctl_numainfo" =
            sysctl::NumaMemory { num_nodes: "num_nodes", meminfo: "meminfo", distance: "distance" }
    );
    structure!(
        t,
        "struct xen_sysctl_numainfo" = sysctl::NumaDistances {
            num_nodes: "num_nodes",
            meminfo: "meminfo",
            distance: "distance",
        }
    );
    for (c, ours) in [
        ("XEN_SYSCTL_readconsole", sysctl::XEN_SYSCTL_READCONSOLE),
        ("XEN_SYSCTL_debug_keys", sysctl::XEN_SYSCTL_DEBUG_KEYS),
        ("XEN_SYSCTL_getcpuinfo", sysctl::XEN_SYSCTL_GETCPUINFO),
        ("XEN_SYSCTL_cputopoinfo", sysctl::XEN_SYSCTL_CPUTOPOINFO),
        ("XEN_SYSCTL_pcitopoinfo", sysctl::XEN_SYSCTL_PCITOPOINFO),
        ("XEN_INVALID_DEV", sysctl::XEN_INVALID_DEV),
        ("XEN_SYSCTL_numainfo", sysctl::XEN_SYSCTL_NUMAINFO),
        ("XEN_SYSCTL_PHYSCAP_hvm", sysctl::XEN_SYSCTL_PHYSCAP_HVM),
        ("XEN_SYSCTL_PHYSCAP_pv", sysctl::XEN_SYSCTL_PHYSCAP_PV),
        ("XEN_SYSCTL_PHYSCAP_directio", sysctl::XEN_SYSCTL_PHYSCAP_DIRECTIO),
        ("XEN_SYSCTL_PHYSCAP_hap", sysctl::XEN_SYSCTL_PHYSCAP_HAP),
        ("XEN_SYSCTL_PHYSCAP_shadow", sysctl::XEN_SYSCTL_PHYSCAP_SHADOW),
        ("XEN_SYSCTL_PHYSCAP_iommu_hap_pt_share", sysctl::XEN_SYSCTL_PHYSCAP_IOMMU_HAP_PT_SHARE),
        ("XEN_SYSCTL_PHYSCAP_vmtrace", sysctl::XEN_SYSCTL_PHYSCAP_VMTRACE),
        ("XEN_SYSCTL_PHYSCAP_vpmu", sysctl::XEN_SYSCTL_PHYSCAP_VPMU),
        ("XEN_SYSCTL_PHYSCAP_gnttab_v1", sysctl::XEN_SYSCTL_PHYSCAP_GNTTAB_V1),
        ("XEN_SYSCTL_PHYSCAP_gnttab_v2", sysctl::XEN_SYSCTL_PHYSCAP_GNTTAB_V2),
        ("XEN_INVALID_CORE_ID", sysctl::XEN_INVALID_CORE_ID),
        ("XEN_INVALID_SOCKET_ID", sysctl::XEN_INVALID_SOCKET_ID),
        ("XEN_INVALID_NODE_ID", sysctl::XEN_INVALID_NODE_ID),
        ("XEN_INVALID_MEM_SZ", sysctl::XEN_INVALID_MEM_SZ),
        ("XEN_INVALID_NODE_DIST", sysctl::XEN_INVALID_NODE_DIST),
    ] {
        t.value(c, ours);
    }
    t.value("XENMEM_get_sharing_freed_pages", memory::XENMEM_GET_SHARING_FREED_PAGES);
    t.value("XENMEM_get_sharing_shared_pages", memory::XENMEM_GET_SHARING_SHARED_PAGES);
    t.compare(PROLOGUE, xen_headers().as_deref());
}

#[test]
fn versions() {
    let mut t = Table::default();
    t.size("xen_extraversion_t", size_of::<version::ExtraVersion>());
    structure!(
        t,
        "struct xen_compile_info" = version::CompileInfo {
            compiler: "compiler",
            compile_by: "compile_by",
            compile_domain: "compile_domain",
            compile_date: "compile_date",
        }
    );
    t.size("xen_capabilities_info_t", size_of::<version::CapabilitiesInfo>());
    t.size("xen_changeset_info_t", size_of::<version::ChangesetInfo>());
    structure!(
        t,
        "struct xen_platform_parameters" = version::PlatformParameters { virt_start: "virt_start" }
    );
    t.size("xen_commandline_t", size_of::<version::CommandLine>());
    // The structure ends with an array of unknown length.
    t.offset("xen_build_id_t", "len", std::mem::offset_of!(version::BuildId, len));
    t.offset("xen_build_id_t", "buf", std::mem::offset_of!(version::BuildId, buf));
    for (c, ours) in [
        ("XENVER_version", version::XENVER_VERSION),
        ("XENVER_extraversion", version::XENVER_EXTRAVERSION),
        ("XENVER_compile_info", version::XENVER_COMPILE_INFO),
        ("XENVER_capabilities", version::XENVER_CAPABILITIES),
        ("XENVER_changeset", version::XENVER_CHANGESET),
        ("XENVER_platform_parameters", version::XENVER_PLATFORM_PARAMETERS),
        ("XENVER_pagesize", version::XENVER_PAGESIZE),
        ("XENVER_commandline", version::XENVER_COMMANDLINE),
        ("XENVER_build_id", version::XENVER_BUILD_ID),
    ] {
        t.value(c, ours);
    }
    t.compare(PROLOGUE, xen_headers().as_deref());
}
