// SPDX-License-Identifier: MIT OR Apache-2.0
//! `public/memory.h`.

use zerocopy::{FromBytes, Immutable, IntoBytes};

pub const XENMEM_DECREASE_RESERVATION: u64 = 1;
pub const XENMEM_POPULATE_PHYSMAP: u64 = 6;
pub const XENMEM_ADD_TO_PHYSMAP: u64 = 7;
pub const XENMEM_SET_MEMORY_MAP: u64 = 13;
/// Takes a [`MemoryDomain`] and returns a frame number.
pub const XENMEM_MAXIMUM_GPFN: u64 = 14;
/// Both return a number of pages, and take no structure.
pub const XENMEM_GET_SHARING_FREED_PAGES: u64 = 18;
pub const XENMEM_GET_SHARING_SHARED_PAGES: u64 = 19;
pub const XENMEM_CLAIM_PAGES: u64 = 24;

/// What [`XENMEM_ADD_TO_PHYSMAP`] maps.
pub const XENMAPSPACE_SHARED_INFO: u32 = 0;
pub const XENMAPSPACE_GRANT_TABLE: u32 = 1;

/// What `XENMEM_acquire_resource` maps.
pub const XENMEM_RESOURCE_GRANT_TABLE: u32 = 1;
pub const XENMEM_RESOURCE_GRANT_TABLE_ID_SHARED: u32 = 0;

/// `struct xen_memory_reservation`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable)]
pub struct MemoryReservation {
    pub extent_start: u64,
    pub nr_extents: u64,
    pub extent_order: u32,
    pub mem_flags: u32,
    pub domid: u16,
    pub pad: [u16; 3],
}
const _: () = assert!(size_of::<MemoryReservation>() == 32);

/// `struct xen_memory_reservation` of [`XENMEM_CLAIM_PAGES`], which refuses an address in it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable)]
pub struct PageClaim {
    /// Always 0.
    pub extent_start: u64,
    pub nr_extents: u64,
    pub extent_order: u32,
    pub mem_flags: u32,
    pub domid: u16,
    pub pad: [u16; 3],
}
const _: () = assert!(size_of::<PageClaim>() == size_of::<MemoryReservation>());

/// `struct xen_memory_domain`, which some headers call `domid_t`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable)]
pub struct MemoryDomain {
    pub domid: u16,
}
const _: () = assert!(size_of::<MemoryDomain>() == 2);

/// `struct xen_add_to_physmap`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable)]
pub struct AddToPhysmap {
    pub domid: u16,
    pub size: u16,
    pub space: u32,
    pub idx: u64,
    pub gpfn: u64,
}
const _: () = assert!(size_of::<AddToPhysmap>() == 24);

/// `struct xen_foreign_memory_map`, with the `struct xen_memory_map` in it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable)]
pub struct ForeignMemoryMap {
    pub domid: u16,
    pub pad: [u16; 3],
    pub nr_entries: u32,
    pub pad2: u32,
    pub buffer: u64,
}
const _: () = assert!(size_of::<ForeignMemoryMap>() == 24);

/// An entry of the memory map, as BIOS call INT 0x15, EAX 0xE820 returns it.
#[repr(C, packed)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable)]
pub struct E820Entry {
    pub addr: u64,
    pub size: u64,
    pub kind: u32,
}
const _: () = assert!(size_of::<E820Entry>() == 20);

/// Kinds of memory (ACPI 6.5, table 15.4).
pub const E820_RAM: u32 = 1;
pub const E820_RESERVED: u32 = 2;
