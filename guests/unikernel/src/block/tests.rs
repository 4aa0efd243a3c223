// SPDX-License-Identifier: MIT OR Apache-2.0
//! The requests of a disk against a backend in the same program: one that serves the ring from
//! memory, and one that breaks the protocol.
//!
//! `unsafe`: the backend accesses the ring and granted pages by their address.
#![allow(unsafe_code)]
#![allow(clippy::cast_possible_truncation)] // bytes of patterns

use std::string::ToString;
use std::sync::MutexGuard;
use std::vec::Vec;

use noxs::{Backend, DeviceState, Discard, Geometry, Ring};
use xen_abi::io::blkif::{
    BLKIF_OP_DISCARD, BLKIF_OP_FLUSH_DISKCACHE, BLKIF_OP_INDIRECT, BLKIF_OP_READ, BLKIF_OP_WRITE,
    BLKIF_OP_WRITE_BARRIER, BLKIF_RSP_EOPNOTSUPP, BLKIF_RSP_ERROR, BLKIF_RSP_OKAY, RequestDiscard,
    RequestIndirect, Response, Segment,
};
use xen_abi::io::ring::RSP_PROD;
use xen_ring::{BackRing, Block, SharedPage};
use zerocopy::{FromBytes, IntoBytes};

use super::queue::Broken;
use super::*;
use crate::grant::GrantTable;
use crate::heap::testing::{Arena, test_page};
use crate::layout::{PAGE_SIZE, PAGE_SIZE_U64, pointer};

/// The disk's content, and the backend's end of the ring.
struct World {
    _heap: MutexGuard<'static, ()>,
    queue: Queue<RawPage>,
    table: GrantTable,
    back: BackRing<Block>,
    page: RawPage,
    grants: *mut u8,
    upper: u64,
    content: Vec<u8>,
    /// Requests that were taken and not answered.
    taken: Vec<xen_abi::io::blkif::Request>,
    /// The codes of all operations that were carried out.
    log: Vec<u8>,
    spare: Vec<Buffer>,
}

const SIZE: usize = 4 << 20;

fn vbd(sector_size: u32) -> Vbd {
    let backend = Backend {
        index: 0,
        instance: 0,
        domid: 0,
        state: DeviceState::Connected,
        port: 3,
        rings: [Ring { grant: 8, gfn: 0 }],
    };
    let geometry = Geometry {
        sectors: SIZE as u64 / 512,
        sector_size,
        physical_sector_size: 4096,
        read_only: false,
    };
    let discard = Some(Discard { granularity: 4096, alignment: 0, secure: false });
    Vbd { backend, geometry, flush: true, barrier: true, discard, indirect_segments: 256 }
}

impl World {
    /// `pages` is how many pages the buffers of the test need.
    fn new(vbd: Vbd, pages: usize) -> Self {
        // Two more for aligning and the allocator. What is left over would fragment the heap for
        // the tests of the network, which allocate a part of all free memory in one piece.
        let Arena { user, upper } = Arena::new((pages + 2) * PAGE_SIZE);
        let (ring, grants) = (test_page(), test_page());
        // SAFETY: the pages must be mapped while the values live, aligned, and without references.
        // It is an aligned page of the test that is never freed, and both ends access it only by its
        // address.
        let [front, page] = [(), ()].map(|()| unsafe { RawPage::new(ring) });
        Self {
            _heap: user,
            queue: Queue::new(vbd, FrontRing::new(front)),
            table: GrantTable::over(grants),
            back: BackRing::attach(&page, 0),
            page,
            grants,
            upper,
            content: (0..SIZE).map(|at| (at / 512 + at % 251) as u8).collect(),
            taken: Vec::new(),
            log: Vec::new(),
            spare: Vec::new(),
        }
    }

    /// Returns a world with buffers of one page for [`read_in_flight`](Self::read_in_flight).
    fn reading() -> Self {
        let mut world = Self::new(vbd(512), 5);
        world.spare = world.buffers(5, 1);
        world
    }

