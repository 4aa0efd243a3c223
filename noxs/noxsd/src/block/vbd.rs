// SPDX-License-Identifier: GPL-3.0-or-later
//! A guest's disk: attached first, and served once the file behind it is known.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use noxs::layout::vbd_ring;
use noxs_control::{VbdDevice, VbdStatus};
use xen_abi::io::blkif::{
    BLKIF_OP_DISCARD, BLKIF_OP_FLUSH_DISKCACHE, BLKIF_OP_READ, BLKIF_RSP_EOPNOTSUPP,
    BLKIF_RSP_ERROR, BLKIF_RSP_OKAY, Request, Response, Segment,
};
use xen_ring::{BackRing, Block, BrokenRing, Protocol, SharedPage};
use zerocopy::IntoBytes;

use super::health::Health;
use super::image::Image;
use super::pages::DiskPages;
use super::request::{
    Checked, MAX_INDIRECT_SEGMENTS, Refused, Segments, Target, TransferKind, answered_operation,
    check, check_segments,
};
use super::shares::Storage;
use super::{DOMAIN_PAGES, Disks, Pending};
use crate::host::cx::Cx;
use crate::host::file_io::{FileIo, IoKind, IoPart};
use crate::host::{GrantRef, Host, PAGE_SIZE, RemotePort};
use crate::turns::{After, Served, TurnId};

/// Most requests that are taken in one turn: as many as a ring holds.
const BATCH: usize = Block::SLOTS as usize;

/// Most requests that are taken in one turn while other guests are served, too.
const SHARED_BATCH: usize = 8;

/// Pages after which no further request is taken in a turn.
const BATCH_PAGES: usize = 128;

/// As [`BATCH_PAGES`], while other guests are served, too.
const SHARED_BATCH_PAGES: usize = 32;

/// What costs a guest its disk.
#[derive(Debug, thiserror::Error)]
pub enum VbdFault {
    /// It wrote an index that a correct front end cannot write.
    #[error(transparent)]
    Ring(#[from] BrokenRing),
    /// A restarted noxsd cannot use the file behind the disk.
    #[error("{0}; destroy the guest and create it again")]
    Lost(String),
}

/// A disk, whose ring is mapped and whose port is bound. [`start`](Self::start) puts a file behind
/// it.
#[derive(Debug)]
pub struct Vbd {
    /// Number in its domain.
    index: u16,
    /// Offset of its ring in the domain's shared memory.
    base: usize,
    started: Option<Box<Started>>,
    /// What has passed, once the disk was released.
    status: VbdStatus,
}

/// A disk with a file behind it.
#[derive(Debug)]
struct Started {
    ring: BackRing<Block>,
    /// Offset in the domain's memory of whether the guest always uses the same pages.
    persistent: usize,
    image: Arc<Image>,
    turn: TurnId,
    /// The requests that were taken and not answered, in the order of the ring.
    queue: VecDeque<Taken>,
    /// The number of its mapped pages among those of all disks, once it has any.
    mapped: Option<usize>,
    /// Pages that its requests have, and may have while others have none.
    pages: usize,
    most_pages: usize,
    /// Whether it is in the queue for pages.
    waits: bool,
    /// Whether requests stay in the ring until others are finished.
    blocked: bool,
    /// Whether the guest wants an event for answers that are published.
    notify: bool,
    health: Health,
    status: VbdStatus,
}

/// A request that was taken and not answered.
#[derive(Clone, Copy, Debug)]
struct Taken {
    id: u64,
    /// The operation that the answer names.
    operation: u8,
    /// Whether the requests behind it wait for it.
    barrier: bool,
    bytes: u32,
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// It was refused with this status.
    Refused(i16),
    /// Its number among the pending requests.
    Pending(usize),
}

/// A transfer on its way to its file.
struct Transfer {
    taken: Taken,
    kind: TransferKind,
    offset: u64,
    targets: Vec<Target>,
    parts: Vec<IoPart>,
}

impl Vbd {
    /// Ring pages of a disk.
    pub const PAGES: usize = 1;

    /// Bytes of its ring pages.
    pub const RING_SIZE: usize = Self::PAGES * PAGE_SIZE;

    /// Returns the pages to map for a disk, in the order that [`attach`](Self::attach) expects.
    #[must_use]
    pub fn pages(device: &VbdDevice) -> [GrantRef; Self::PAGES] {
        [GrantRef(device.ring)]
    }

    /// Returns the port to bind for a disk.
    #[must_use]
    pub fn port(device: &VbdDevice) -> RemotePort {
        RemotePort(device.port)
    }

    /// Creates a disk whose ring is at offset `base` of the domain's memory. No request is taken
    /// until [`start`](Self::start) puts a file behind it.
    #[must_use]
    pub fn attach(device: &VbdDevice, base: usize) -> Self {
        Self { index: device.index, base, started: None, status: VbdStatus::default() }
    }

