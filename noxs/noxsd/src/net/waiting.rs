// SPDX-License-Identifier: GPL-3.0-or-later
//! Frames that wait until their receiver posts pages, and how many may wait for how long.
//!
//! A burst is often longer than the number of posted pages, and dropping its end would make TCP
//! wait for a timeout. But a guest that posts no pages must not take the room of those that do:
//!
//! - One queue holds `FRAMES` at most, and those of a guest together never more than a sixteenth of
//!   what is free, so that room is left however many guests post nothing. Each of a guest's vifs has
//!   the same part of that, so that none takes another's room.
//! - The origins of a queue's frames, which are guests or the tap, take turns. A full queue drops
//!   the newest frame of the origin that has the most, so that no origin takes another's room.
//! - A guest that has [`MOST_OF_ONE`] frames or [`MOST_BYTES_OF_ONE`] in a queue while others send to the receiver as well
//!   may send again after [`HOLD`] only: otherwise it would keep dom0 and the receiver busy with
//!   frames that are dropped in the end. Its frames meanwhile stay in its own ring.
//! - All queues together hold [`ALL_BYTES`] at most, each frame with its [`OVERHEAD`].
//! - While the queues are more than half full, a queue whose guest has taken nothing for
//!   [`CROWDED_AGE`] is dropped, and nothing is kept for it.
//! - Nothing is kept for a guest that has taken nothing for [`AGE`].

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::BridgeId;
use super::offload::Offload;
use super::switch::BridgePortId;
use crate::host::DomId;
use crate::turns::recent::Recent;

/// Frames that may wait for one guest.
const FRAMES: usize = 512;

/// Bytes that may wait for all guests together, with the overhead of each frame.
pub const ALL_BYTES: usize = 32 * 1024 * 1024;

/// Bytes that a waiting frame takes beside its contents: its place in the queue, which may have
/// twice the places that it uses, and what the allocator adds.
pub const OVERHEAD: usize = 96;

/// Part of the free bytes that the queues of one guest may take.
const SHARE: usize = 16;

/// Time without a posted page after which frames are dropped if the queues are over half full.
pub const CROWDED_AGE: Duration = Duration::from_secs(1);

/// Time without a posted page after which nothing is kept for a guest.
pub const AGE: Duration = Duration::from_secs(10);

/// Waiting frames of one guest from which on it must not send more for a while, if its receiver has
/// frames of others, too.
pub const MOST_OF_ONE: usize = 32;

/// The same in bytes, with the overhead of each frame: for frames of many pages.
pub const MOST_BYTES_OF_ONE: usize = 128 * 1024;

/// How long it then must not send.
pub const HOLD: Duration = Duration::from_millis(1);

/// Queues that are checked in one turn.
const CHECKS: usize = 64;

/// The frames that wait for a vif of a guest.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// Number of the guest's other vifs.
    others: usize,
    /// In the order of their turns. None is empty.
    parts: VecDeque<Part>,
    frames: usize,
    bytes: usize,
    /// Where the last frames came from, also those that did not have to wait.
    recent: Recent<Origin>,
    /// Since when the guest has had no page for a frame: the time of the first such frame.
    since: Option<Instant>,
    /// Whether the queue is among those to check.
    listed: bool,
}

/// Where a frame comes from, for the limits on what waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// A guest, with all its vifs together.
    Domain(DomId),
    /// The tap.
    Tap,
}

/// The waiting frames of one origin.
#[derive(Debug)]
struct Part {
    from: Origin,
    frames: VecDeque<WaitingFrame>,
    /// Bytes of the frames, with their overhead.
    bytes: usize,
}

/// A frame that waits.
#[derive(Debug)]
pub(super) struct WaitingFrame {
    pub(super) bytes: Box<[u8]>,
    /// What is left to do to it.
    pub(super) offload: Offload,
}

impl WaitingFrame {
    fn size(&self) -> usize {
        self.bytes.len() + OVERHEAD
    }
}

/// Why a queue takes no other frame.
#[derive(Clone, Copy, Debug)]
enum Full {
    /// It has as many frames as it may have.
    Frames,
    /// It takes as much memory as it may take.
    Bytes,
}

