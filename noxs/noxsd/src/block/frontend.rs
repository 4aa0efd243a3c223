// SPDX-License-Identifier: GPL-3.0-or-later
//! A guest's end of a disk's ring, for tests. It does not check anything and keeps no state.

use xen_abi::io::blkif::{
    BLKIF_OP_DISCARD, BLKIF_OP_INDIRECT, Request, RequestDiscard, RequestIndirect, Response,
    Segment,
};
use xen_ring::Block;
use xen_ring::testing::{FakePage, frontend};
use zerocopy::{FromBytes, IntoBytes};

pub(crate) use xen_ring::testing::frontend::{responses, set_producer};

/// Returns a segment of whole sectors.
pub(crate) fn segment(gref: u32, first_sect: u8, last_sect: u8) -> Segment {
    Segment { gref, first_sect, last_sect, pad: [0; 2] }
}

/// Returns a request with segments of its own.
pub(crate) fn request(operation: u8, id: u64, sector: u64, segments: &[Segment]) -> Request {
    let mut request = Request {
        operation,
        nr_segments: u8::try_from(segments.len()).unwrap(),
        id,
        sector_number: sector,
        ..Request::default()
    };
    for (slot, segment) in request.seg.iter_mut().zip(segments) {
        *slot = *segment;
    }
    request
}

/// Returns an indirect request, whose segments are in a page.
pub(crate) fn indirect(operation: u8, id: u64, sector: u64, count: u16, page: u32) -> Request {
    let request = RequestIndirect {
        operation: BLKIF_OP_INDIRECT,
        indirect_op: operation,
        nr_segments: count,
        id,
        sector_number: sector,
        indirect_grefs: [page, 0, 0, 0, 0, 0, 0, 0],
        ..RequestIndirect::default()
    };
    widened(request.as_bytes())
}

/// Returns a request to discard.
pub(crate) fn discard(flag: u8, id: u64, sector: u64, count: u64) -> Request {
    let request = RequestDiscard {
        operation: BLKIF_OP_DISCARD,
        flag,
        id,
        sector_number: sector,
        nr_sectors: count,
        ..RequestDiscard::default()
    };
    widened(request.as_bytes())
}

fn widened(bytes: &[u8]) -> Request {
    let mut slot = [0; size_of::<Request>()];
    slot[..bytes.len()].copy_from_slice(bytes);
    Request::read_from_bytes(&slot).unwrap()
}

/// Writes a request into the next slot and moves the index.
pub(crate) fn submit(page: &FakePage, request: &Request) {
    frontend::submit::<Block>(page, request);
}

/// Returns the identifier, the operation and the status of a response.
pub(crate) fn answer(page: &FakePage, index: u32) -> (u64, u8, i16) {
    let Response { id, operation, status, .. } = frontend::response::<Block>(page, index);
    (id, operation, status)
}

/// Returns all responses, of which there are at most as many as the ring has slots.
pub(crate) fn answers(page: &FakePage) -> Vec<(u64, u8, i16)> {
    (0..responses(page)).map(|index| answer(page, index)).collect()
}
