// SPDX-License-Identifier: MIT OR Apache-2.0
//! `public/hvm/hvm_op.h`, `public/hvm/params.h`, `public/hvm/dm_op.h` and
//! `public/arch-x86/hvm/save.h`.

use zerocopy::{FromBytes, Immutable, IntoBytes};

pub const HVMOP_SET_PARAM: u64 = 0;
pub const HVMOP_GET_PARAM: u64 = 1;

/// `struct xen_hvm_param`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable)]
pub struct HvmParam {
    pub domid: u16,
    pub pad: u16,
    pub index: u32,
    pub value: u64,
}
const _: () = assert!(size_of::<HvmParam>() == 16);

pub const HVM_PARAM_CALLBACK_IRQ: u32 = 0;
pub const HVM_PARAM_STORE_PFN: u32 = 1;
pub const HVM_PARAM_STORE_EVTCHN: u32 = 2;
pub const HVM_PARAM_TIMER_MODE: u32 = 10;
pub const HVM_PARAM_CONSOLE_PFN: u32 = 17;
pub const HVM_PARAM_CONSOLE_EVTCHN: u32 = 18;
pub const HVM_PARAM_TRIPLE_FAULT_REASON: u32 = 31;

pub const HVMPTM_DELAY_FOR_MISSED_TICKS: u32 = 0;
pub const HVMPTM_NO_DELAY_FOR_MISSED_TICKS: u32 = 1;
pub const HVMPTM_NO_MISSED_TICKS_PENDING: u32 = 2;
pub const HVMPTM_ONE_MISSED_TICK_PENDING: u32 = 3;

/// `struct xen_dm_op_buf`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable)]
pub struct DmOpBuf {
    pub h: u64,
    pub size: u64,
}
const _: () = assert!(size_of::<DmOpBuf>() == 16);

pub const XEN_DMOP_SET_MEM_TYPE: u32 = 12;
pub const HVMMEM_RAM_RW: u16 = 0;
pub const HVMMEM_RAM_RO: u16 = 1;

/// `struct xen_dm_op` with the member `struct xen_dm_op_set_mem_type` of its union.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, IntoBytes, Immutable)]
pub struct DmOpSetMemType {
    pub op: u32,
    pub pad: u32,
    pub nr: u32,
    pub mem_type: u16,
    pub pad2: u16,
    pub first_pfn: u64,
}
const _: () = assert!(size_of::<DmOpSetMemType>() == 24);

/// `struct hvm_save_descriptor`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable)]
pub struct SaveDescriptor {
    pub typecode: u16,
    pub instance: u16,
    pub length: u32,
}
const _: () = assert!(size_of::<SaveDescriptor>() == 8);

pub const HVM_SAVE_CODE_END: u16 = 0;
pub const HVM_SAVE_CODE_HEADER: u16 = 1;
pub const HVM_SAVE_CODE_CPU: u16 = 2;
pub const HVM_SAVE_CODE_MTRR: u16 = 14;

pub const HVM_FILE_MAGIC: u32 = 0x5438_1286;
pub const HVM_FILE_VERSION: u32 = 1;

/// `struct hvm_save_header`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, IntoBytes, Immutable)]
pub struct SaveHeader {
    pub magic: u32,
    pub version: u32,
    pub changeset: u64,
    pub cpuid: u32,
    pub gtsc_khz: u32,
}
const _: () = assert!(size_of::<SaveHeader>() == 24);

/// `struct hvm_hw_mtrr`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, IntoBytes, Immutable)]
pub struct HwMtrr {
    pub msr_pat_cr: u64,
    pub msr_mtrr_var: [u64; 16],
    pub msr_mtrr_fixed: [u64; 11],
    pub msr_mtrr_cap: u64,
    pub msr_mtrr_def_type: u64,
}
const _: () = assert!(size_of::<HwMtrr>() == 240);

/// Size of `struct hvm_hw_cpu`, and the offsets of the fields that the start of a PVH guest needs, or
/// that a core file shows.
pub mod hw_cpu {
    pub const SIZE: usize = 1032;
    /// What `FXSAVE` stores.
    pub const FPU_REGS: usize = 0;
    pub const FPU_REGS_SIZE: usize = 512;
    pub const RAX: usize = 512;
    pub const RBX: usize = 520;
    pub const RCX: usize = 528;
    pub const RDX: usize = 536;
    pub const RBP: usize = 544;
    pub const RSI: usize = 552;
    pub const RDI: usize = 560;
    pub const RSP: usize = 568;
    /// The first of `r8` to `r15`.
    pub const R8: usize = 576;
    pub const RIP: usize = 640;
    pub const RFLAGS: usize = 648;
    pub const CR0: usize = 656;
    pub const CR3: usize = 672;
    pub const CR4: usize = 680;
    pub const DR6: usize = 720;
    pub const DR7: usize = 728;
    pub const CS_SEL: usize = 736;
    pub const DS_SEL: usize = 740;
    pub const ES_SEL: usize = 744;
    pub const FS_SEL: usize = 748;
    pub const GS_SEL: usize = 752;
    pub const SS_SEL: usize = 756;
    pub const CS_LIMIT: usize = 768;
    pub const DS_LIMIT: usize = 772;
    pub const ES_LIMIT: usize = 776;
    pub const SS_LIMIT: usize = 788;
    pub const TR_LIMIT: usize = 792;
    pub const FS_BASE: usize = 832;
    pub const GS_BASE: usize = 840;
    pub const CS_ARBYTES: usize = 888;
    pub const DS_ARBYTES: usize = 892;
    pub const ES_ARBYTES: usize = 896;
    pub const SS_ARBYTES: usize = 908;
    pub const TR_ARBYTES: usize = 912;
    pub const MSR_EFER: usize = 992;
}
