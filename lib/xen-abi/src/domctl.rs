// SPDX-License-Identifier: MIT OR Apache-2.0
//! `public/domctl.h`.

use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::hypercall::Bitmap;

/// Size of `struct xen_domctl`.
pub const DOMCTL_SIZE: usize = 144;

/// `struct xen_domctl` without its union.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable)]
pub struct DomctlHeader {
    pub cmd: u32,
    pub interface_version: u32,
    pub domain: u16,
    pub pad: [u16; 3],
}

/// Offset of the union in `struct xen_domctl`.
pub const DOMCTL_UNION: usize = size_of::<DomctlHeader>();
const _: () = assert!(DOMCTL_UNION == 16);

pub const XEN_DOMCTL_CREATEDOMAIN: u32 = 1;
pub const XEN_DOMCTL_DESTROYDOMAIN: u32 = 2;
pub const XEN_DOMCTL_PAUSEDOMAIN: u32 = 3;
pub const XEN_DOMCTL_UNPAUSEDOMAIN: u32 = 4;
pub const XEN_DOMCTL_GETDOMAININFO: u32 = 5;
pub const XEN_DOMCTL_SETVCPUAFFINITY: u32 = 9;
pub const XEN_DOMCTL_MAX_MEM: u32 = 11;
pub const XEN_DOMCTL_GETVCPUINFO: u32 = 14;
pub const XEN_DOMCTL_MAX_VCPUS: u32 = 15;
pub const XEN_DOMCTL_SCHEDULER_OP: u32 = 16;
pub const XEN_DOMCTL_SETDOMAINHANDLE: u32 = 17;
pub const XEN_DOMCTL_SETTIMEOFFSET: u32 = 24;
pub const XEN_DOMCTL_GETVCPUAFFINITY: u32 = 25;
pub const XEN_DOMCTL_SENDTRIGGER: u32 = 28;
pub const XEN_DOMCTL_GETHVMCONTEXT: u32 = 33;
pub const XEN_DOMCTL_SETHVMCONTEXT: u32 = 34;
pub const XEN_DOMCTL_SETTSCINFO: u32 = 60;
pub const XEN_DOMCTL_GETNODEAFFINITY: u32 = 69;
pub const XEN_DOMCTL_GET_PAGING_MEMPOOL_SIZE: u32 = 85;
pub const XEN_DOMCTL_SET_PAGING_MEMPOOL_SIZE: u32 = 86;

/// Since Xen 4.21. A stable operation: it carries interface version 0.
pub const XEN_DOMCTL_GET_DOMAIN_STATE: u32 = 90;

pub const XEN_DOMCTL_CDF_HVM: u32 = 1;
pub const XEN_DOMCTL_CDF_HAP: u32 = 2;

/// `XEN_X86_EMU_LAPIC` (`public/arch-x86/xen.h`).
pub const XEN_X86_EMU_LAPIC: u32 = 1;
/// `XEN_X86_EMU_PM` (`public/arch-x86/xen.h`): ACPI's power management.
pub const XEN_X86_EMU_PM: u32 = 4;

/// `struct xen_domctl_createdomain` with interface version 0x15 and 0x16 (Xen 4.17 and 4.18).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable)]
pub struct CreateDomain16 {
    pub ssidref: u32,
    pub handle: [u8; 16],
    pub flags: u32,
    pub iommu_opts: u32,
    pub max_vcpus: u32,
    pub max_evtchn_port: u32,
    pub max_grant_frames: i32,
    pub max_maptrack_frames: i32,
    pub grant_opts: u32,
    pub vmtrace_size: u32,
    pub cpupool_id: u32,
    pub arch_emulation_flags: u32,
    pub arch_misc_flags: u32,
}
const _: () = assert!(size_of::<CreateDomain16>() == 64);

