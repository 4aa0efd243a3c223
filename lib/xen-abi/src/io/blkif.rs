// SPDX-License-Identifier: MIT OR Apache-2.0
//! Block devices: `public/io/blkif.h`. A sector of the protocol has 512 bytes.

use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Operations of a request.
pub const BLKIF_OP_READ: u8 = 0;
pub const BLKIF_OP_WRITE: u8 = 1;
pub const BLKIF_OP_WRITE_BARRIER: u8 = 2;
pub const BLKIF_OP_FLUSH_DISKCACHE: u8 = 3;
pub const BLKIF_OP_DISCARD: u8 = 5;
pub const BLKIF_OP_INDIRECT: u8 = 6;

/// Flag of [`RequestDiscard`]: what is discarded must not be readable afterwards.
pub const BLKIF_DISCARD_SECURE: u8 = 1;

/// The most segments that a request itself holds.
pub const BLKIF_MAX_SEGMENTS_PER_REQUEST: usize = 11;
/// The most pages of segments that an indirect request names.
pub const BLKIF_MAX_INDIRECT_PAGES_PER_REQUEST: usize = 8;

/// Status of a response.
pub const BLKIF_RSP_OKAY: i16 = 0;
pub const BLKIF_RSP_ERROR: i16 = -1;
pub const BLKIF_RSP_EOPNOTSUPP: i16 = -2;

/// Flags of a device, in XenStore's node `info`.
pub const VDISK_CDROM: u32 = 1;
pub const VDISK_REMOVABLE: u32 = 2;
pub const VDISK_READONLY: u32 = 4;

/// `struct blkif_request_segment`: sectors of one granted page, both ends included.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
pub struct Segment {
    pub gref: u32,
    pub first_sect: u8,
    pub last_sect: u8,
    pub pad: [u8; 2],
}
const _: () = assert!(size_of::<Segment>() == 8);

/// `struct blkif_request`, which is as large as a slot.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
pub struct Request {
    pub operation: u8,
    pub nr_segments: u8,
    pub handle: u16,
    pub pad: u32,
    pub id: u64,
    pub sector_number: u64,
    pub seg: [Segment; BLKIF_MAX_SEGMENTS_PER_REQUEST],
}
const _: () = assert!(size_of::<Request>() == 112);

/// `struct blkif_request_discard`: a [`Request`] with [`BLKIF_OP_DISCARD`] is laid out like this.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
pub struct RequestDiscard {
    pub operation: u8,
    pub flag: u8,
    pub handle: u16,
    pub pad: u32,
    pub id: u64,
    pub sector_number: u64,
    pub nr_sectors: u64,
}
const _: () = assert!(size_of::<RequestDiscard>() == 32);

/// `struct blkif_request_indirect`: a [`Request`] with [`BLKIF_OP_INDIRECT`] is laid out like this.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
pub struct RequestIndirect {
    pub operation: u8,
    pub indirect_op: u8,
    pub nr_segments: u16,
    pub pad: u32,
    pub id: u64,
    pub sector_number: u64,
    pub handle: u16,
    pub pad2: u16,
    pub indirect_grefs: [u32; BLKIF_MAX_INDIRECT_PAGES_PER_REQUEST],
    pub pad3: u32,
}
const _: () = assert!(size_of::<RequestIndirect>() == 64);

/// `struct blkif_response`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
pub struct Response {
    pub id: u64,
    pub operation: u8,
    pub pad: u8,
    pub status: i16,
    pub pad2: u32,
}
const _: () = assert!(size_of::<Response>() == 16);