/// What has become of a frame that was to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    /// Whether it waits.
    pub(super) waits: bool,
    /// Whether its sender must not send for a while.
    pub(super) hold: bool,
    /// Frames that were dropped: this one, or others.
    pub(super) dropped: usize,
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

    /// Returns the bytes that one queue of a guest with so many vifs may hold now.
    fn share(&self, vifs: usize) -> usize {
        ALL_BYTES.saturating_sub(self.bytes) / (SHARE * vifs)
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
    /// Sets the number of vifs that share what may wait for the guest.
    pub(super) fn share(&mut self, vifs: usize) {
        self.others = vifs.saturating_sub(1);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.frames == 0
    }

    /// Records that the guest has posted a page.
    pub(super) fn progress(&mut self) {
        self.since = None;
    }

    /// Records that a frame from `from` is for the guest.
    pub(super) fn note(&mut self, from: Origin, now: Instant) {
        self.recent.serve(from, now);
    }

    /// Appends a frame that comes from `from`, or drops frames: all that wait if they are too old,
    /// and otherwise those of the origin that has the most.
    pub(super) fn keep(
        &mut self,
        frame: WaitingFrame,
        from: Origin,
        store: &mut Store,
        (bridge, port): (BridgeId, BridgePortId),
        now: Instant,
    ) -> Kept {
        let since = *self.since.get_or_insert(now);
        let age = now.saturating_duration_since(since);
        if age >= AGE || (age >= CROWDED_AGE && store.is_crowded()) {
            let dropped = 1 + self.clear(store);
            return Kept { waits: false, hold: false, dropped };
        }
        let shared = self.recent.is_shared(now);
        let size = frame.size();
        let mut dropped = 0;
        while let Some(full) = self.full(size, store) {
            dropped += 1;
            if !self.drop_newest_of_most(from, full, store) {
                return Kept { waits: false, hold: shared, dropped };
            }
        }
        let (count, bytes) = match self.parts.iter_mut().find(|part| part.from == from) {
            Some(part) => {
                part.frames.push_back(frame);
                part.bytes += size;
                (part.frames.len(), part.bytes)
            }
            None => {
                self.parts.push_back(Part { from, frames: [frame].into(), bytes: size });
                (1, size)
            }
        };
        let has_many = count >= MOST_OF_ONE || bytes >= MOST_BYTES_OF_ONE;
        self.frames += 1;
        self.bytes += size;
        store.bytes += size;
        if !self.listed {
            self.listed = true;
            store.checks.push_back(Check { at: now + CROWDED_AGE, bridge, port });
        }
        Kept { waits: true, hold: shared && has_many, dropped }
    }

    /// Returns why there is no room for a frame of that size.
    fn full(&self, size: usize, store: &Store) -> Option<Full> {
        if self.frames >= FRAMES {
            return Some(Full::Frames);
        }
        (self.bytes + size > store.share(self.others + 1)).then_some(Full::Bytes)
    }

    /// Drops the newest frame of the origin that has the most of what the queue is full of. Returns
    /// `false` if that is `from`, whose new frame is to be dropped instead.
    fn drop_newest_of_most(&mut self, from: Origin, full: Full, store: &mut Store) -> bool {
        let amount = |part: &Part| match full {
            Full::Frames => part.frames.len(),
            Full::Bytes => part.bytes,
        };
        let own = self.parts.iter().find(|part| part.from == from).map_or(0, amount);
        // One frame of each origin stays, so that no part is left empty.
        let parts = self.parts.iter_mut().filter(|one| one.frames.len() > 1 && amount(one) > own);
        let Some(most) = parts.max_by_key(|one| amount(one)) else { return false };
        let Some(frame) = most.frames.pop_back() else { return false };
        most.bytes -= frame.size();
        self.forget(&frame, store);
        true
    }

    /// Returns the frame that [`pop`](Self::pop) removes next.
    pub(super) fn front(&self) -> Option<&WaitingFrame> {
        self.parts.front()?.frames.front()
    }

    /// Removes and returns the next frame, for which the guest has posted pages: the oldest one of
    /// the origin whose turn it is.
    pub(super) fn pop(&mut self, store: &mut Store) -> Option<WaitingFrame> {
        let part = self.parts.front_mut()?;
        let frame = part.frames.pop_front()?;
        part.bytes -= frame.size();
        if part.frames.is_empty() {
            self.parts.pop_front();
        } else if self.parts.len() > 1 {
            self.parts.rotate_left(1);
        }
        self.forget(&frame, store);
        if self.frames == 0 {
            // Free the memory: most guests have such a burst rarely.
            self.parts = VecDeque::new();
        }
        Some(frame)
    }

    /// Takes a removed frame off the counts.
    fn forget(&mut self, frame: &WaitingFrame, store: &mut Store) {
        self.frames -= 1;
        self.bytes -= frame.size();
        store.bytes -= frame.size();
    }

    /// Starts the age of what still waits anew, because the guest has taken frames.
    pub(super) fn taken(&mut self, now: Instant) {
        self.since = (self.frames > 0).then_some(now);
    }

    /// Drops all frames if they are too old. Returns how many were dropped.
    pub(super) fn check(&mut self, check: Check, store: &mut Store, now: Instant) -> usize {
        let age = self.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        let crowded = age >= CROWDED_AGE && store.is_crowded();
        let dropped = if age >= AGE || crowded { self.clear(store) } else { 0 };
        self.listed = self.frames > 0;
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
        self.parts = VecDeque::new();
        std::mem::take(&mut self.frames)
    }
}
