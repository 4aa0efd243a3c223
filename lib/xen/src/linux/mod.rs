// SPDX-License-Identifier: MIT OR Apache-2.0
//! Linux's interface to Xen: the ioctls of the devices in `/dev/xen`.
//!
//! Each file mirrors the C header that it names; `tests/linux.rs` compares the two. The fields are
//! described in the headers. What Xen itself defines is in [`xen_abi`].
#![allow(missing_docs)]

pub mod evtchn;
pub mod gntdev;
pub mod privcmd;

/// Returns an ioctl number without direction (`_IOC(_IOC_NONE, type, nr, size)`). All of Xen's have
/// none.
#[must_use]
pub const fn ioc(kind: u8, number: u8, size: usize) -> u64 {
    (size as u64) << 16 | (kind as u64) << 8 | number as u64
}
