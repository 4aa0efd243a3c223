// SPDX-License-Identifier: GPL-3.0-or-later
//! Takes requests out of a disk's ring, and begins their operations.

use std::io;
use std::sync::Arc;

use xen_abi::io::blkif::{BLKIF_RSP_ERROR, Request, Segment};
use xen_ring::{Block, Protocol};
use zerocopy::IntoBytes;

use super::{Started, State, Taken, VbdFault};
use crate::block::request::{
    Checked, MAX_INDIRECT_SEGMENTS, Refused, Segments, Target, TransferKind, answered_operation,
    check, check_segments,
};
use crate::block::{Disks, Pending};
use crate::host::cx::Cx;
use crate::host::file_io::{FileIo, IoKind, IoPart};
use crate::host::{CopyOp, Host};

/// Most requests that are taken in one turn: as many as a ring holds.
const BATCH: usize = Block::SLOTS as usize;

/// Most requests that are taken in one turn while other guests are served, too.
const SHARED_BATCH: usize = 8;

/// Pages after which no further request is taken in a turn.
const BATCH_PAGES: usize = 128;

/// As [`BATCH_PAGES`], while other guests are served, too.
const SHARED_BATCH_PAGES: usize = 32;

/// A transfer on its way to its file.
struct Transfer {
    taken: Taken,
    kind: TransferKind,
    offset: u64,
    targets: Vec<Target>,
    parts: Vec<IoPart>,
}

impl Started {
    /// Takes requests and begins their operations. Returns whether there was a valid one.
    pub(super) fn take<H: Host>(
        &mut self,
        cx: &mut Cx<'_, H>,
        disks: &mut Disks<H::Memory>,
    ) -> Result<bool, VbdFault> {
        let waiting = self.ring.available(cx.memory)? as usize;
        let (most, most_pages) = match cx.shared {
            true => (SHARED_BATCH, SHARED_BATCH_PAGES),
            false => (BATCH, BATCH_PAGES),
        };
        self.blocked = false;
        let storage = self.image.file.storage();
        let mut starved = false;
        let mut transfers: Vec<Transfer> = Vec::new();
        let mut began = false;
        let mut pages = 0;
        for _ in 0..most.min(waiting) {
            if pages >= most_pages {
                break;
            }
            if self.queue.back().is_some_and(|last| last.barrier) {
                self.blocked = true;
                break;
            }
            // Check and use this copy: the guest may change the slot at any time.
            let request = self.ring.peek(cx.memory);
            let mut taken = Taken {
                id: request.id,
                operation: answered_operation(&request),
                barrier: false,
                bytes: 0,
                state: State::Refused(BLKIF_RSP_ERROR),
            };
            let checked = check(&request, &self.image);
            let is_barrier = matches!(
                checked,
                Ok(Checked::Flush { barrier: true }
                    | Checked::Transfer { kind: TransferKind::Barrier, .. })
            );
            let is_pending = |taken: &Taken| matches!(taken.state, State::Pending(_));
            if is_barrier && self.queue.iter().any(is_pending) {
                self.blocked = true;
                break;
            }
            taken.barrier = is_barrier;
            match checked {
                Err(Refused(status)) => {
                    self.ring.consume();
                    self.refuse(taken, status);
                }
                Ok(Checked::Flush { .. }) => {
                    if disks.take_pages(self.turn, storage, &[], &mut self.waits).is_none() {
                        starved = true;
                        break;
                    }
                    self.ring.consume();
                    self.begin(cx.host, disks, taken, IoKind::Sync, 0);
                    began = true;
                }
                Ok(Checked::Discard { offset, length }) => {
                    if disks.take_pages(self.turn, storage, &[], &mut self.waits).is_none() {
                        starved = true;
                        break;
                    }
                    self.ring.consume();
                    self.begin(cx.host, disks, taken, IoKind::Discard { length }, offset);
                    began = true;
                }
                Ok(Checked::Transfer { kind, sector, segments }) => {
                    let count = segments.count();
                    if self.pages + count > self.most_pages(disks) {
                        self.blocked = true;
                        break;
                    }
                    let mut list = [Segment::default(); MAX_INDIRECT_SEGMENTS as usize];
                    let list = &mut list[..count];
                    let mut targets = Vec::with_capacity(count);
                    let found =
                        self.fetch_segments(cx, disks, &request, segments, list).and_then(|()| {
                            check_segments(sector, list, &self.image.geometry, &mut targets)
                        });
                    let Ok(offset) = found else {
                        self.ring.consume();
                        self.refuse(taken, BLKIF_RSP_ERROR);
                        continue;
                    };
                    let mut lengths = [0; MAX_INDIRECT_SEGMENTS as usize];
                    for (length, target) in lengths.iter_mut().zip(&targets) {
                        *length = target.length;
                    }
                    let lengths = &lengths[..count];
                    let parts = disks.take_pages(self.turn, storage, lengths, &mut self.waits);
                    let Some(parts) = parts else {
                        starved = true;
                        break;
                    };
                    self.ring.consume();
                    self.pages += count;
                    pages += count;
                    taken.bytes = lengths.iter().map(|length| u32::from(*length)).sum();
                    // Its place in the order of answers.
                    let key = disks.requests.insert(Pending {
                        turn: Some(self.turn),
                        image: Arc::clone(&self.image),
                        syncs: kind == TransferKind::Barrier,
                        result: None,
                        targets: Vec::new(),
                        parts: Vec::new(),
                    });
                    taken.state = State::Pending(key);
                    self.queue.push_back(taken);
                    transfers.push(Transfer { taken, kind, offset, targets, parts });
                }
            }
        }
        if self.waits && !starved {
            // The request that waited for pages is no longer in the ring, and other disks wait.
            self.waits = false;
            disks.leave_queue(self.turn);
        }
        disks.work += pages;
        began |= !transfers.is_empty();
        self.begin_transfers(cx, disks, transfers);
        Ok(began)
    }

