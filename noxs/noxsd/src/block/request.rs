// SPDX-License-Identifier: GPL-3.0-or-later
//! Checks requests. What passes lies within the disk and within pages.

use noxs::Geometry;
use xen_abi::PAGE_SIZE;
use xen_abi::io::blkif::{
    BLKIF_DISCARD_SECURE, BLKIF_MAX_SEGMENTS_PER_REQUEST, BLKIF_OP_DISCARD,
    BLKIF_OP_FLUSH_DISKCACHE, BLKIF_OP_INDIRECT, BLKIF_OP_READ, BLKIF_OP_WRITE,
    BLKIF_OP_WRITE_BARRIER, BLKIF_RSP_EOPNOTSUPP, BLKIF_RSP_ERROR, Request, RequestDiscard,
    RequestIndirect, Segment,
};
use zerocopy::{FromBytes, IntoBytes};

use super::image::Image;
use crate::host::GrantRef;

/// Most segments of an indirect request: their list fits in one page, and a request takes a
/// quarter of what its domain may have.
pub const MAX_INDIRECT_SEGMENTS: u16 = noxs_control::INDIRECT_SEGMENTS;

/// Bytes of a sector, and sectors of a page, in each request.
const SECTOR: u16 = 512;
const PAGE_SECTORS: u8 = 8;

const _: () = assert!(SECTOR as u32 == Geometry::SECTOR);
const _: () = assert!(PAGE_SECTORS as usize * SECTOR as usize == PAGE_SIZE);

const _: () = assert!(MAX_INDIRECT_SEGMENTS as usize * size_of::<Segment>() <= PAGE_SIZE);

/// The status that a request is refused with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused(pub i16);

const ERROR: Refused = Refused(BLKIF_RSP_ERROR);
const NOT_SUPPORTED: Refused = Refused(BLKIF_RSP_EOPNOTSUPP);

/// A request whose fixed part is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checked {
    /// Moves data. The segments are not checked yet.
    Transfer {
        /// Which way, and what else.
        kind: TransferKind,
        /// First sector on the disk.
        sector: u64,
        /// Where the segments are.
        segments: Segments,
    },
    /// Puts on stable storage what was written.
    Flush {
        /// Whether all earlier requests are finished first, and later ones wait.
        barrier: bool,
    },
    /// Discards.
    Discard {
        /// Where on the disk, in bytes.
        offset: u64,
        /// How many bytes, at least one.
        length: u64,
    },
}

/// The kind of a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransferKind {
    /// From the disk to the guest.
    Read,
    /// From the guest to the disk.
    Write,
    /// As `Write`, after all earlier requests, and onto stable storage.
    Barrier,
}

/// Where the segments of a request are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Segments {
    /// In the request itself: that many.
    Direct(usize),
    /// At the beginning of this page of the guest: that many.
    Indirect(GrantRef, usize),
}

impl Segments {
    /// Returns how many there are, at least one and at most [`MAX_INDIRECT_SEGMENTS`].
    #[must_use]
    pub fn count(self) -> usize {
        let (Self::Direct(count) | Self::Indirect(_, count)) = self;
        count
    }
}

/// A part of a granted page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// The page.
    pub gref: GrantRef,
    /// Offset in it, in bytes.
    pub offset: u16,
    /// Bytes; the part lies within the page.
    pub length: u16,
}

/// Returns the operation that the answer to a request names: that of an indirect request itself.
#[must_use]
pub fn answered_operation(request: &Request) -> u8 {
    match request.operation {
        BLKIF_OP_INDIRECT => request.nr_segments,
        operation => operation,
    }
}

/// Checks the fixed part of a request. `image` is what is behind the disk.
///
/// # Errors
/// The request is malformed, not supported, or lies outside of the disk.
pub fn check(request: &Request, image: &Image) -> Result<Checked, Refused> {
    let writes = |operation| operation != BLKIF_OP_READ;
    match request.operation {
        BLKIF_OP_READ | BLKIF_OP_WRITE | BLKIF_OP_WRITE_BARRIER => {
            let kind = match request.operation {
                BLKIF_OP_READ => TransferKind::Read,
                BLKIF_OP_WRITE => TransferKind::Write,
                _ => TransferKind::Barrier,
            };
            if writes(request.operation) && image.geometry.read_only {
                return Err(ERROR);
            }
            match usize::from(request.nr_segments) {
                0 if kind == TransferKind::Barrier => Ok(Checked::Flush { barrier: true }),
                count @ 1..=BLKIF_MAX_SEGMENTS_PER_REQUEST => {
                    let segments = Segments::Direct(count);
                    Ok(Checked::Transfer { kind, sector: request.sector_number, segments })
                }
                _ => Err(ERROR),
            }
        }
        // A flush with data would be a write after a flush; no frontend needs it.
        BLKIF_OP_FLUSH_DISKCACHE if request.nr_segments != 0 => Err(NOT_SUPPORTED),
        BLKIF_OP_FLUSH_DISKCACHE => Ok(Checked::Flush { barrier: false }),
        BLKIF_OP_DISCARD => check_discard(&reinterpret(request), image),
        BLKIF_OP_INDIRECT => check_indirect(&reinterpret(request), image),
        _ => Err(NOT_SUPPORTED),
    }
}