    fn buffers(&mut self, count: usize, pages: usize) -> Vec<Buffer> {
        Buffer::several(count, pages, 0, &mut self.table).unwrap()
    }

    fn buffer(&mut self, pages: usize) -> Buffer {
        self.buffers(1, pages).remove(0)
    }

    /// Returns the page of a grant.
    fn granted(&self, reference: u32, flags: u64) -> *mut u8 {
        // SAFETY: the entry must be readable and aligned. The grant table is an aligned page of the
        // test, and references below 512, which is all that the guest uses, lie in it.
        let entry =
            unsafe { self.grants.add(reference as usize * 8).cast::<u64>().read_volatile() };
        assert_eq!(entry & 0xffff_ffff, flags, "grant {reference}");
        pointer((entry >> 32 | self.upper) * PAGE_SIZE_U64)
    }

    fn take(&mut self) {
        while self.back.available(&self.page).expect("the guest is honest") > 0 {
            self.taken.push(self.back.peek(&self.page));
            self.back.consume();
        }
    }

    fn respond(&mut self, id: u64, operation: u8, status: i16) {
        self.back.respond(&self.page, &Response { id, operation, status, ..Default::default() });
        let _ = self.back.push(&self.page);
    }

    /// Copies between the disk and the pages of a request's segments.
    fn transfer(&mut self, operation: u8, sector: u64, segments: &[Segment]) {
        let mut at = usize::try_from(sector).unwrap() * 512;
        for segment in segments {
            let (first, last) = (usize::from(segment.first_sect), usize::from(segment.last_sect));
            assert!(first <= last && last < 8, "{segment:?}");
            let page = self.granted(segment.gref, 1);
            let length = (last + 1 - first) * 512;
            // SAFETY: the bytes must be valid and accessed by nothing else. They lie in a page that
            // the guest has granted for good, and the guest is not running.
            let bytes = unsafe { core::slice::from_raw_parts_mut(page.add(first * 512), length) };
            let content = &mut self.content[at..at + length];
            match operation {
                BLKIF_OP_READ => bytes.copy_from_slice(content),
                _ => content.copy_from_slice(bytes),
            }
            at += length;
        }
    }

    /// Carries out a request. Returns the operation for the response.
    fn carry_out(&mut self, request: &xen_abi::io::blkif::Request) -> u8 {
        let mut operation = request.operation;
        match operation {
            BLKIF_OP_FLUSH_DISKCACHE => assert_eq!(request.nr_segments, 0),
            BLKIF_OP_DISCARD => {
                let (discard, _) = RequestDiscard::read_from_prefix(request.as_bytes()).unwrap();
                let start = usize::try_from(discard.sector_number).unwrap() * 512;
                let length = usize::try_from(discard.nr_sectors).unwrap() * 512;
                self.content[start..start + length].fill(0);
            }
            BLKIF_OP_INDIRECT => {
                let (indirect, _) = RequestIndirect::read_from_prefix(request.as_bytes()).unwrap();
                operation = indirect.indirect_op;
                let list = self.granted(indirect.indirect_grefs[0], 5);
                let mut segments = std::vec![Segment::default(); indirect.nr_segments.into()];
                assert!(segments.len() <= 256 && indirect.indirect_grefs[1..] == [0; 7]);
                for (number, segment) in segments.iter_mut().enumerate() {
                    // SAFETY: the entry must be readable. It lies in a page that the guest has
                    // granted for good, which has room for 512, and the guest is not running.
                    *segment = unsafe { list.cast::<Segment>().add(number).read() };
                }
                self.transfer(operation, request.sector_number, &segments);
            }
            _ => {
                let count = usize::from(request.nr_segments);
                self.transfer(operation, request.sector_number, &request.seg[..count]);
            }
        }
        self.log.push(operation);
        operation
    }

    /// Carries out all requests; the last one first.
    fn serve(&mut self) {
        self.take();
        while let Some(request) = self.taken.pop() {
            let operation = self.carry_out(&request);
            self.respond(request.id, operation, BLKIF_RSP_OKAY);
        }
    }

