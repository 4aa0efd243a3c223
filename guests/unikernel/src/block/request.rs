// SPDX-License-Identifier: MIT OR Apache-2.0
//! Requests: what they are, whether a disk can carry them out, and how they look in the ring.

use noxs::{Geometry, Vbd};
use xen_abi::io::blkif::{
    BLKIF_MAX_SEGMENTS_PER_REQUEST, BLKIF_OP_DISCARD, BLKIF_OP_FLUSH_DISKCACHE, BLKIF_OP_INDIRECT,
    BLKIF_OP_READ, BLKIF_OP_WRITE, BLKIF_OP_WRITE_BARRIER, RequestDiscard, RequestIndirect,
    Segment,
};
use zerocopy::{FromZeros, IntoBytes};

use super::DiskError;
use super::buffer::{Buffer, Segments};
use crate::layout::PAGE_SIZE;

/// Bytes of a sector of the protocol, whatever the disk's own sectors have.
pub(super) const SECTOR: usize = Geometry::SECTOR as usize;

/// Sectors of the protocol in a page.
#[expect(clippy::cast_possible_truncation, reason = "8")]
pub(super) const SECTORS_PER_PAGE: u8 = (PAGE_SIZE / SECTOR) as u8;

/// The most pages that a request itself names.
pub(super) const DIRECT_PAGES: usize = BLKIF_MAX_SEGMENTS_PER_REQUEST;

/// The most pages of an indirect request, whose segments one page lists.
const INDIRECT_PAGES: usize = PAGE_SIZE / size_of::<Segment>();

/// A request to a disk. Offsets and lengths are in bytes.
#[derive(Debug)]
pub enum Request {
    /// Reads into the beginning of a buffer.
    Read {
        /// The offset on the disk.
        at: u64,
        /// The number of bytes.
        length: usize,
        /// Where to.
        buffer: Buffer,
    },
    /// Writes the beginning of a buffer.
    Write {
        /// The offset on the disk.
        at: u64,
        /// The number of bytes.
        length: usize,
        /// Where from.
        buffer: Buffer,
        /// Whether the write and all before it survive a crash of the host when it is done (a
        /// barrier). Needs [`Vbd::barrier`], and at most 11 pages: blkif has no indirect barriers.
        durable: bool,
    },
    /// Makes all writes that are done survive a crash of the host. Needs [`Vbd::flush`].
    Flush,
    /// Discards data. Needs [`Vbd::discard`].
    Discard {
        /// The offset on the disk.
        at: u64,
        /// The number of bytes.
        length: u64,
    },
}

/// A request that was not submitted.
#[derive(Debug)]
pub struct Rejected {
    /// The cause.
    pub error: DiskError,
    /// The request, with its buffer.
    pub request: Request,
}

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Read,
    Write,
    DurableWrite,
    Flush,
    Discard,
}

impl Operation {
    /// Returns the code of the operation in requests and responses.
    pub(super) fn code(self) -> u8 {
        match self {
            Self::Read => BLKIF_OP_READ,
            Self::Write => BLKIF_OP_WRITE,
            Self::DurableWrite => BLKIF_OP_WRITE_BARRIER,
            Self::Flush => BLKIF_OP_FLUSH_DISKCACHE,
            Self::Discard => BLKIF_OP_DISCARD,
        }
    }
}

/// Returns the size of a disk in bytes; saturates.
pub(super) fn size(vbd: &Vbd) -> u64 {
    vbd.geometry.sectors.saturating_mul(u64::from(Geometry::SECTOR))
}

/// Returns the length of the longest request that reads or writes, in bytes.
pub(super) fn longest(vbd: &Vbd) -> usize {
    usize::from(vbd.indirect_segments).clamp(DIRECT_PAGES, INDIRECT_PAGES) * PAGE_SIZE
}

/// Returns whether a write of this length in bytes can be a barrier. Indirect requests cannot.
pub(super) fn can_be_durable(vbd: &Vbd, length: usize) -> bool {
    vbd.barrier && length <= DIRECT_PAGES * PAGE_SIZE
}

/// Checks a request with a buffer of `room` bytes, if it has one.
pub(super) fn check(
    vbd: &Vbd,
    operation: Operation,
    at: u64,
    length: u64,
    room: usize,
) -> Result<(), DiskError> {
    let supported = match operation {
        Operation::Read => true,
        _ if vbd.geometry.read_only => return Err(DiskError::ReadOnly),
        Operation::Write => true,
        Operation::DurableWrite => vbd.barrier,
        Operation::Flush => vbd.flush,
        Operation::Discard => vbd.discard.is_some(),
    };
    if !supported {
        return Err(DiskError::Unsupported);
    }
    if operation == Operation::Flush {
        return Ok(());
    }
    let sector = u64::from(vbd.geometry.sector_size);
    if length == 0 || !length.is_multiple_of(sector) || !at.is_multiple_of(sector) {
        return Err(DiskError::Unaligned);
    }
    if at.checked_add(length).is_none_or(|end| end > size(vbd)) {
        return Err(DiskError::OutOfRange);
    }
    let most = match operation {
        Operation::Discard => return Ok(()),
        Operation::DurableWrite => DIRECT_PAGES * PAGE_SIZE,
        _ => longest(vbd),
    };
    if length > room.min(most) as u64 { Err(DiskError::TooLong) } else { Ok(()) }
}

/// Returns the slot of a request that [`check`] has accepted.
pub(super) fn encode(
    operation: Operation,
    at: u64,
    length: u64,
    buffer: Option<&mut Buffer>,
    id: u64,
) -> xen_abi::io::blkif::Request {
    let sector_number = at / u64::from(Geometry::SECTOR);
    let plain = xen_abi::io::blkif::Request {
        operation: operation.code(),
        id,
        sector_number,
        ..Default::default()
    };
    if operation == Operation::Discard {
        return overlay(&RequestDiscard {
            operation: operation.code(),
            flag: 0,
            handle: 0,
            pad: 0,
            id,
            sector_number,
            nr_sectors: length / u64::from(Geometry::SECTOR),
        });
    }
    let Some(buffer) = buffer else { return plain };
    // Fits: it is at most the buffer's size.
    match buffer.segments(usize::try_from(length).unwrap_or(0)) {
        Segments::Direct { count, segments } => {
            xen_abi::io::blkif::Request { nr_segments: count, seg: segments, ..plain }
        }
        Segments::Indirect { count, list } => {
            let mut indirect_grefs = [0; _];
            indirect_grefs[0] = list.0;
            overlay(&RequestIndirect {
                operation: BLKIF_OP_INDIRECT,
                indirect_op: operation.code(),
                nr_segments: count,
                pad: 0,
                id,
                sector_number,
                handle: 0,
                pad2: 0,
                indirect_grefs,
                pad3: 0,
            })
        }
    }
}

/// Returns a slot that begins with a request of another layout.
fn overlay(request: &(impl IntoBytes + zerocopy::Immutable)) -> xen_abi::io::blkif::Request {
    let mut slot = xen_abi::io::blkif::Request::new_zeroed();
    slot.as_mut_bytes()[..size_of_val(request)].copy_from_slice(request.as_bytes());
    slot
}
