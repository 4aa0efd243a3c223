// SPDX-License-Identifier: GPL-3.0-or-later
//! Disks: rings of requests, and the files behind them.
//!
//! [`vbd`] takes requests out of a guest's ring and answers them, [`request`] checks each once,
//! [`image`] is the file behind a disk, `pages` copies from and to the guest. [`Disks`] is what the disks of all guests share: the
//! requests whose files are being read or written, and the private pages that their data is in.
//!
//! # The order of answers
//! `blkif` permits answers in any order. noxsd answers in the order of the requests, so that a
//! restarted noxsd finds each unanswered request where the guest has put it: an answer takes the
//! place of the request with the same number, and that request is answered then. A noxsd that is
//! killed while it replaces the one by the other has kept the request's bytes in the ring page
//! ([`BackRing::answer`](xen_ring::BackRing::answer)). Nothing else of a request outlives noxsd. An
//! unanswered request is carried out again: a read or a discard does no harm, and a write puts the
//! same data in the same place, because a guest leaves the pages of a request alone until it is
//! answered.
//!
//! An earlier noxsd cannot write after that. The kernel keeps its lock of the file until the last of
//! its operations has ended, and this noxsd touches the file only once it has the lock.
//!
//! # What is on stable storage
//! A write that was answered is in the kernel's page cache, where it survives the end of noxsd and of
//! the guest. A flush puts there what is on stable storage (`fdatasync`), whichever noxsd has
//! written it.

#[cfg(test)]
pub(crate) mod frontend;
mod health;
pub mod image;
mod pages;
pub mod request;
mod shares;
pub mod vbd;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use noxs_control::DiskImage;
use slab::Slab;
use xen_ring::SharedPage;

use self::image::Image;
use self::pages::DiskPages;
use self::request::Target;
use self::shares::Shares;
use crate::host::file_io::storage::{Storage, is_closing};
use crate::host::file_io::{FileIo, FinishedIo, IoKind, IoPage, IoPart};
use crate::host::mapped::Room;
use crate::host::{Host, PAGE_SIZE};
use crate::turns::TurnId;
use crate::turns::log_limit::LogLimit;

pub use self::vbd::{Vbd, VbdFault};

/// Most pages for the data of all requests: 16 MiB. A request for which none are left stays in its
/// ring until others are finished. One storage takes at most half of what others leave (`shares`).
pub const MAX_PAGES: usize = 4096;

/// Most of these pages that the disks of one domain share, while others have none: the more others
/// have, the less. Each disk may have enough for one request.
pub const DOMAIN_PAGES: usize = MAX_PAGES / 16;

/// Pages that are kept for the next requests, so that a few busy disks allocate none.
const KEPT_PAGES: usize = 512;

/// How long the end of a domain may delay its successor on the same disk.
pub const DRAIN: Duration = Duration::from_secs(2);

/// What the disks of all guests share.
#[derive(Debug)]
pub struct Disks<M> {
    /// Requests that were taken and not answered.
    requests: Slab<Pending>,
    /// Free pages. They hold data of any guest, so a page is delivered only after all of the data
    /// in it was read anew.
    free: Vec<Box<IoPage>>,
    /// The pages that requests have, and the disks that wait for some.
    shares: Shares,
    /// Disks that may continue.
    woken: Vec<TurnId>,
    /// Reused by each call of `finish`.
    finished: Vec<FinishedIo>,
    /// Whether the kernel has not taken all operations.
    unsubmitted: bool,
    /// Pages that were copied from and to guests since the beginning of a turn.
    work: usize,
    warnings: LogLimit,
    /// The guests' pages of the disks that have had requests.
    mapped: Slab<DiskPages<M>>,
    /// Those of all devices that are mapped.
    room: Room<M>,
}

/// A request that was taken.
#[derive(Debug)]
struct Pending {
    /// The owner of the disk's turns; `None` if the disk was released.
    turn: Option<TurnId>,
    image: Arc<Image>,
    /// Whether a sync must follow: it is a barrier that has been written.
    syncs: bool,
    /// The result, once it is there.
    result: Option<io::Result<()>>,
    /// Where in the guest the data goes; empty unless it reads.
    targets: Vec<Target>,
    /// The data, while no operation has it.
    parts: Vec<IoPart>,
}

