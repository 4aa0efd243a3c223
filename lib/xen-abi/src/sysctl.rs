// SPDX-License-Identifier: MIT OR Apache-2.0
//! `public/sysctl.h`.

use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Size of `struct xen_sysctl`.
pub const SYSCTL_SIZE: usize = 136;

/// Interface version of Xen 4.17 to 4.20.
pub const XEN_SYSCTL_INTERFACE_VERSION: u32 = 0x15;

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

pub const XEN_SYSCTL_PHYSINFO: u32 = 3;
pub const XEN_SYSCTL_GETDOMAININFOLIST: u32 = 6;

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
