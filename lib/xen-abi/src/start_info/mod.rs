// SPDX-License-Identifier: MIT OR Apache-2.0
//! The structure whose address a PVH guest finds in `ebx`: `public/arch-x86/hvm/start_info.h`,
//! version 1.
//!
//! The toolstack writes these structures, a guest reads them through [`View`].

mod view;

use zerocopy::{FromBytes, Immutable, IntoBytes};

pub use view::{Physical, StartInfoError, View};

/// First word of [`StartInfo`].
pub const XEN_HVM_START_MAGIC_VALUE: u32 = 0x336e_c578;

/// The first version with a memory map.
pub const VERSION: u32 = 1;

/// Kinds of memory in [`MemmapEntry`].
pub const XEN_HVM_MEMMAP_TYPE_RAM: u32 = 1;
pub const XEN_HVM_MEMMAP_TYPE_RESERVED: u32 = 2;

/// `struct hvm_start_info`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
pub struct StartInfo {
    pub magic: u32,
    pub version: u32,
    pub flags: u32,
    pub nr_modules: u32,
    pub modlist_paddr: u64,
    pub cmdline_paddr: u64,
    pub rsdp_paddr: u64,
    pub memmap_paddr: u64,
    pub memmap_entries: u32,
    pub reserved: u32,
}
const _: () = assert!(size_of::<StartInfo>() == 56);

/// `struct hvm_modlist_entry`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
pub struct ModlistEntry {
    pub paddr: u64,
    pub size: u64,
    pub cmdline_paddr: u64,
    pub reserved: u64,
}
const _: () = assert!(size_of::<ModlistEntry>() == 32);

/// `struct hvm_memmap_table_entry`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
pub struct MemmapEntry {
    pub addr: u64,
    pub size: u64,
    /// `XEN_HVM_MEMMAP_TYPE_*`.
    pub kind: u32,
    pub reserved: u32,
}
const _: () = assert!(size_of::<MemmapEntry>() == 24);