impl<M: SharedPage> Disks<M> {
    /// Creates what disks share, before there is one.
    #[must_use]
    pub(crate) fn new(now: Instant, room: Room<M>) -> Self {
        Self {
            requests: Slab::new(),
            free: Vec::new(),
            shares: Shares::default(),
            woken: Vec::new(),
            finished: Vec::new(),
            unsubmitted: false,
            work: 0,
            warnings: LogLimit::new(now),
            mapped: Slab::new(),
            room,
        }
    }

    /// Begins to count what a turn copies.
    pub fn begin_turn(&mut self) {
        self.work = 0;
    }

    /// Returns how many pages were copied in this turn.
    #[must_use]
    pub fn work(&self) -> usize {
        self.work
    }

    /// Returns whether the kernel has not taken all operations, so that [`finish`](Self::finish) must
    /// be called again.
    #[must_use]
    pub fn has_unsubmitted(&self) -> bool {
        self.unsubmitted
    }

    /// Starts what was begun, and notes what is finished. Returns the disks that have something to
    /// do now, perhaps some of them twice.
    pub fn finish<H: Host<Memory = M>>(&mut self, host: &mut H) -> std::vec::Drain<'_, TurnId> {
        host.submit_io();
        let mut finished = std::mem::take(&mut self.finished);
        host.finished_io(&mut finished);
        for done in finished.drain(..) {
            self.note(done, host);
        }
        self.finished = finished;
        // A sync follows a barrier, and what was done in part continues.
        self.unsubmitted = !host.submit_io();
        self.woken.drain(..)
    }

    /// Notes the result of an operation. Begins the sync after a barrier.
    fn note<H: Host<Memory = M>>(&mut self, done: FinishedIo, host: &mut H) {
        let FinishedIo { key, result, parts } = done;
        let Some(pending) = self.requests.get_mut(key) else { return };
        let Some(turn) = pending.turn else {
            let storage = pending.image.file.storage();
            self.requests.remove(key);
            self.free(storage, parts);
            return;
        };
        if result.is_ok() && std::mem::take(&mut pending.syncs) {
            let file = Arc::clone(&pending.image.file);
            host.begin_io(FileIo { key, file, kind: IoKind::Sync, offset: 0, parts });
            return;
        }
        pending.parts = parts;
        pending.result = Some(result);
        self.woken.push(turn);
    }

    /// Takes pages for a request to a storage, if it is the turn's turn to get some. `waits` says
    /// whether the disk is in the queue for pages, and is updated.
    fn take_pages(
        &mut self,
        turn: TurnId,
        storage: Storage,
        lengths: &[u16],
        waits: &mut bool,
    ) -> Option<Vec<IoPart>> {
        let waited = *waits;
        if !self.shares.take(turn, storage, lengths.len(), waits) {
            return None;
        }
        if waited {
            self.woken.extend(self.shares.first());
        }
        let page = || Box::new(IoPage([0; PAGE_SIZE]));
        let part =
            |length: &u16| IoPart { page: self.free.pop().unwrap_or_else(page), length: *length };
        Some(lengths.iter().map(part).collect())
    }

    /// Frees what a request to a storage has had, which the first in the queue may need.
    fn free(&mut self, storage: Storage, parts: Vec<IoPart>) {
        self.shares.release(storage, parts.len());
        let room = KEPT_PAGES.saturating_sub(self.free.len());
        self.free.extend(parts.into_iter().take(room).map(|part| part.page));
        self.woken.extend(self.shares.first());
    }

    /// Removes a disk from the queue for pages.
    fn leave_queue(&mut self, turn: TurnId) {
        self.shares.leave(turn);
        self.woken.extend(self.shares.first());
    }

    /// Gives up a request of a disk that is released. Its file stays open and locked until its
    /// operation is finished.
    fn abandon(&mut self, key: usize) {
        let Some(pending) = self.requests.get_mut(key) else { return };
        if pending.result.is_some() {
            let pending = self.requests.remove(key);
            self.free(pending.image.file.storage(), pending.parts);
        } else {
            pending.turn = None;
        }
    }

    /// Returns whether a released disk has operations on a file, or the file is being closed, so that
    /// its lock is not free yet. Two disks that only read do not hinder each other.
    #[must_use]
    pub fn is_draining(&self, image: &DiskImage) -> bool {
        self.requests.iter().any(|(_, pending)| {
            let Image { identity, geometry, .. } = &*pending.image;
            pending.turn.is_none() && image.excludes(*identity, geometry.read_only)
        }) || is_closing(|owner| image.excludes(owner.identity, owner.read_only))
    }
}