    fn submit(&mut self, request: Request) -> Ticket {
        self.queue.submit(request).unwrap()
    }

    fn error(&mut self, request: Request) -> DiskError {
        self.queue.submit(request).unwrap_err().error
    }

    /// Publishes, serves, and returns what is done.
    fn run(&mut self) -> Vec<Done> {
        let _ = self.queue.publish();
        self.serve();
        assert_eq!(self.queue.take_responses(), Ok(true));
        core::iter::from_fn(|| self.queue.complete()).collect()
    }

    /// Publishes a read, has the backend take it, and returns its ID.
    fn read_in_flight(&mut self) -> u64 {
        let buffer = self.spare.pop().unwrap();
        self.submit(Request::Read { at: 0, length: 512, buffer });
        let _ = self.queue.publish();
        self.take();
        self.taken.last().unwrap().id
    }

    /// Checks that the disk is broken in this way, and that all its requests have failed.
    #[track_caller]
    fn expect_broken(&mut self, expected: &str) {
        let in_flight = self.queue.in_flight();
        let broken = self.queue.take_responses().unwrap_err();
        assert!(broken.to_string().contains(expected), "{broken}");
        assert!(!self.queue.is_waiting(), "a wait would never end");
        for _ in 0..in_flight {
            let done = self.queue.complete().unwrap();
            assert_eq!(done.result, Err(DiskError::Broken));
            assert!(done.buffer.is_some());
        }
        assert!(self.queue.complete().is_none());
        assert_eq!(self.error(Request::Flush), DiskError::Broken);
        assert_eq!(self.queue.take_responses(), Ok(false), "it is reported once");
    }
}

fn fill(buffer: &mut Buffer, byte: u8) {
    let bytes = std::vec![byte; buffer.size()];
    buffer.put(0, &bytes);
}

#[test]
fn data_of_any_length_is_read_and_written() {
    for sector_size in [512, 4096] {
        let mut world = World::new(vbd(sector_size), 257);
        let sector = sector_size as usize;
        let mut buffer = world.buffer(256);
        // With whole and partial pages at the end, direct and indirect; long ones before short ones.
        let lengths =
            [1 << 20, 12 * 4096, 11 * 4096, 4096, 12 * 4096 + sector, 255 * 4096 + sector];
        for length in lengths.into_iter().chain([sector, (1 << 20) - sector, 13 * 4096]) {
            let at = 3 * 4096;
            world.submit(Request::Read { at: at as u64, length, buffer });
            let [done] = <[Done; 1]>::try_from(world.run()).unwrap();
            assert_eq!(done.result, Ok(()));
            buffer = done.buffer.unwrap();
            let mut read = std::vec![0; length];
            buffer.get(0, &mut read);
            assert!(read == world.content[at..at + length], "{length}");

            fill(&mut buffer, length as u8 ^ 0x5a);
            let before = world.content.clone();
            world.submit(Request::Write { at: at as u64, length, buffer, durable: false });
            buffer = world.run().remove(0).buffer.unwrap();
            assert!(world.content[..at] == before[..at]);
            assert!(world.content[at..at + length].iter().all(|it| *it == length as u8 ^ 0x5a));
            assert!(world.content[at + length..] == before[at + length..], "{length}");
        }
    }
}

#[test]
fn all_slots_are_used_and_answers_in_another_order_find_their_requests() {
    let mut world = World::new(vbd(512), DEPTH);
    let mut buffers = world.buffers(DEPTH, 1);
    // The indices pass the end of the ring several times.
    for round in 0..5 {
        let mut expected = Vec::new();
        for (number, buffer) in buffers.drain(..).enumerate() {
            let at = ((number * 7 + round) * 512) as u64;
            expected.push((world.submit(Request::Read { at, length: 512, buffer }), at));
        }
        assert_eq!(world.error(Request::Flush), DiskError::Full);
        assert_eq!((world.queue.in_flight(), world.queue.has_room()), (DEPTH, false));
        for done in world.run() {
            let at = expected.iter().find(|(ticket, _)| *ticket == done.ticket).unwrap().1;
            let at = usize::try_from(at).unwrap();
            let buffer = done.buffer.unwrap();
            let mut read = [0; 512];
            buffer.get(0, &mut read);
            assert_eq!(read, world.content[at..at + 512]);
            buffers.push(buffer);
        }
        assert_eq!((buffers.len(), world.queue.in_flight()), (DEPTH, 0));
    }
}

