// SPDX-License-Identifier: MIT OR Apache-2.0
//! Requests to disks whose sectors, segments, operations and grants are wrong.

use xen_abi::io::blkif::{
    BLKIF_OP_DISCARD, BLKIF_OP_FLUSH_DISKCACHE, BLKIF_OP_INDIRECT, BLKIF_OP_READ, BLKIF_OP_WRITE,
    BLKIF_OP_WRITE_BARRIER,
};

use crate::Attack::Disk;
use crate::Outcome::{Loses, Refused};
use crate::{Case, DISK_SECTORS, Device, DiskRequest, Grant, List, Page, SCRATCH, Segment, case};

const READ: u8 = BLKIF_OP_READ;
const WRITE: u8 = BLKIF_OP_WRITE;
const END: u64 = DISK_SECTORS;

/// A page of a good grant.
const PAGE: Segment = seg(Grant::Good, 0, 7);

const fn seg(grant: Grant, first: u8, last: u8) -> Segment {
    Segment { grant, first, last }
}

/// A request of the first disk.
const fn req(operation: u8, sector: u64, segments: &'static [Segment]) -> DiskRequest {
    DiskRequest { disk: 0, operation, sector, segments, count: None, list: None, discard: None }
}

/// A write of the second disk, which is read-only.
const fn read_only(operation: u8, segments: &'static [Segment]) -> DiskRequest {
    DiskRequest { disk: 1, ..req(operation, 0, segments) }
}

/// A request that claims to have so many segments.
const fn claims(operation: u8, count: u16) -> DiskRequest {
    DiskRequest { count: Some(count), ..req(operation, SCRATCH, &[PAGE]) }
}

/// An indirect request of the first disk.
const fn indirect(operation: u8, sector: u64, segments: &'static [Segment]) -> DiskRequest {
    let list = Some(List { grant: Grant::Good, operation });
    DiskRequest { list, ..req(BLKIF_OP_INDIRECT, sector, segments) }
}

/// An indirect request that claims to have so many segments.
const fn indirect_claims(operation: u8, count: u16) -> DiskRequest {
    DiskRequest { count: Some(count), ..indirect(operation, SCRATCH, &[PAGE]) }
}

/// An indirect read whose list is in a page that is granted like this.
const fn indirect_list(grant: Grant) -> DiskRequest {
    DiskRequest { list: Some(List { grant, operation: READ }), ..indirect(READ, 0, &[PAGE]) }
}

const fn discard(disk: usize, sector: u64, count: u64) -> DiskRequest {
    DiskRequest { disk, discard: Some((0, count)), ..req(BLKIF_OP_DISCARD, sector, &[]) }
}

const BROKEN: crate::Outcome = Loses(Device::Disk, "the block ring's request index");

