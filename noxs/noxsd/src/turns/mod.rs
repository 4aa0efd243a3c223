// SPDX-License-Identifier: GPL-3.0-or-later
//! Turns: who is served next, when, and at which rate. Independent of device kinds.
//!
//! Events and timers report work, and turns do it: each owner with work gets one batch at a time,
//! so that a guest that floods delays only itself. [`bucket`] limits rates, [`backoff`] delays
//! guests that cause turns for nothing, [`recent`] notices whether a guest is alone, [`id_table`]
//! maps domids and ports, [`log_limit`] limits lines of the log.

pub mod backoff;
pub mod bucket;
pub mod id_table;
pub mod log_limit;
pub mod recent;

use std::collections::{BTreeSet, VecDeque};
use std::time::Instant;

use slab::Slab;

/// Owners that the table has room for without being moved.
const CAPACITY: usize = 1 << 16;

/// Identifies an owner of turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TurnId(usize);

/// What an owner waits for after its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// Its next event.
    Event,
    /// Another turn.
    Turn,
    /// A turn at that time and not earlier; its port stays masked until then.
    Time(Instant),
    /// A turn at that time or at its next event, whichever comes first.
    TimeOrEvent(Instant),
}

/// What an owner did in its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Served {
    /// What it waits for.
    pub after: After,
    /// Whether there was something to do: data has passed, other than refused requests.
    pub progress: bool,
}

/// Whether events wake an owner that waits for a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// Events wake it.
    AtEvents,
    /// Only the time wakes it.
    AtTime,
}

/// All owners of turns: those that are ready, and those that wait for a time.
#[derive(Debug)]
pub struct Turns<T> {
    entries: Slab<Entry<T>>,
    ready: VecDeque<TurnId>,
    timers: BTreeSet<(Instant, TurnId)>,
}

#[derive(Debug)]
struct Entry<T> {
    /// `None` once it is removed. The entry then stays until it leaves the ready queue.
    owner: Option<T>,
    queued: bool,
    timer: Option<Instant>,
    wake: Wake,
}

impl<T> Default for Turns<T> {
    fn default() -> Self {
        Self {
            entries: Slab::with_capacity(CAPACITY),
            ready: VecDeque::new(),
            timers: BTreeSet::new(),
        }
    }
}

impl<T: Copy> Turns<T> {
    /// Adds an owner, which is neither ready nor waiting for a time.
    pub fn add(&mut self, owner: T) -> TurnId {
        let entry = Entry { owner: Some(owner), queued: false, timer: None, wake: Wake::AtEvents };
        TurnId(self.entries.insert(entry))
    }

    /// Removes an owner. It gets no further turn, not even one that it is queued for.
    pub fn remove(&mut self, id: TurnId) {
        self.stop_waiting(id);
        let Some(entry) = self.entries.get_mut(id.0) else { return };
        entry.owner = None;
        if !entry.queued {
            self.entries.remove(id.0);
        }
    }

    /// Returns an owner; `None` if it was removed.
    #[must_use]
    pub fn owner(&self, id: TurnId) -> Option<T> {
        self.entries.get(id.0)?.owner
    }

    /// Queues an owner for a turn, behind those that are already queued.
    pub fn queue(&mut self, id: TurnId) {
        if let Some(entry) = self.entries.get_mut(id.0)
            && !entry.queued
        {
            entry.queued = true;
            self.ready.push_back(id);
        }
    }

    /// Queues an owner because of an event, unless only a time wakes it.
    pub fn event(&mut self, id: TurnId) {
        if self.entries.get(id.0).is_some_and(|entry| entry.wake == Wake::AtEvents) {
            self.queue(id);
        }
    }

    /// Queues an owner because of an event, but not before `time`. Does nothing if it is queued
    /// already, or if only a time wakes it.
    pub fn event_at(&mut self, id: TurnId, time: Instant) {
        let Some(entry) = self.entries.get(id.0) else { return };
        if !entry.queued && entry.wake == Wake::AtEvents {
            let time = entry.timer.map_or(time, |timer| timer.min(time));
            self.wait_until(id, time, Wake::AtTime);
        }
    }

    /// Takes the next owner out of the ready queue, and cancels its timer. Skips removed owners and
    /// takes each of them off `left`, the number of entries that may still be taken in this turn,
    /// so that an owner that is queued again meanwhile waits for the next turn.
    pub fn take_next(&mut self, left: &mut usize) -> Option<(TurnId, T)> {
        while *left > 0 {
            let id = self.ready.pop_front()?;
            *left -= 1;
            let Some(entry) = self.entries.get_mut(id.0) else { continue };
            entry.queued = false;
            match entry.owner {
                Some(owner) => {
                    self.stop_waiting(id);
                    return Some((id, owner));
                }
                None => {
                    self.entries.remove(id.0);
                }
            }
        }
        None
    }

