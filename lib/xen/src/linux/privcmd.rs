// SPDX-License-Identifier: MIT OR Apache-2.0
//! `xen/privcmd.h` of Linux.

use super::ioc;

/// `struct privcmd_hypercall`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct PrivcmdHypercall {
    pub op: u64,
    pub arg: [u64; 5],
}

/// `struct privcmd_mmapbatch_v2`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct PrivcmdMmapbatchV2 {
    pub num: u32,
    pub dom: u16,
    pub pad: u16,
    pub addr: u64,
    pub arr: *const u64,
    pub err: *mut i32,
}

/// `struct privcmd_dm_op_buf`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct PrivcmdDmOpBuf {
    pub uptr: *mut u8,
    pub size: usize,
}

/// `struct privcmd_dm_op`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct PrivcmdDmOp {
    pub dom: u16,
    pub num: u16,
    pub pad: u32,
    pub ubufs: *const PrivcmdDmOpBuf,
}

/// `struct privcmd_mmap_resource`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct PrivcmdMmapResource {
    pub dom: u16,
    pub pad: u16,
    pub kind: u32,
    pub id: u32,
    pub idx: u32,
    pub num: u64,
    pub addr: u64,
}

pub const IOCTL_PRIVCMD_HYPERCALL: u64 = ioc(b'P', 0, size_of::<PrivcmdHypercall>());
pub const IOCTL_PRIVCMD_MMAPBATCH_V2: u64 = ioc(b'P', 4, size_of::<PrivcmdMmapbatchV2>());
pub const IOCTL_PRIVCMD_DM_OP: u64 = ioc(b'P', 5, size_of::<PrivcmdDmOp>());
pub const IOCTL_PRIVCMD_MMAP_RESOURCE: u64 = ioc(b'P', 7, size_of::<PrivcmdMmapResource>());

const _: () = assert!(IOCTL_PRIVCMD_HYPERCALL == 0x30_5000);
const _: () = assert!(IOCTL_PRIVCMD_MMAPBATCH_V2 == 0x20_5004);
const _: () = assert!(IOCTL_PRIVCMD_DM_OP == 0x10_5005);
const _: () = assert!(IOCTL_PRIVCMD_MMAP_RESOURCE == 0x20_5007);
