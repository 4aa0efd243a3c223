// SPDX-License-Identifier: MIT OR Apache-2.0
//! `public/sysctl.h`.

use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::hypercall::Bitmap;

/// Size of `struct xen_sysctl`.
pub const SYSCTL_SIZE: usize = 136;

/// `struct xen_sysctl` without its union.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable)]
pub struct SysctlHeader {
    pub cmd: u32,
    pub interface_version: u32,
}

/// Offset of the union in `struct xen_sysctl`.
pub const SYSCTL_UNION: usize = size_of::<SysctlHeader>();
const _: () = assert!(SYSCTL_UNION == 8);

pub const XEN_SYSCTL_READCONSOLE: u32 = 1;
pub const XEN_SYSCTL_PHYSINFO: u32 = 3;
pub const XEN_SYSCTL_SCHED_ID: u32 = 4;
pub const XEN_SYSCTL_GETDOMAININFOLIST: u32 = 6;
pub const XEN_SYSCTL_DEBUG_KEYS: u32 = 7;
pub const XEN_SYSCTL_GETCPUINFO: u32 = 8;
pub const XEN_SYSCTL_CPUTOPOINFO: u32 = 16;
pub const XEN_SYSCTL_NUMAINFO: u32 = 17;
pub const XEN_SYSCTL_CPUPOOL_OP: u32 = 18;
pub const XEN_SYSCTL_SCHEDULER_OP: u32 = 19;
pub const XEN_SYSCTL_PCITOPOINFO: u32 = 22;

/// `struct xen_sysctl_readconsole`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable)]
pub struct ReadConsole {
    pub clear: u8,
    pub incremental: u8,
    pub pad: [u8; 2],
    pub index: u32,
    pub buffer: u64,
    pub count: u32,
    pub pad2: u32,
}
const _: () = assert!(size_of::<ReadConsole>() == 24);

/// `struct xen_sysctl_physinfo`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable)]
pub struct PhysInfo {
    pub threads_per_core: u32,
    pub cores_per_socket: u32,
    pub nr_cpus: u32,
    pub max_cpu_id: u32,
    pub nr_nodes: u32,
    pub max_node_id: u32,
    pub cpu_khz: u32,
    pub capabilities: u32,
    pub arch_capabilities: u32,
    pub pad: u32,
    pub total_pages: u64,
    pub free_pages: u64,
    pub scrub_pages: u64,
    pub outstanding_pages: u64,
    pub max_mfn: u64,
    pub hw_cap: [u32; 8],
}
const _: () = assert!(size_of::<PhysInfo>() == 112);

/// Bits of `capabilities` in [`PhysInfo`].
pub const XEN_SYSCTL_PHYSCAP_HVM: u32 = 1;
pub const XEN_SYSCTL_PHYSCAP_PV: u32 = 2;
pub const XEN_SYSCTL_PHYSCAP_DIRECTIO: u32 = 4;
pub const XEN_SYSCTL_PHYSCAP_HAP: u32 = 8;
pub const XEN_SYSCTL_PHYSCAP_SHADOW: u32 = 0x10;
pub const XEN_SYSCTL_PHYSCAP_IOMMU_HAP_PT_SHARE: u32 = 0x20;
pub const XEN_SYSCTL_PHYSCAP_VMTRACE: u32 = 0x40;
pub const XEN_SYSCTL_PHYSCAP_VPMU: u32 = 0x80;
pub const XEN_SYSCTL_PHYSCAP_GNTTAB_V1: u32 = 0x100;
pub const XEN_SYSCTL_PHYSCAP_GNTTAB_V2: u32 = 0x200;

/// `struct xen_sysctl_sched_id`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable)]
pub struct SchedId {
    pub sched_id: u32,
}
const _: () = assert!(size_of::<SchedId>() == 4);

/// `struct xen_sysctl_getdomaininfolist`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable)]
pub struct GetDomainInfoList {
    pub first_domain: u16,
    pub pad1: u16,
    pub max_domains: u32,
    pub buffer: u64,
    pub num_domains: u32,
    pub pad2: u32,
}
const _: () = assert!(size_of::<GetDomainInfoList>() == 24);

/// `struct xen_sysctl_debug_keys`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable)]
pub struct DebugKeys {
    pub keys: u64,
    pub nr_keys: u32,
    pub pad: u32,
}
const _: () = assert!(size_of::<DebugKeys>() == 16);

/// `struct xen_sysctl_getcpuinfo`. `info` is the address of an array of idle times in ns, of 64 bits
/// each (`struct xen_sysctl_cpuinfo`).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable)]
pub struct GetCpuInfo {
    pub max_cpus: u32,
    pub pad: u32,
    pub info: u64,
    pub nr_cpus: u32,
    pub pad2: u32,
}
const _: () = assert!(size_of::<GetCpuInfo>() == 24);

/// `struct xen_sysctl_cputopo`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable)]
pub struct CpuTopo {
    pub core: u32,
    pub socket: u32,
    pub node: u32,
}
const _: () = assert!(size_of::<CpuTopo>() == 12);