/// `struct xen_domctl_createdomain` with interface version 0x17 and 0x18 (Xen 4.19 to 4.22).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable)]
pub struct CreateDomain17 {
    pub ssidref: u32,
    pub handle: [u8; 16],
    pub flags: u32,
    pub iommu_opts: u32,
    pub max_vcpus: u32,
    pub max_evtchn_port: u32,
    pub max_grant_frames: i32,
    pub max_maptrack_frames: i32,
    pub grant_opts: u32,
    pub altp2m_opts: u32,
    pub vmtrace_size: u32,
    pub cpupool_id: u32,
    pub arch_emulation_flags: u32,
    pub arch_misc_flags: u32,
}
const _: () = assert!(size_of::<CreateDomain17>() == 68);

impl From<CreateDomain17> for CreateDomain16 {
    /// Drops `altp2m_opts`, the one field that interface version 0x17 added.
    fn from(later: CreateDomain17) -> Self {
        let CreateDomain17 {
            ssidref,
            handle,
            flags,
            iommu_opts,
            max_vcpus,
            max_evtchn_port,
            max_grant_frames,
            max_maptrack_frames,
            grant_opts,
            altp2m_opts: _,
            vmtrace_size,
            cpupool_id,
            arch_emulation_flags,
            arch_misc_flags,
        } = later;
        Self {
            ssidref,
            handle,
            flags,
            iommu_opts,
            max_vcpus,
            max_evtchn_port,
            max_grant_frames,
            max_maptrack_frames,
            grant_opts,
            vmtrace_size,
            cpupool_id,
            arch_emulation_flags,
            arch_misc_flags,
        }
    }
}

/// `struct xen_domctl_getdomaininfo`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable)]
pub struct GetDomainInfo {
    pub domain: u16,
    pub pad1: u16,
    pub flags: u32,
    pub tot_pages: u64,
    pub max_pages: u64,
    pub outstanding_pages: u64,
    pub shr_pages: u64,
    pub paged_pages: u64,
    pub shared_info_frame: u64,
    pub cpu_time: u64,
    pub nr_online_vcpus: u32,
    pub max_vcpu_id: u32,
    pub ssidref: u32,
    pub handle: [u8; 16],
    pub cpupool: u32,
    pub gpaddr_bits: u8,
    pub pad2: [u8; 7],
    pub arch_emulation_flags: u32,
    pub arch_misc_flags: u32,
}
const _: () = assert!(size_of::<GetDomainInfo>() == 112);

pub const XEN_DOMINF_DYING: u32 = 1;
pub const XEN_DOMINF_HVM_GUEST: u32 = 2;
pub const XEN_DOMINF_SHUTDOWN: u32 = 4;
pub const XEN_DOMINF_PAUSED: u32 = 8;
pub const XEN_DOMINF_BLOCKED: u32 = 0x10;
pub const XEN_DOMINF_RUNNING: u32 = 0x20;
pub const XEN_DOMINF_SHUTDOWNSHIFT: u32 = 16;
pub const XEN_DOMINF_SHUTDOWNMASK: u32 = 255;

/// `struct xen_domctl_get_domain_state`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable)]
pub struct GetDomainState {
    pub state: u16,
    pub caps: u16,
    pub pad0: u32,
    pub unique_id: u64,
}
const _: () = assert!(size_of::<GetDomainState>() == 16);

/// `struct xen_domctl_max_mem`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable)]
pub struct MaxMem {
    pub max_memkb: u64,
}
const _: () = assert!(size_of::<MaxMem>() == 8);

/// `struct xen_domctl_setdomainhandle`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable)]
pub struct SetDomainHandle {
    pub handle: [u8; 16],
}
const _: () = assert!(size_of::<SetDomainHandle>() == 16);

/// `struct xen_domctl_settimeoffset`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable)]
pub struct SetTimeOffset {
    pub time_offset_seconds: i64,
}
const _: () = assert!(size_of::<SetTimeOffset>() == 8);