#[test]
fn flushes_durable_writes_and_discards_are_requested() {
    let mut world = World::new(vbd(512), 4);
    let mut buffer = world.buffer(1);
    fill(&mut buffer, 9);
    world.submit(Request::Flush);
    world.submit(Request::Write { at: 0, length: 4096, buffer, durable: true });
    world.submit(Request::Discard { at: 8192, length: 1 << 20 });
    assert_eq!(world.run().iter().filter(|done| done.result == Ok(())).count(), 3);
    world.log.sort_unstable();
    assert_eq!(world.log, [BLKIF_OP_WRITE_BARRIER, BLKIF_OP_FLUSH_DISKCACHE, BLKIF_OP_DISCARD]);
    assert!(world.content[..4096].iter().all(|byte| *byte == 9));
    assert!(world.content[8192..8192 + (1 << 20)].iter().all(|byte| *byte == 0));
}

#[test]
fn requests_that_the_disk_cannot_carry_out_are_rejected_with_their_buffer() {
    let mut plain = vbd(4096);
    (plain.flush, plain.barrier, plain.discard, plain.indirect_segments) = (false, false, None, 0);
    let mut world = World::new(plain, 21);
    let mut buffer = world.buffer(20);
    let size = SIZE as u64;
    for (at, length, error) in [
        (0, 0, DiskError::Unaligned),
        (512, 4096, DiskError::Unaligned),
        (0, 512, DiskError::Unaligned),
        (size, 4096, DiskError::OutOfRange),
        (size - 4096, 8192, DiskError::OutOfRange),
        (u64::MAX - 4095, 8192, DiskError::OutOfRange),
        (0, 12 * 4096, DiskError::TooLong),
        (0, 21 * 4096, DiskError::TooLong),
    ] {
        let rejected = world.queue.submit(Request::Read { at, length, buffer }).unwrap_err();
        assert_eq!(rejected.error, error, "{length} at {at}");
        let Request::Read { buffer: returned, .. } = rejected.request else { panic!("changed") };
        buffer = returned;
    }
    let durable = Request::Write { at: 0, length: 4096, buffer, durable: true };
    assert_eq!(world.error(durable), DiskError::Unsupported);
    assert_eq!(world.error(Request::Flush), DiskError::Unsupported);
    assert_eq!(world.error(Request::Discard { at: 0, length: 4096 }), DiskError::Unsupported);
    assert_eq!(world.queue.in_flight(), 0);

    let mut read_only = vbd(512);
    read_only.geometry.read_only = true;
    drop(world);
    let mut world = World::new(read_only, 1);
    let buffer = world.buffer(1);
    let write = Request::Write { at: 0, length: 512, buffer, durable: false };
    assert_eq!(world.error(write), DiskError::ReadOnly);
    assert_eq!(world.error(Request::Flush), DiskError::ReadOnly);
    assert_eq!(world.error(Request::Discard { at: 0, length: 512 }), DiskError::ReadOnly);
}

/// blkif has no indirect barriers.
#[test]
fn a_durable_write_has_at_most_eleven_pages() {
    let mut world = World::new(vbd(512), 14);
    let buffer = world.buffer(12);
    let durable = |length, buffer| Request::Write { at: 0, length, buffer, durable: true };
    let rejected = world.queue.submit(durable(12 * 4096, buffer)).unwrap_err();
    assert_eq!(rejected.error, DiskError::TooLong);
    let Request::Write { buffer, .. } = rejected.request else { panic!("changed") };
    world.submit(durable(11 * 4096, buffer));
    assert_eq!(world.run()[0].result, Ok(()));
    assert_eq!(world.log, [BLKIF_OP_WRITE_BARRIER]);
    for (length, expected) in [(512, true), (11 * 4096, true), (11 * 4096 + 512, false)] {
        assert_eq!(request::can_be_durable(world.queue.vbd(), length), expected);
    }
}