    /// Returns how many entries are queued, including owners that were removed while they were
    /// queued.
    #[must_use]
    pub fn ready(&self) -> usize {
        self.ready.len()
    }

    /// Sets an owner's timer, so that it is queued at that time.
    pub fn wait_until(&mut self, id: TurnId, time: Instant, wake: Wake) {
        self.stop_waiting(id);
        if let Some(entry) = self.entries.get_mut(id.0) {
            entry.timer = Some(time);
            entry.wake = wake;
            self.timers.insert((time, id));
        }
    }

    /// Queues the owners whose timers have expired.
    pub fn expire(&mut self, now: Instant) {
        while let Some((_, id)) = self.timers.first().copied().filter(|(time, _)| *time <= now) {
            self.stop_waiting(id);
            self.queue(id);
        }
    }

    /// Returns the time of the earliest timer.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.timers.first().map(|(deadline, _)| *deadline)
    }

    /// Returns how many owners have a timer.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.timers.len()
    }

    /// Returns how many owners there are.
    #[must_use]
    pub fn owners(&self) -> usize {
        self.entries.iter().filter(|(_, entry)| entry.owner.is_some()).count()
    }

    fn stop_waiting(&mut self, id: TurnId) {
        let Some(entry) = self.entries.get_mut(id.0) else { return };
        entry.wake = Wake::AtEvents;
        if let Some(time) = entry.timer.take() {
            self.timers.remove(&(time, id));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn drain(turns: &mut Turns<char>) -> String {
        let mut left = turns.ready();
        std::iter::from_fn(|| turns.take_next(&mut left)).map(|(_, owner)| owner).collect()
    }

    #[test]
    fn each_queued_owner_gets_one_turn_in_order() {
        let mut turns = Turns::default();
        let [a, b] = ['a', 'b'].map(|owner| turns.add(owner));
        for id in [b, a, b] {
            turns.queue(id);
        }
        assert_eq!(turns.ready(), 2);
        assert_eq!(drain(&mut turns), "ba");
        assert_eq!(turns.ready(), 0);
    }

    #[test]
    fn an_owner_that_is_queued_again_waits_for_the_next_turn_even_if_others_were_removed() {
        let mut turns = Turns::default();
        let [a, b, c] = ['a', 'b', 'c'].map(|owner| turns.add(owner));
        for id in [a, b, c] {
            turns.queue(id);
        }
        turns.remove(b);
        turns.remove(c);
        let mut left = turns.ready();
        assert_eq!(turns.take_next(&mut left), Some((a, 'a')));
        turns.queue(a);
        assert_eq!(turns.take_next(&mut left), None);
        assert_eq!(drain(&mut turns), "a");
    }

    #[test]
    fn an_event_does_not_wake_an_owner_that_waits_for_a_time_alone() {
        let mut turns = Turns::default();
        let [a, b] = ['a', 'b'].map(|owner| turns.add(owner));
        let now = Instant::now();
        let later = now + Duration::from_secs(1);
        turns.wait_until(a, later, Wake::AtTime);
        turns.wait_until(b, later, Wake::AtEvents);
        turns.event(a);
        turns.event(b);
        assert_eq!(drain(&mut turns), "b");
        assert_eq!(turns.waiting(), 1, "the turn has cancelled b's timer");
        turns.expire(now);
        assert_eq!(drain(&mut turns), "");
        assert_eq!(turns.deadline(), Some(later));
        turns.expire(later);
        turns.event(a);
        assert_eq!(drain(&mut turns), "a");
        assert_eq!(turns.deadline(), None);
    }

    #[test]
    fn neither_a_removed_owner_nor_its_successor_gets_its_turn() {
        let mut turns = Turns::default();
        let a = turns.add('a');
        turns.queue(a);
        turns.wait_until(a, Instant::now(), Wake::AtTime);
        turns.remove(a);
        assert_eq!((turns.owner(a), turns.waiting()), (None, 0));
        let b = turns.add('b');
        assert_ne!(a, b, "the number is still queued");
        assert_eq!(drain(&mut turns), "");
        assert_eq!(turns.add('c'), a, "the number is free again");
        turns.queue(b);
        assert_eq!(drain(&mut turns), "b");
    }
}
