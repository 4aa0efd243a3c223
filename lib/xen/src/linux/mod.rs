//! The kernel's interface to Xen: the ioctls of the devices in `/dev/xen`, as Linux has them.
//!
//! Each file mirrors one header and says which; `tests/linux.rs` compares it with the C header. The
//! structures have the fields of the headers, which describe them. What Xen itself defines is in
//! [`xen_abi`].
#![allow(missing_docs)]

pub mod evtchn;
pub mod gntdev;
pub mod privcmd;

/// Returns an ioctl number without direction (`_IOC(_IOC_NONE, type, nr, size)`), as all of Xen's
/// are.
#[must_use]
pub const fn ioc(kind: u8, number: u8, size: usize) -> u64 {
    (size as u64) << 16 | (kind as u64) << 8 | number as u64
}
