// SPDX-License-Identifier: MIT OR Apache-2.0
//! Shared folders: `public/io/9pfs.h`. The page of indices is defined by
//! `DEFINE_XEN_FLEX_RING_AND_INTF` of `public/io/ring.h`.
//!
//! The page lists the grants of 2^`ring_order` pages. Their first half is the ring of responses
//! (`in`), their second half the ring of requests (`out`).

use crate::{PAGE_SHIFT, PAGE_SIZE};

/// Offsets in `struct xen_9pfs_data_intf`.
pub const IN_CONS: usize = 0;
pub const IN_PROD: usize = 4;
pub const OUT_CONS: usize = 64;
pub const OUT_PROD: usize = 68;
pub const RING_ORDER: usize = 128;
/// The first of 2^`ring_order` grant references.
pub const REF: usize = 132;

/// The largest order whose grant references the page can hold.
pub const MAX_RING_ORDER: u32 = ((PAGE_SIZE - REF) / 4).ilog2();

/// Returns the size of one of the two rings, in bytes (`XEN_FLEX_RING_SIZE`). `order` must be at
/// most [`MAX_RING_ORDER`]: check the other end's value before.
#[must_use]
pub const fn ring_size(order: u32) -> usize {
    1 << (order + PAGE_SHIFT - 1)
}