/// `struct xen_domctl_tsc_info`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable)]
pub struct TscInfo {
    pub tsc_mode: u32,
    pub gtsc_khz: u32,
    pub incarnation: u32,
    pub pad: u32,
    pub elapsed_nsec: u64,
}
const _: () = assert!(size_of::<TscInfo>() == 24);

pub const XEN_CPUID_TSC_MODE_DEFAULT: u32 = 0;
pub const XEN_CPUID_TSC_MODE_ALWAYS_EMULATE: u32 = 1;
pub const XEN_CPUID_TSC_MODE_NEVER_EMULATE: u32 = 2;

/// `struct xen_domctl_max_vcpus`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable)]
pub struct MaxVcpus {
    pub max: u32,
}
const _: () = assert!(size_of::<MaxVcpus>() == 4);

/// `struct xen_domctl_hvmcontext`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable)]
pub struct HvmContext {
    pub size: u32,
    pub pad: u32,
    pub buffer: u64,
}
const _: () = assert!(size_of::<HvmContext>() == 16);

/// `struct xen_domctl_paging_mempool`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable)]
pub struct PagingMempool {
    pub size: u64,
}
const _: () = assert!(size_of::<PagingMempool>() == 8);

/// `struct xen_domctl_getvcpuinfo`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable)]
pub struct GetVcpuInfo {
    pub vcpu: u32,
    pub online: u8,
    pub blocked: u8,
    pub running: u8,
    pub pad: u8,
    pub cpu_time: u64,
    pub cpu: u32,
    pub pad2: u32,
}
const _: () = assert!(size_of::<GetVcpuInfo>() == 24);

/// `struct xen_domctl_vcpuaffinity`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable)]
pub struct VcpuAffinity {
    pub vcpu: u32,
    pub flags: u32,
    pub cpumap_hard: Bitmap,
    pub cpumap_soft: Bitmap,
}
const _: () = assert!(size_of::<VcpuAffinity>() == 40);

/// `struct xen_domctl_nodeaffinity`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable)]
pub struct NodeAffinity {
    pub nodemap: Bitmap,
}
const _: () = assert!(size_of::<NodeAffinity>() == 16);

pub const XEN_VCPUAFFINITY_HARD: u32 = 1;
pub const XEN_VCPUAFFINITY_SOFT: u32 = 2;
pub const XEN_VCPUAFFINITY_FORCE: u32 = 4;

pub const XEN_SCHEDULER_CREDIT: u32 = 5;
pub const XEN_SCHEDULER_CREDIT2: u32 = 6;
pub const XEN_SCHEDULER_ARINC653: u32 = 7;
pub const XEN_SCHEDULER_RTDS: u32 = 8;
pub const XEN_SCHEDULER_NULL: u32 = 9;

/// `struct xen_domctl_scheduler_op` with the parameters of a domain in credit or credit2, which have
/// the same layout.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable)]
pub struct SchedulerOp {
    pub sched_id: u32,
    pub cmd: u32,
    pub weight: u16,
    pub cap: u16,
    /// The rest of the union.
    pub rest: [u32; 3],
}
const _: () = assert!(size_of::<SchedulerOp>() == 24);

pub const XEN_DOMCTL_SCHEDOP_PUTINFO: u32 = 0;
pub const XEN_DOMCTL_SCHEDOP_GETINFO: u32 = 1;

/// `struct xen_domctl_sendtrigger`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable)]
pub struct SendTrigger {
    pub trigger: u32,
    pub vcpu: u32,
}
const _: () = assert!(size_of::<SendTrigger>() == 8);

pub const XEN_DOMCTL_SENDTRIGGER_NMI: u32 = 0;
pub const XEN_DOMCTL_SENDTRIGGER_RESET: u32 = 1;
pub const XEN_DOMCTL_SENDTRIGGER_INIT: u32 = 2;
pub const XEN_DOMCTL_SENDTRIGGER_POWER: u32 = 3;
pub const XEN_DOMCTL_SENDTRIGGER_SLEEP: u32 = 4;