    /// Adds a request that is answered without an operation.
    fn refuse(&mut self, taken: Taken, status: i16) {
        self.status.failed_requests += 1;
        self.queue.push_back(Taken { state: State::Refused(status), ..taken });
    }

    /// Begins an operation without data.
    fn begin<H: Host>(
        &mut self,
        host: &mut H,
        disks: &mut Disks<H::Memory>,
        taken: Taken,
        kind: IoKind,
        offset: u64,
    ) {
        let key = disks.requests.insert(Pending {
            turn: Some(self.turn),
            image: Arc::clone(&self.image),
            syncs: false,
            result: None,
            targets: Vec::new(),
            parts: Vec::new(),
        });
        self.queue.push_back(Taken { state: State::Pending(key), ..taken });
        let file = Arc::clone(&self.image.file);
        host.begin_io(FileIo { key, file, kind, offset, parts: Vec::new() });
    }

    /// Copies what the guest writes, all at once, and begins the operations.
    fn begin_transfers<H: Host>(
        &mut self,
        cx: &mut Cx<'_, H>,
        disks: &mut Disks<H::Memory>,
        mut transfers: Vec<Transfer>,
    ) {
        let writes = transfers.iter_mut().filter(|transfer| transfer.kind != TransferKind::Read);
        let pages = writes.flat_map(|transfer| transfer.targets.iter().zip(&mut transfer.parts));
        let domid = cx.domid;
        let copies = pages.map(|(target, part)| {
            CopyOp::from_grant(domid, target.gref, target.offset, part.data_mut())
        });
        let mut failed = self.copy(cx, disks, copies.collect()).into_iter();
        for Transfer { taken, kind, offset, targets, parts } in transfers {
            let State::Pending(key) = taken.state else { continue };
            let Some(pending) = disks.requests.get_mut(key) else { continue };
            let writes = kind != TransferKind::Read;
            if writes && failed.by_ref().take(targets.len()).fold(false, |any, one| any | one) {
                pending.parts = parts;
                pending.result = Some(Err(io::ErrorKind::InvalidInput.into()));
                continue;
            }
            if !writes {
                pending.targets = targets;
            }
            let kind = if writes { IoKind::Write } else { IoKind::Read };
            let file = Arc::clone(&self.image.file);
            cx.host.begin_io(FileIo { key, file, kind, offset, parts });
        }
    }

    /// Fills the list of a request's segments.
    fn fetch_segments<H: Host>(
        &mut self,
        cx: &mut Cx<'_, H>,
        disks: &mut Disks<H::Memory>,
        request: &Request,
        segments: Segments,
        list: &mut [Segment],
    ) -> Result<(), Refused> {
        match segments {
            Segments::Direct(count) => list.copy_from_slice(&request.seg[..count]),
            Segments::Indirect(page, _) => {
                let copy = CopyOp::from_grant(cx.domid, page, 0, list.as_mut_bytes());
                if self.copy(cx, disks, vec![copy]) != [false] {
                    return Err(Refused(BLKIF_RSP_ERROR));
                }
            }
        }
        Ok(())
    }
}