pub const XEN_INVALID_CORE_ID: u32 = u32::MAX;
pub const XEN_INVALID_SOCKET_ID: u32 = u32::MAX;
pub const XEN_INVALID_NODE_ID: u32 = u32::MAX;

/// `struct xen_sysctl_cputopoinfo`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable)]
pub struct CpuTopoInfo {
    pub num_cpus: u32,
    pub pad: u32,
    pub cputopo: u64,
}
const _: () = assert!(size_of::<CpuTopoInfo>() == 16);

/// `struct xen_sysctl_meminfo`, in bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable)]
pub struct MemInfo {
    pub memsize: u64,
    pub memfree: u64,
}
const _: () = assert!(size_of::<MemInfo>() == 16);

/// Both sizes of a node that is not online.
pub const XEN_INVALID_MEM_SZ: u32 = u32::MAX;
pub const XEN_INVALID_NODE_DIST: u32 = u32::MAX;

/// `struct xen_sysctl_numainfo`, to ask for the nodes' memory.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable)]
pub struct NumaMemory {
    pub num_nodes: u32,
    pub pad: u32,
    pub meminfo: u64,
    /// Always 0.
    pub distance: u64,
}
const _: () = assert!(size_of::<NumaMemory>() == 24);

/// `struct xen_sysctl_numainfo`, to ask for the distances of the nodes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable)]
pub struct NumaDistances {
    pub num_nodes: u32,
    pub pad: u32,
    /// Always 0.
    pub meminfo: u64,
    pub distance: u64,
}
const _: () = assert!(size_of::<NumaDistances>() == size_of::<NumaMemory>());

/// `struct physdev_pci_device`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable)]
pub struct PciDevice {
    pub seg: u16,
    pub bus: u8,
    /// The device's number on the bus, and its function in the lowest three bits.
    pub devfn: u8,
}
const _: () = assert!(size_of::<PciDevice>() == 4);

/// The node of a device that Xen does not know.
pub const XEN_INVALID_DEV: u32 = XEN_INVALID_NODE_ID - 1;

/// `struct xen_sysctl_pcitopoinfo`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable)]
pub struct PciTopoInfo {
    pub num_devs: u32,
    pub pad: u32,
    pub devs: u64,
    pub nodes: u64,
}
const _: () = assert!(size_of::<PciTopoInfo>() == 24);

/// `struct xen_sysctl_cpupool_op`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable)]
pub struct CpupoolOp {
    pub op: u32,
    pub cpupool_id: u32,
    pub sched_id: u32,
    pub domid: u32,
    pub cpu: u32,
    pub n_dom: u32,
    pub cpumap: Bitmap,
}
const _: () = assert!(size_of::<CpupoolOp>() == 40);

pub const XEN_SYSCTL_CPUPOOL_OP_CREATE: u32 = 1;
pub const XEN_SYSCTL_CPUPOOL_OP_DESTROY: u32 = 2;
pub const XEN_SYSCTL_CPUPOOL_OP_INFO: u32 = 3;
pub const XEN_SYSCTL_CPUPOOL_OP_ADDCPU: u32 = 4;
pub const XEN_SYSCTL_CPUPOOL_OP_RMCPU: u32 = 5;
pub const XEN_SYSCTL_CPUPOOL_OP_MOVEDOMAIN: u32 = 6;
pub const XEN_SYSCTL_CPUPOOL_OP_FREEINFO: u32 = 7;
pub const XEN_SYSCTL_CPUPOOL_PAR_ANY: u32 = u32::MAX;

/// `struct xen_sysctl_scheduler_op`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable)]
pub struct SchedulerOp {
    pub cpupool_id: u32,
    pub sched_id: u32,
    pub cmd: u32,
    pub pad: u32,
    /// credit: the time slice in ms, the rate limit in us, the migration delay in us. credit2: the
    /// rate limit in us. The last word is padding.
    pub params: [u32; 4],
}
const _: () = assert!(size_of::<SchedulerOp>() == 32);

/// Indices into `params` of [`SchedulerOp`].
pub const CREDIT_TSLICE_MS: usize = 0;
pub const CREDIT_RATELIMIT_US: usize = 1;
pub const CREDIT_VCPU_MIGR_DELAY_US: usize = 2;
pub const CREDIT2_RATELIMIT_US: usize = 0;

pub const XEN_SYSCTL_SCHEDOP_PUTINFO: u32 = 0;
pub const XEN_SYSCTL_SCHEDOP_GETINFO: u32 = 1;

/// Limits of the parameters of schedulers. A rate limit may also be 0, which means none.
pub const XEN_SYSCTL_CSCHED_TSLICE_MAX: u32 = 1000;
pub const XEN_SYSCTL_CSCHED_TSLICE_MIN: u32 = 1;
pub const XEN_SYSCTL_SCHED_RATELIMIT_MAX: u32 = 500_000;
pub const XEN_SYSCTL_SCHED_RATELIMIT_MIN: u32 = 100;
pub const XEN_SYSCTL_CSCHED_MGR_DLY_MAX_US: u32 = 100_000;
