// SPDX-License-Identifier: MIT OR Apache-2.0
//! Xen's raw ABI on x86-64, Xen 4.17 to 4.22: numbers, structures and offsets.
//!
//! dom0 and the guests build this crate, so that the two ends of a page cannot disagree. Each
//! module mirrors the C header that it names; `tests/headers` compares all of them with the headers
//! of a Xen version. Structures are plain data without hidden padding, which `zerocopy` checks.
//! Names and fields are those of the headers, so that a reader can look them up.
//!
//! * [`hypercall`], [`sched`], [`memory`], [`event_channel`], [`grant_table`], [`hvm`] and
//!   [`version`] are for every domain; [`domctl`] and [`sysctl`] are for dom0.
//! * [`shared_info`] and [`start_info`] are what a guest finds in its own memory.
//! * [`io`] holds the rings of devices and of XenStore.
//! * [`grants`] is the project's own rule for grant references, not Xen's.
//!
//! The only logic here is what both ends need: the reader of [`start_info`] and the geometry of a
//! ring.

#![no_std]
// The fields are those of the headers, which describe them.
#![allow(missing_docs)]

#[cfg(not(target_arch = "x86_64"))]
compile_error!("only Xen on x86-64 is supported");

pub mod domctl;
pub mod event_channel;
pub mod grant_table;
pub mod grants;
pub mod hvm;
pub mod hypercall;
pub mod io;
pub mod memory;
pub mod sched;
pub mod shared_info;
pub mod start_info;
pub mod sysctl;
pub mod version;

/// Bytes in a page, whatever page size a guest uses for itself (`XEN_PAGE_SHIFT` of
/// `public/io/ring.h`).
pub const PAGE_SIZE: usize = 1 << PAGE_SHIFT;

/// Binary logarithm of [`PAGE_SIZE`].
pub const PAGE_SHIFT: u32 = 12;

/// First domain number that no domain can have (`public/xen.h`).
pub const DOMID_FIRST_RESERVED: u16 = 0x7ff0;

/// The domain that makes the hypercall (`public/xen.h`).
pub const DOMID_SELF: u16 = 0x7ff0;

/// `DOMID_INVALID` in `public/xen.h`: no domain.
pub const DOMID_INVALID: u16 = 0x7ff4;

/// `DOMID_ANY` in `public/xen.h`, since Xen 4.22: a create lets Xen choose the number.
pub const DOMID_ANY: u16 = 0x7ff5;
