// SPDX-License-Identifier: MIT OR Apache-2.0
//! `xen/gntdev.h` of Linux.

use super::ioc;

/// `struct ioctl_gntdev_grant_ref`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct GntdevGrantRef {
    pub domid: u32,
    pub reference: u32,
}

/// `struct ioctl_gntdev_map_grant_ref` up to its array of [`GntdevGrantRef`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct GntdevMapHeader {
    pub count: u32,
    pub pad: u32,
    pub index: u64,
}

/// `struct ioctl_gntdev_unmap_grant_ref`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct GntdevUnmap {
    pub index: u64,
    pub count: u32,
    pub pad: u32,
}

/// `struct ioctl_gntdev_grant_copy`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct GntdevGrantCopy {
    pub count: u32,
    pub segments: *mut GntdevCopySegment,
}

/// One end of a copy: an address of this process, or an offset in a granted page.
#[repr(C)]
#[derive(Clone, Copy)]
pub union GntdevCopyPtr {
    pub virt: *mut u8,
    pub foreign: GntdevForeign,
}

/// An offset in a granted page.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct GntdevForeign {
    pub reference: u32,
    pub offset: u16,
    pub domid: u16,
}

/// `struct gntdev_grant_copy_segment`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct GntdevCopySegment {
    pub source: GntdevCopyPtr,
    pub dest: GntdevCopyPtr,
    pub len: u16,
    pub flags: u16,
    pub status: i16,
}
const _: () = assert!(size_of::<GntdevCopySegment>() == 24);

impl GntdevCopySegment {
    /// An empty segment.
    pub const NOTHING: Self = {
        let nowhere = GntdevCopyPtr { virt: std::ptr::null_mut() };
        Self { source: nowhere, dest: nowhere, len: 0, flags: 0, status: 0 }
    };
}

/// The ioctl number encodes the size with one reference, whatever the call's `count` is.
pub const IOCTL_GNTDEV_MAP_GRANT_REF: u64 =
    ioc(b'G', 0, size_of::<GntdevMapHeader>() + size_of::<GntdevGrantRef>());
pub const IOCTL_GNTDEV_UNMAP_GRANT_REF: u64 = ioc(b'G', 1, size_of::<GntdevUnmap>());
pub const IOCTL_GNTDEV_GRANT_COPY: u64 = ioc(b'G', 8, size_of::<GntdevGrantCopy>());

const _: () = assert!(IOCTL_GNTDEV_MAP_GRANT_REF == 0x18_4700);
const _: () = assert!(IOCTL_GNTDEV_UNMAP_GRANT_REF == 0x10_4701);
const _: () = assert!(IOCTL_GNTDEV_GRANT_COPY == 0x10_4708);