#[test]
fn errors_of_the_backend_fail_one_request() {
    let mut world = World::reading();
    for (status, error) in [
        (BLKIF_RSP_ERROR, DiskError::Failed),
        (BLKIF_RSP_EOPNOTSUPP, DiskError::Unsupported),
        (7, DiskError::Failed),
        (i16::MIN, DiskError::Failed),
    ] {
        let id = world.read_in_flight();
        world.respond(id, BLKIF_OP_READ, status);
        assert_eq!(world.queue.take_responses(), Ok(true));
        assert_eq!(world.queue.complete().unwrap().result, Err(error));
    }
    world.taken.clear();
    let buffer = world.spare.pop().unwrap();
    world.submit(Request::Read { at: 0, length: 512, buffer });
    assert_eq!(world.run()[0].result, Ok(()), "the disk works on");
}

#[test]
fn a_response_to_no_request_breaks_the_disk() {
    for wrong in [1, 32, 1 << 32, u64::MAX] {
        let mut world = World::reading();
        world.read_in_flight();
        let id = world.read_in_flight();
        world.respond(id.wrapping_add(wrong), BLKIF_OP_READ, 0);
        world.expect_broken("not in flight");
    }
}

#[test]
fn a_second_response_to_a_request_breaks_the_disk() {
    let mut world = World::reading();
    let id = world.read_in_flight();
    world.read_in_flight();
    world.respond(id, BLKIF_OP_READ, 0);
    assert_eq!(world.queue.take_responses(), Ok(true));
    // Also when another request has the slot now.
    world.queue.complete().unwrap();
    world.read_in_flight();
    world.respond(id, BLKIF_OP_READ, 0);
    world.expect_broken("not in flight");
}

#[test]
fn a_response_with_another_operation_breaks_the_disk() {
    let mut world = World::reading();
    let id = world.read_in_flight();
    world.respond(id, BLKIF_OP_WRITE, 0);
    world.expect_broken("with operation 1");
}

#[test]
fn impossible_response_indices_break_the_disk() {
    for index in [2, 1 << 31, u32::MAX] {
        let mut world = World::reading();
        world.read_in_flight();
        world.page.store(RSP_PROD, index);
        world.expect_broken("only 1 requests were published");
    }
}

#[test]
fn responses_before_a_bad_one_count() {
    let mut world = World::reading();
    let (first, second) = (world.read_in_flight(), world.read_in_flight());
    world.respond(first, BLKIF_OP_READ, 0);
    world.respond(second + 32, BLKIF_OP_READ, 0);
    assert!(matches!(world.queue.take_responses(), Err(Broken::Response { .. })));
    let mut results: Vec<_> =
        core::iter::from_fn(|| world.queue.complete()).map(|done| done.result).collect();
    results.sort_by_key(Result::is_err);
    assert_eq!(results, [Ok(()), Err(DiskError::Broken)]);
}

#[test]
fn a_wait_ends_when_the_response_came_before_it() {
    let mut world = World::reading();
    assert!(!world.queue.is_waiting(), "nothing is in flight");
    let id = world.read_in_flight();
    assert!(world.queue.is_waiting());
    world.respond(id, BLKIF_OP_READ, 0);
    assert!(!world.queue.is_waiting());
}