    /// Puts a file behind the disk, which is one of `disks` of its domain. Continues where the ring's
    /// indices stand, with the first request that is not answered. Returns how many requests wait.
    ///
    /// # Errors
    /// The guest wrote an impossible index.
    pub fn start(
        &mut self,
        memory: &impl SharedPage,
        image: Image,
        turn: TurnId,
        disks: usize,
    ) -> Result<u32, VbdFault> {
        let mut ring = BackRing::resume(memory, self.base);
        // A zeroed ring page does not ask for events, so the guest would not send one.
        let waiting = ring.arm(memory);
        self.started = Some(Box::new(Started {
            ring,
            persistent: self.base + vbd_ring::PERSISTENT_GRANTS,
            image: Arc::new(image),
            turn,
            queue: VecDeque::new(),
            mapped: None,
            pages: 0,
            most_pages: most_pages(disks),
            waits: false,
            blocked: false,
            notify: false,
            health: Health::default(),
            status: VbdStatus::default(),
        }));
        Ok(waiting?)
    }

    /// Sets the number of disks that share the pages of their domain. Requests that have more keep
    /// them until they are answered.
    pub fn share(&mut self, disks: usize) {
        if let Some(disk) = &mut self.started {
            disk.most_pages = most_pages(disks);
        }
    }

    /// Answers requests that are finished, and takes a batch of new ones.
    ///
    /// # Errors
    /// The guest wrote an impossible index.
    pub fn serve<H: Host>(
        &mut self,
        cx: &mut Cx<'_, H>,
        disks: &mut Disks<H::Memory>,
    ) -> Result<Served, VbdFault> {
        let Some(disk) = &mut self.started else {
            return Ok(Served { after: After::Event, progress: false });
        };
        let mut progress = disk.answer(cx, disks);
        progress |= disk.take(cx, disks)?;
        // Those that were refused, if nothing is before them.
        progress |= disk.answer(cx, disks);
        if std::mem::take(&mut disk.notify) {
            cx.notify();
        }
        let is_pending = |taken: &Taken| matches!(taken.state, State::Pending(_));
        let after = if disk.waits || (disk.blocked && disk.queue.iter().any(is_pending)) {
            // It continues when others are finished, and needs no event until then.
            After::Event
        } else if disk.blocked || disk.ring.arm(cx.memory)? > 0 {
            After::Turn
        } else {
            After::Event
        };
        if disk.queue.is_empty() {
            // Most disks are idle most of the time.
            disk.queue = VecDeque::new();
        }
        Ok(Served { after, progress })
    }

    /// Gives up what is not answered. Keeps the counters.
    pub fn release<M: SharedPage>(&mut self, disks: &mut Disks<M>) {
        let Some(disk) = self.started.take() else { return };
        self.status = disk.status;
        for taken in &disk.queue {
            if let State::Pending(key) = taken.state {
                disks.abandon(key);
            }
        }
        if disk.waits {
            disks.leave_queue(disk.turn);
        }
        if let Some(mapped) = disk.mapped {
            disks.mapped.remove(mapped);
        }
    }

    /// Returns the disk's number in its domain.
    #[must_use]
    pub fn index(&self) -> u16 {
        self.index
    }

    /// Returns whether there is a file behind the disk.
    #[must_use]
    pub fn is_started(&self) -> bool {
        self.started.is_some()
    }

    /// Returns the file behind the disk.
    #[must_use]
    pub fn image(&self) -> Option<&Image> {
        self.started.as_ref().map(|disk| &*disk.image)
    }

    /// Returns how much has passed.
    #[must_use]
    pub fn status(&self) -> VbdStatus {
        self.started.as_ref().map_or(self.status, |disk| disk.status)
    }
}

/// Returns how many pages the requests of one of several disks of a domain may have.
fn most_pages(disks: usize) -> usize {
    (DOMAIN_PAGES / disks.max(1)).max(MAX_INDIRECT_SEGMENTS.into())
}

impl Started {
    /// Returns how many pages its requests may have now, at least enough for one.
    fn most_pages<M>(&self, disks: &Disks<M>) -> usize {
        disks.shares.scaled(self.most_pages, self.pages).max(MAX_INDIRECT_SEGMENTS.into())
    }

    /// Returns whether the guest always uses the same pages. It may change its mind at any time, which
    /// harms only itself.
    fn is_persistent<H: Host>(&self, cx: &Cx<'_, H>) -> bool {
        cx.memory.load(self.persistent) == 1
    }

