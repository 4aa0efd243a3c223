// SPDX-License-Identifier: MIT OR Apache-2.0
//! The page that Xen shares with a domain: `struct shared_info` of `public/xen.h` and what
//! `public/arch-x86/xen.h` and `public/arch-x86/xen-x86_64.h` add to it.

use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Number of vCPUs whose entry is in the page itself.
pub const XEN_LEGACY_MAX_VCPUS: usize = 32;

/// Event channel ports of the two-level ABI, one bit each.
pub const EVTCHN_2L_NR_CHANNELS: u32 = 64 * 64;

/// `struct vcpu_time_info`: how to convert the time stamp counter to system time.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable)]
pub struct VcpuTimeInfo {
    pub version: u32,
    pub pad0: u32,
    pub tsc_timestamp: u64,
    pub system_time: u64,
    pub tsc_to_system_mul: u32,
    pub tsc_shift: i8,
    pub flags: u8,
    pub pad1: [u8; 2],
}
const _: () = assert!(size_of::<VcpuTimeInfo>() == 32);

/// `struct vcpu_info`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable)]
pub struct VcpuInfo {
    pub evtchn_upcall_pending: u8,
    pub evtchn_upcall_mask: u8,
    pub pad: [u8; 6],
    pub evtchn_pending_sel: u64,
    /// `struct arch_vcpu_info`.
    pub arch: [u64; 2],
    pub time: VcpuTimeInfo,
}
const _: () = assert!(size_of::<VcpuInfo>() == 64);

/// `struct shared_info` up to `arch`.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable)]
pub struct SharedInfo {
    pub vcpu_info: [VcpuInfo; XEN_LEGACY_MAX_VCPUS],
    pub evtchn_pending: [u64; 64],
    pub evtchn_mask: [u64; 64],
    pub wc_version: u32,
    pub wc_sec: u32,
    pub wc_nsec: u32,
    pub wc_sec_hi: u32,
}
const _: () = assert!(size_of::<SharedInfo>() == 3088);