fn check_indirect(request: &RequestIndirect, image: &Image) -> Result<Checked, Refused> {
    let kind = match request.indirect_op {
        BLKIF_OP_READ => TransferKind::Read,
        BLKIF_OP_WRITE if image.geometry.read_only => return Err(ERROR),
        BLKIF_OP_WRITE => TransferKind::Write,
        _ => return Err(ERROR),
    };
    if !(1..=MAX_INDIRECT_SEGMENTS).contains(&request.nr_segments) {
        return Err(ERROR);
    }
    let page = GrantRef(request.indirect_grefs[0]);
    let segments = Segments::Indirect(page, request.nr_segments.into());
    Ok(Checked::Transfer { kind, sector: request.sector_number, segments })
}

fn check_discard(request: &RequestDiscard, image: &Image) -> Result<Checked, Refused> {
    let Some(discard) = image.discard.filter(|_| !image.geometry.read_only) else {
        return Err(NOT_SUPPORTED);
    };
    // The header of blkif lets a backend ignore the flag, and Linux' backend does. A guest that asks
    // for it all the same relies on it.
    if request.flag & BLKIF_DISCARD_SECURE != 0 && !discard.secure {
        return Err(NOT_SUPPORTED);
    }
    let (offset, length) = bytes(request.sector_number, request.nr_sectors, &image.geometry)?;
    Ok(Checked::Discard { offset, length })
}

/// Checks the segments of a transfer. Returns its offset on the disk in bytes, and fills `targets`.
///
/// # Errors
/// A segment is malformed, or the transfer lies outside of the disk.
pub fn check_segments(
    sector: u64,
    segments: &[Segment],
    geometry: &Geometry,
    targets: &mut Vec<Target>,
) -> Result<u64, Refused> {
    let unit = geometry.sector_size / Geometry::SECTOR;
    let mut sectors = 0;
    for segment in segments {
        let Segment { gref, first_sect, last_sect, .. } = *segment;
        if first_sect > last_sect || last_sect >= PAGE_SECTORS {
            return Err(ERROR);
        }
        let count = last_sect - first_sect + 1;
        if !u32::from(first_sect).is_multiple_of(unit) || !u32::from(count).is_multiple_of(unit) {
            return Err(ERROR);
        }
        let bytes = |sectors: u8| u16::from(sectors) * SECTOR;
        let (offset, length) = (bytes(first_sect), bytes(count));
        targets.push(Target { gref: GrantRef(gref), offset, length });
        sectors += u64::from(count);
    }
    bytes(sector, sectors, geometry).map(|(offset, _)| offset)
}

/// Returns where sectors are on the disk, and how many bytes they have.
fn bytes(sector: u64, count: u64, geometry: &Geometry) -> Result<(u64, u64), Refused> {
    let unit = u64::from(geometry.sector_size / Geometry::SECTOR);
    let end = sector.checked_add(count).ok_or(ERROR)?;
    let aligned = sector.is_multiple_of(unit) && count.is_multiple_of(unit);
    if count == 0 || end > geometry.sectors || !aligned {
        return Err(ERROR);
    }
    // The disk was found to have at most 2^63 bytes.
    let bytes = |sectors: u64| sectors * u64::from(Geometry::SECTOR);
    Ok((bytes(sector), bytes(count)))
}

/// Returns a request in the layout that its operation has.
fn reinterpret<T: FromBytes>(request: &Request) -> T {
    const { assert!(size_of::<T>() <= size_of::<Request>()) };
    match T::read_from_prefix(request.as_bytes()) {
        Ok((value, _)) => value,
        Err(_) => unreachable!("a request is at least as long as each of its layouts"),
    }
}

#[cfg(test)]
mod tests;
