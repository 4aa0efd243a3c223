// SPDX-License-Identifier: GPL-3.0-or-later
//! A guest's disk: attached first, and served once the file behind it is known.

mod answer;
mod take;

use std::collections::VecDeque;
use std::sync::Arc;

use noxs::layout::vbd_ring;
use noxs_control::{VbdDevice, VbdStatus};
use xen_ring::{BackRing, Block, BrokenRing, SharedPage};

use super::health::Health;
use super::image::Image;
use super::pages::DiskPages;
use super::request::MAX_INDIRECT_SEGMENTS;
use super::{DOMAIN_PAGES, Disks};
use crate::host::cx::Cx;
use crate::host::{CopyOp, GrantRef, Host, PAGE_SIZE, RemotePort};
use crate::turns::{After, Served, TurnId};

/// What costs a guest its disk.
#[derive(Debug, thiserror::Error)]
pub enum VbdFault {
    /// It wrote an index that a correct front end cannot write.
    #[error(transparent)]
    Ring(#[from] BrokenRing),
    /// A restarted noxsd cannot use the file behind the disk.
    #[error(
        "{0}; detach the disk with chaos block-detach and attach one again, or destroy the guest"
    )]
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

    /// Makes copies from and to the guest's pages, all at once. Returns for each whether it has failed.
    fn copy<H: Host>(
        &mut self,
        cx: &mut Cx<'_, H>,
        disks: &mut Disks<H::Memory>,
        ops: Vec<CopyOp<'_>>,
    ) -> Vec<bool> {
        if ops.is_empty() {
            return Vec::new();
        }
        let Disks { mapped, room, .. } = disks;
        let number = *self.mapped.get_or_insert_with(|| mapped.insert(DiskPages::new(room)));
        // The guest may change its mind at any time, which harms only itself.
        let persistent = cx.memory.load(self.persistent) == 1;
        mapped[number].copy(cx, persistent, ops)
    }
}
