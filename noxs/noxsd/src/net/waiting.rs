// SPDX-License-Identifier: GPL-3.0-or-later
//! Frames that wait until their receiver posts pages, and how many may wait for how long.
//!
//! A burst is often longer than the number of posted pages, and dropping its end would make TCP
//! wait for a timeout. But a guest that posts no pages must not take the room of those that do:
//!
//! - One queue holds `FRAMES` at most, and never more than a sixteenth of what is free, so that
//!   room is left however many guests post nothing.
//! - All queues together hold [`ALL_BYTES`] at most, each frame with its [`OVERHEAD`].
//! - While the queues are more than half full, a queue whose guest has taken nothing for
//!   [`CROWDED_AGE`] is dropped, and nothing is kept for it.
//! - Nothing is kept for a guest that has taken nothing for [`AGE`].

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::BridgeId;
use super::switch::BridgePortId;

/// Frames that may wait for one guest.
const FRAMES: usize = 512;

/// Bytes that may wait for all guests together, with the overhead of each frame.
pub const ALL_BYTES: usize = 32 * 1024 * 1024;

/// Bytes that a waiting frame takes beside its contents: its place in the queue, which may have
/// twice the places that it uses, and what the allocator adds.
pub const OVERHEAD: usize = 64;

/// Part of the free bytes that one queue may take.
const SHARE: usize = 16;

/// Time without a posted page after which frames are dropped if the queues are over half full.
pub const CROWDED_AGE: Duration = Duration::from_secs(1);

/// Time without a posted page after which nothing is kept for a guest.
pub const AGE: Duration = Duration::from_secs(10);

/// Queues that are checked in one turn.
const CHECKS: usize = 64;

/// The frames that wait for one guest.
#[derive(Debug, Default)]
pub(super) struct Queue {
    frames: VecDeque<Box<[u8]>>,
    bytes: usize,
    /// Since when the guest has had no page for a frame: the time of the first such frame.
    since: Option<Instant>,
    /// Whether the queue is among those to check.
    listed: bool,
}

/// A queue to check for its age.
#[derive(Clone, Copy, Debug)]
pub(super) struct Check {
    at: Instant,
    pub(super) bridge: BridgeId,
    pub(super) port: BridgePortId,
}

/// What all queues share.
#[derive(Debug, Default)]
pub(super) struct Store {
    bytes: usize,
    /// The queues that hold frames, by the time at which to check them.
    checks: VecDeque<Check>,
}

impl Store {
    /// Returns the bytes that all queues hold.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    fn is_crowded(&self) -> bool {
        self.bytes > ALL_BYTES / 2
    }

    /// Returns the time of the next check; `None` if no frame waits.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.checks.front().map(|check| check.at)
    }

    /// Removes and returns the queues to check now, a constant number at most.
    pub(super) fn due(&mut self, now: Instant) -> impl Iterator<Item = Check> + use<> {
        let most = self.checks.len().min(CHECKS);
        let count = self.checks.iter().take(most).take_while(|check| check.at <= now).count();
        let due: Vec<Check> = self.checks.drain(..count).collect();
        if self.checks.is_empty() {
            self.checks = VecDeque::new();
        }
        due.into_iter()
    }
}

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Records that the guest has posted a page.
    pub(super) fn progress(&mut self) {
        self.since = None;
    }

    /// Appends a frame.
    ///
    /// # Errors
    /// The frame is dropped, and all that wait if they are too old: returns how many were dropped.
    pub(super) fn keep(
        &mut self,
        frame: &[u8],
        store: &mut Store,
        (bridge, port): (BridgeId, BridgePortId),
        now: Instant,
    ) -> Result<(), usize> {
        let since = *self.since.get_or_insert(now);
        let age = now.saturating_duration_since(since);
        if age >= AGE || (age >= CROWDED_AGE && store.is_crowded()) {
            return Err(1 + self.clear(store));
        }
        let size = frame.len() + OVERHEAD;
        let free = ALL_BYTES.saturating_sub(store.bytes);
        if self.frames.len() >= FRAMES || self.bytes + size > free / SHARE {
            return Err(1);
        }
        self.frames.push_back(frame.into());
        self.bytes += size;
        store.bytes += size;
        if !self.listed {
            self.listed = true;
            store.checks.push_back(Check { at: now + CROWDED_AGE, bridge, port });
        }
        Ok(())
    }

    /// Removes and returns the oldest frame, for which the guest has posted a page.
    pub(super) fn pop(&mut self, store: &mut Store) -> Option<Box<[u8]>> {
        let frame = self.frames.pop_front()?;
        let size = frame.len() + OVERHEAD;
        self.bytes -= size;
        store.bytes -= size;
        if self.frames.is_empty() {
            // Free the memory: most guests have such a burst rarely.
            self.frames = VecDeque::new();
        }
        Some(frame)
    }

    /// Starts the age of what still waits anew, because the guest has taken frames.
    pub(super) fn taken(&mut self, now: Instant) {
        self.since = (!self.frames.is_empty()).then_some(now);
    }

    /// Drops all frames if they are too old. Returns how many were dropped.
    pub(super) fn check(&mut self, check: Check, store: &mut Store, now: Instant) -> usize {
        let age = self.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        let crowded = age >= CROWDED_AGE && store.is_crowded();
        let dropped = if age >= AGE || crowded { self.clear(store) } else { 0 };
        self.listed = !self.frames.is_empty();
        if self.listed {
            store.checks.push_back(Check { at: now + CROWDED_AGE, ..check });
        }
        dropped
    }

    /// Drops all frames, and the check of the queue: another port may get the number of its port.
    pub(super) fn release(&mut self, store: &mut Store, own: (BridgeId, BridgePortId)) {
        self.clear(store);
        if std::mem::take(&mut self.listed) {
            store.checks.retain(|check| (check.bridge, check.port) != own);
        }
    }

    /// Drops all frames. Returns how many there were.
    fn clear(&mut self, store: &mut Store) -> usize {
        store.bytes -= self.bytes;
        self.bytes = 0;
        std::mem::take(&mut self.frames).len()
    }
}