pub(crate) const CASES: &[Case] = &[
    case("disk-operation-4", Disk(&[req(4, SCRATCH, &[PAGE])]), Refused),
    case("disk-operation-7", Disk(&[req(7, SCRATCH, &[PAGE])]), Refused),
    case("disk-operation-255", Disk(&[req(255, SCRATCH, &[PAGE])]), Refused),
    case("disk-read-no-segments", Disk(&[claims(READ, 0)]), Refused),
    case("disk-write-no-segments", Disk(&[claims(WRITE, 0)]), Refused),
    case("disk-read-12-segments", Disk(&[claims(READ, 12)]), Refused),
    case("disk-write-255-segments", Disk(&[claims(WRITE, 255)]), Refused),
    case("disk-flush-with-segments", Disk(&[claims(BLKIF_OP_FLUSH_DISKCACHE, 1)]), Refused),
    case("disk-barrier-12-segments", Disk(&[claims(BLKIF_OP_WRITE_BARRIER, 12)]), Refused),
    case("disk-read-at-the-end", Disk(&[req(READ, END, &[PAGE])]), Refused),
    case("disk-read-across-the-end", Disk(&[req(READ, END - 7, &[PAGE])]), Refused),
    case("disk-write-at-the-end", Disk(&[req(WRITE, END, &[PAGE])]), Refused),
    case("disk-write-across-the-end", Disk(&[req(WRITE, END - 1, &[PAGE])]), Refused),
    case("disk-write-far", Disk(&[req(WRITE, 1 << 40, &[PAGE])]), Refused),
    case("disk-write-sector-wraps", Disk(&[req(WRITE, u64::MAX - 3, &[PAGE])]), Refused),
    // Times 512 it is 0, or a place on the disk.
    case("disk-write-bytes-wrap", Disk(&[req(WRITE, 1 << 55, &[PAGE])]), Refused),
    case("disk-read-bytes-wrap", Disk(&[req(READ, (1 << 55) | 8, &[PAGE])]), Refused),
    case("disk-segment-backwards", Disk(&[req(READ, 0, &[seg(Grant::Good, 5, 4)])]), Refused),
    case("disk-segment-past-the-page", Disk(&[req(READ, 0, &[seg(Grant::Good, 0, 8)])]), Refused),
    case("disk-segment-behind-the-page", Disk(&[req(READ, 0, &[seg(Grant::Good, 8, 9)])]), Refused),
    case("disk-segment-huge", Disk(&[req(WRITE, 0, &[seg(Grant::Good, 0, 255)])]), Refused),
    case("disk-segment-last", Disk(&[req(WRITE, 0, &[seg(Grant::Good, 255, 255)])]), Refused),
    case(
        "disk-second-segment-wrong",
        Disk(&[req(WRITE, SCRATCH, &[PAGE, seg(Grant::Good, 7, 0)])]),
        Refused,
    ),
    case("disk-grant-of-xen", Disk(&[req(READ, 0, &[seg(Grant::Number(0), 0, 7)])]), Refused),
    case(
        "disk-grant-unused",
        Disk(&[req(WRITE, SCRATCH, &[seg(Grant::Number(500), 0, 7)])]),
        Refused,
    ),
    case(
        "disk-grant-past-the-table",
        Disk(&[req(WRITE, SCRATCH, &[seg(Grant::Number(100_000), 0, 7)])]),
        Refused,
    ),
    case("disk-grant-huge", Disk(&[req(READ, 0, &[seg(Grant::Number(u32::MAX), 0, 7)])]), Refused),
    case("disk-grant-revoked", Disk(&[req(WRITE, SCRATCH, &[seg(Grant::Revoked, 0, 7)])]), Refused),
    case(
        "disk-grant-of-another",
        Disk(&[req(WRITE, SCRATCH, &[seg(Grant::Another, 0, 7)])]),
        Refused,
    ),
    case("disk-read-into-another", Disk(&[req(READ, 0, &[seg(Grant::Another, 0, 7)])]), Refused),
    case("disk-grant-without-frame", Disk(&[req(READ, 0, &[seg(Grant::NoFrame, 0, 7)])]), Refused),
    case("disk-grant-transfer", Disk(&[req(READ, 0, &[seg(Grant::Transfer, 0, 7)])]), Refused),
    case("disk-grant-read-only", Disk(&[req(READ, 0, &[seg(Grant::ReadOnly, 0, 7)])]), Refused),
    case(
        "disk-second-grant-wrong",
        Disk(&[req(WRITE, SCRATCH, &[PAGE, seg(Grant::Number(500), 0, 7)])]),
        Refused,
    ),
    case("disk-read-only-written", Disk(&[read_only(WRITE, &[PAGE])]), Refused),
    case("disk-read-only-barrier", Disk(&[read_only(BLKIF_OP_WRITE_BARRIER, &[PAGE])]), Refused),
    case("disk-read-only-discarded", Disk(&[discard(1, 0, 8)]), Refused),
    case(
        "disk-read-only-indirect",
        Disk(&[DiskRequest { disk: 1, ..indirect(WRITE, 0, &[PAGE]) }]),
        Refused,
    ),
    case("disk-discard-nothing", Disk(&[discard(0, SCRATCH, 0)]), Refused),
    case("disk-discard-at-the-end", Disk(&[discard(0, END, 8)]), Refused),
    case("disk-discard-across-the-end", Disk(&[discard(0, END - 8, 16)]), Refused),
    case("disk-discard-wraps", Disk(&[discard(0, 8, u64::MAX - 3)]), Refused),
    case("disk-discard-bytes-wrap", Disk(&[discard(0, 0, 1 << 55)]), Refused),
    case(
        "disk-discard-securely",
        Disk(&[DiskRequest { discard: Some((255, 8)), ..discard(0, SCRATCH, 8) }]),
        Refused,
    ),
    case("disk-indirect-no-segments", Disk(&[indirect_claims(READ, 0)]), Refused),
    case("disk-indirect-65-segments", Disk(&[indirect_claims(READ, 65)]), Refused),
    case("disk-indirect-65535-segments", Disk(&[indirect_claims(WRITE, 65535)]), Refused),
    case("disk-indirect-indirect", Disk(&[indirect(BLKIF_OP_INDIRECT, 0, &[PAGE])]), Refused),
    case("disk-indirect-flush", Disk(&[indirect(BLKIF_OP_FLUSH_DISKCACHE, 0, &[PAGE])]), Refused),
    case("disk-indirect-barrier", Disk(&[indirect(BLKIF_OP_WRITE_BARRIER, 0, &[PAGE])]), Refused),
    case("disk-indirect-across-the-end", Disk(&[indirect(WRITE, END - 1, &[PAGE])]), Refused),
    case(
        "disk-indirect-segment-backwards",
        Disk(&[indirect(WRITE, SCRATCH, &[PAGE, seg(Grant::Good, 1, 0)])]),
        Refused,
    ),
    case("disk-indirect-list-unused", Disk(&[indirect_list(Grant::Number(500))]), Refused),
    case("disk-indirect-list-huge", Disk(&[indirect_list(Grant::Number(u32::MAX))]), Refused),
    case("disk-indirect-list-revoked", Disk(&[indirect_list(Grant::Revoked)]), Refused),
    case("disk-indirect-list-of-another", Disk(&[indirect_list(Grant::Another)]), Refused),
    case("disk-indirect-list-without-frame", Disk(&[indirect_list(Grant::NoFrame)]), Refused),
    // The list is the ring itself, and the console's.
    case("disk-indirect-list-in-ring", Disk(&[indirect_list(Grant::Ring(Page::Console))]), Refused),
    // noxsd then reads the disk's content over the indices of the ring.
    case(
        "disk-read-into-own-ring",
        Disk(&[req(READ, 0, &[seg(Grant::Ring(Page::Disk), 0, 0)])]),
        BROKEN,
    ),
    case(
        "disk-read-into-transmit-ring",
        Disk(&[req(READ, 0, &[seg(Grant::Ring(Page::Transmit), 0, 0)])]),
        Loses(Device::Vif, "request index of its transmit ring"),
    ),
    // The console's indices are in its last quarter.
    case(
        "disk-read-into-console",
        Disk(&[req(READ, 0, &[seg(Grant::Ring(Page::Console), 6, 6)])]),
        Loses(Device::Console, "output index of its console"),
    ),
];
