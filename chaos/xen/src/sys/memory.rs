//! `public/memory.h`.

use zerocopy::{FromBytes, Immutable, IntoBytes};

pub const XENMEM_POPULATE_PHYSMAP: u64 = 6;

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