#[test]
fn buffers_have_limits() {
    let mut world = World::new(vbd(512), 402);
    let mut several = |count, pages| Buffer::several(count, pages, 0, &mut world.table);
    for (count, pages) in [(0, 1), (1, 0), (1, 513), (449, 1), (2, usize::MAX)] {
        assert!(several(count, pages).is_none(), "{count} of {pages}");
    }
    let buffers = several(2, 200).unwrap();
    assert_eq!((buffers.len(), buffers[1].size()), (2, 200 * PAGE_SIZE));
    assert!(several(47, 1).is_none(), "448 grants are the guest's, two of them list segments");
    let mut all: Vec<_> = buffers.into_iter().flat_map(|it| it.data.split(1)).collect();
    all.sort_by_key(|page| page.start());
    all.dedup_by_key(|page| (page.start(), page.grant(0)));
    assert_eq!(all.len(), 400, "no two buffers share a page");
}

#[test]
#[should_panic(expected = "2 bytes at 4095 of a buffer")]
fn bytes_past_the_end_of_a_buffer_are_refused() {
    let mut world = World::new(vbd(512), 4);
    world.buffer(1).put(4095, &[0; 2]);
}

/// A disk on a ring that was used already would take old responses for its own.
#[test]
fn a_ring_that_was_used_is_noticed() {
    let mut world = World::reading();
    assert!(!queue::was_used(&world.page));
    world.read_in_flight();
    assert!(queue::was_used(&world.page));
}

/// Responses with random fields, some of them right: each request is done once, and no response can
/// make the guest wait for nothing or take a buffer twice.
#[test]
fn random_responses_complete_each_request_at_most_once() {
    let mut state = 1_u64;
    let mut random = |end: usize| {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        usize::try_from(state >> 40).unwrap() % end
    };
    let (mut broken, mut completed) = (0, 0);
    let mut world = World::reading();
    for _ in 0..300 {
        world.queue = {
            // A new disk on a cleared ring, with the same buffers.
            let page = test_page();
            // SAFETY: the page must be mapped while the values live, aligned, and without
            // references. It is an aligned page of the test that is never freed, and both ends
            // access it only by its address.
            let [front, back] = [(), ()].map(|()| unsafe { RawPage::new(page) });
            world.page = back;
            world.back = BackRing::attach(&world.page, 0);
            Queue::new(vbd(512), FrontRing::new(front))
        };
        let mut in_flight = Vec::new();
        for _ in 0..20 {
            if random(2) == 0
                && let Some(buffer) = world.spare.pop()
            {
                let read = Request::Read { at: 512 * random(100) as u64, length: 512, buffer };
                match world.queue.submit(read) {
                    Ok(ticket) => in_flight.push(ticket),
                    Err(rejected) => {
                        let Request::Read { buffer, .. } = rejected.request else { panic!() };
                        world.spare.push(buffer);
                    }
                }
                let _ = world.queue.publish();
            }
            world.take();
            if !world.taken.is_empty() && random(3) == 0 {
                let request = world.taken.remove(random(world.taken.len()));
                let id = match random(30) {
                    0 => request.id ^ 1 << random(64),
                    _ => request.id,
                };
                let operation = if random(40) == 0 { random(256) as u8 } else { BLKIF_OP_READ };
                world.respond(id, operation, random(4) as i16 - 2);
            }
            if random(200) == 0 {
                world.page.store(RSP_PROD, random(1 << 24) as u32);
            }
            broken += usize::from(world.queue.take_responses().is_err());
            while let Some(done) = world.queue.complete() {
                let place = in_flight.iter().position(|ticket| *ticket == done.ticket);
                in_flight.remove(place.expect("a request that is in flight, once"));
                world.spare.push(done.buffer.unwrap());
                completed += 1;
            }
            assert_eq!(world.queue.in_flight(), in_flight.len());
        }
        // Break the disk, if it is not broken yet, so that all buffers come back.
        world.taken.clear();
        if world.queue.in_flight() > 0 {
            world.page.store(RSP_PROD, u32::MAX / 2);
            broken += usize::from(world.queue.take_responses().is_err());
        }
        world.spare.extend(core::iter::from_fn(|| world.queue.complete()?.buffer));
        assert_eq!(world.spare.len(), 5);
    }
    assert!(broken > 20 && completed > 500, "{broken} broken, {completed} completed");
}