    /// Returns the guest's pages.
    fn pages<'a, M: SharedPage>(&mut self, disks: &'a mut Disks<M>) -> &'a mut DiskPages<M> {
        let Disks { mapped, room, .. } = disks;
        let number = *self.mapped.get_or_insert_with(|| mapped.insert(DiskPages::new(room)));
        &mut mapped[number]
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
                let persistent = self.is_persistent(cx);
                let copy = std::iter::once((page, 0, list.as_mut_bytes()));
                if self.pages(disks).fetch(cx, persistent, copy) != [false] {
                    return Err(Refused(BLKIF_RSP_ERROR));
                }
            }
        }
        Ok(())
    }

    /// Copies to the guest what was read, all at once. Returns for each request whether a copy has
    /// failed.
    fn deliver<H: Host>(
        &mut self,
        cx: &mut Cx<'_, H>,
        disks: &mut Disks<H::Memory>,
        pending: &[Option<Pending>],
    ) -> Vec<bool> {
        let read = |pending: &Pending| matches!(pending.result, Some(Ok(())));
        let pages = pending.iter().enumerate().flat_map(|(number, pending)| {
            let read = pending.iter().filter(|pending| read(pending));
            read.flat_map(|pending| pending.targets.iter().zip(&pending.parts))
                .map(move |page| (number, page))
        });
        let copies = pages.clone().map(|(_, (to, part))| (to.gref, to.offset, part.data()));
        let persistent = self.is_persistent(cx);
        let failed_pages = self.pages(disks).deliver(cx, persistent, copies);
        disks.work += failed_pages.len();
        let mut failed = vec![false; pending.len()];
        for ((number, _), page) in pages.zip(failed_pages) {
            failed[number] |= page;
        }
        failed
    }

    /// Takes requests and begins their operations. Returns whether there was a valid one.
    fn take<H: Host>(
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
        let storage = Storage::of(&self.image);
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
            // What it waited for is no longer in the ring, and others wait behind it.
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
        let copies = pages.map(|(target, part)| (target.gref, target.offset, part.data_mut()));
        let persistent = self.is_persistent(cx);
        let failed = self.pages(disks).fetch(cx, persistent, copies);
        let mut failed = failed.into_iter();
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

    /// Answers the requests at the head of the queue that are finished. Returns whether one of them
    /// has succeeded.
    fn answer<H: Host>(&mut self, cx: &mut Cx<'_, H>, disks: &mut Disks<H::Memory>) -> bool {
        let is_finished = |taken: &&Taken| match taken.state {
            State::Refused(_) => true,
            State::Pending(key) => {
                disks.requests.get(key).is_none_or(|pending| pending.result.is_some())
            }
        };
        let count = self.queue.iter().take_while(is_finished).count();
        if count == 0 {
            return false;
        }
        let taken: Vec<Taken> = self.queue.drain(..count).collect();
        let mut pending: Vec<Option<Pending>> = taken
            .iter()
            .map(|taken| match taken.state {
                State::Refused(_) => None,
                State::Pending(key) => disks.requests.try_remove(key),
            })
            .collect();
        let failed = self.deliver(cx, disks, &pending);
        let mut progress = false;
        for ((taken, pending), failed) in taken.iter().zip(&mut pending).zip(failed) {
            let status = match (taken.state, pending) {
                (State::Refused(status), _) => status,
                (State::Pending(_), None) => BLKIF_RSP_ERROR,
                (State::Pending(_), Some(pending)) => {
                    let parts = std::mem::take(&mut pending.parts);
                    self.pages -= parts.len();
                    disks.free(Storage::of(&self.image), parts);
                    let result = pending.result.take().unwrap_or(Ok(()));
                    self.status_of(cx, disks, taken, &result, failed)
                }
            };
            progress |= status == BLKIF_RSP_OKAY;
            let response = Response {
                id: taken.id,
                operation: taken.operation,
                status,
                ..Response::default()
            };
            // An answer takes the place of a request, which the next noxsd carries out if this one
            // is killed. So each answer is published at once, and not all at the end.
            self.notify |= self.ring.answer(cx.memory, &response);
        }
        progress
    }

    /// Counts a request that was carried out. Returns the status for the guest.
    fn status_of<H: Host>(
        &mut self,
        cx: &Cx<'_, H>,
        disks: &mut Disks<H::Memory>,
        taken: &Taken,
        result: &io::Result<()>,
        copy_failed: bool,
    ) -> i16 {
        if let Err(error) = result {
            self.status.failed_requests += 1;
            // A grant that the guest has not given, rather than an error of the storage.
            if error.kind() == io::ErrorKind::InvalidInput && error.raw_os_error().is_none() {
                return BLKIF_RSP_ERROR;
            }
            if self.health.fails(&mut disks.warnings, cx.now) {
                let (path, domid) = (&self.image.path, cx.domid);
                tracing::warn!("disk {path} of domain {domid} fails: {error}");
            }
            return match error.raw_os_error() {
                Some(libc::EOPNOTSUPP) => BLKIF_RSP_EOPNOTSUPP,
                _ => BLKIF_RSP_ERROR,
            };
        }
        if copy_failed {
            self.status.failed_requests += 1;
            return BLKIF_RSP_ERROR;
        }
        if self.health.works() {
            tracing::info!("disk {} of domain {} works again", self.image.path, cx.domid);
        }
        let bytes = u64::from(taken.bytes);
        match taken.operation {
            BLKIF_OP_READ => {
                self.status.read_requests += 1;
                self.status.read_bytes += bytes;
            }
            BLKIF_OP_DISCARD => self.status.discard_requests += 1,
            BLKIF_OP_FLUSH_DISKCACHE => self.status.flush_requests += 1,
            _ => {
                self.status.write_requests += 1;
                self.status.written_bytes += bytes;
            }
        }
        BLKIF_RSP_OKAY
    }
}
