// SPDX-License-Identifier: MIT OR Apache-2.0
//! Numbers of hypercalls and virtual interrupts, and a structure that several of dom0's hypercalls
//! share: `public/xen.h`.

use zerocopy::{FromBytes, Immutable, IntoBytes};

pub const HYPERVISOR_MEMORY_OP: u64 = 12;
pub const HYPERVISOR_XEN_VERSION: u64 = 17;
pub const HYPERVISOR_SCHED_OP: u64 = 29;
pub const HYPERVISOR_EVENT_CHANNEL_OP: u64 = 32;
pub const HYPERVISOR_HVM_OP: u64 = 34;
pub const HYPERVISOR_SYSCTL: u64 = 35;
pub const HYPERVISOR_DOMCTL: u64 = 36;
pub const HYPERVISOR_DM_OP: u64 = 41;

/// The virtual interrupt that notifies the toolstack that a domain has shut down or was destroyed.
pub const VIRQ_DOM_EXC: u32 = 3;

/// `struct xenctl_bitmap`. `bitmap` is the address of an array of bytes, with bit 0 of the first byte
/// for the first element.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable)]
pub struct Bitmap {
    pub bitmap: u64,
    pub nr_bits: u32,
    pub pad: u32,
}
const _: () = assert!(size_of::<Bitmap>() == 16);
