// SPDX-License-Identifier: GPL-3.0-or-later
//! What the disks on one storage may take of what all disks share.
//!
//! Storage that does not answer keeps the pages and the operations of the requests that were sent to
//! it. So the disks on one file system, or on one block device, together have at most half of what
//! those on others leave. Disks that find none left wait in a queue, each until those before it are
//! served, except for those that wait for their own storage.

use std::collections::{HashMap, HashSet, VecDeque};

use super::MAX_PAGES;
use crate::host::file_io::MAX_OPERATIONS;
use crate::host::file_io::storage::Storage;
use crate::turns::TurnId;

/// Pages and operations that requests have, and disks that wait for some.
#[derive(Clone, Copy, Debug, Default)]
struct Used {
    pages: usize,
    operations: usize,
    waiting: usize,
}

/// A disk that waits.
#[derive(Debug)]
struct Waiting {
    turn: TurnId,
    storage: Storage,
    /// The pages that its next request needs.
    pages: usize,
}

/// The shares of all storages.
#[derive(Debug, Default)]
pub(super) struct Shares {
    all: Used,
    /// Only those that have something, or that disks wait for.
    storages: HashMap<Storage, Used>,
    queue: VecDeque<Waiting>,
    /// The disk of the queue that is next.
    first: Option<TurnId>,
}

impl Shares {
    /// Returns the part of `most` pages that one may have whose disks have `own` of those that are
    /// used: the more others have, the less.
    pub(super) fn scaled(&self, most: usize, own: usize) -> usize {
        most * (MAX_PAGES - self.all.pages.saturating_sub(own)) / MAX_PAGES
    }

    /// Takes an operation and pages for a request, if it is the turn's turn to get some. `waits` says
    /// whether the disk is in the queue, and is updated. Returns whether it has got them.
    pub(super) fn take(
        &mut self,
        turn: TurnId,
        storage: Storage,
        pages: usize,
        waits: &mut bool,
    ) -> bool {
        if *waits {
            // Its guest may have put another request in the place of the one before.
            self.ask(turn, pages);
        }
        let is_next = match (*waits, self.first) {
            (true, first) => first == Some(turn),
            (false, None) => self.of(storage).waiting == 0,
            (false, Some(_)) => false,
        };
        if !is_next || !self.has_room(storage, pages) {
            self.wait(Waiting { turn, storage, pages }, waits);
            return false;
        }
        for used in [&mut self.all, self.storages.entry(storage).or_default()] {
            used.pages += pages;
            used.operations += 1;
        }
        if std::mem::take(waits) {
            self.leave(turn);
        }
        true
    }

    /// Returns what a request had.
    pub(super) fn release(&mut self, storage: Storage, pages: usize) {
        self.change(storage, |used| {
            used.pages = used.pages.saturating_sub(pages);
            used.operations = used.operations.saturating_sub(1);
        });
        self.find_first();
    }

    /// Removes a disk from the queue.
    pub(super) fn leave(&mut self, turn: TurnId) {
        let Some(place) = self.queue.iter().position(|other| other.turn == turn) else { return };
        if let Some(left) = self.queue.remove(place) {
            self.change(left.storage, |used| used.waiting -= 1);
        }
        self.find_first();
    }

    /// Returns the disk that gets what is free next, if one waits that can have it.
    pub(super) fn first(&self) -> Option<TurnId> {
        self.first
    }

    fn wait(&mut self, own: Waiting, waits: &mut bool) {
        if std::mem::replace(waits, true) {
            return;
        }
        self.change(own.storage, |used| used.waiting += 1);
        self.queue.push_back(own);
        if self.first.is_none() {
            self.find_first();
        }
    }

    /// Notes how many pages a disk of the queue wants.
    fn ask(&mut self, turn: TurnId, pages: usize) {
        let place = self.queue.iter_mut().find(|other| other.turn == turn);
        if let Some(place) = place
            && place.pages != pages
        {
            place.pages = pages;
            self.find_first();
        }
    }

    /// Finds the first disk of the queue that does not wait for its own storage. One whose storage has
    /// nothing waits for others, and those behind it wait, too: otherwise small requests would always
    /// come before a large one.
    fn find_first(&mut self) {
        let mut full = HashSet::new();
        let first = self.queue.iter().find(|waiting| {
            let Waiting { storage, pages, .. } = **waiting;
            let can = !full.contains(&storage)
                && (self.has_room(storage, pages) || self.of(storage).operations == 0);
            if !can {
                full.insert(storage);
            }
            can
        });
        self.first = first.map(|waiting| waiting.turn);
    }

    /// Returns whether a storage may have another operation with so many pages.
    fn has_room(&self, storage: Storage, pages: usize) -> bool {
        let (all, own) = (self.all, self.of(storage));
        let half = |most: usize, all: usize, own: usize| (most - (all - own)) / 2;
        own.pages + pages <= half(MAX_PAGES, all.pages, own.pages)
            && own.operations < half(MAX_OPERATIONS as usize, all.operations, own.operations)
    }

    fn of(&self, storage: Storage) -> Used {
        self.storages.get(&storage).copied().unwrap_or_default()
    }

    fn change(&mut self, storage: Storage, change: impl Fn(&mut Used)) {
        change(&mut self.all);
        let used = self.storages.entry(storage).or_default();
        change(used);
        if used.operations == 0 && used.waiting == 0 {
            self.storages.remove(&storage);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::turns::Turns;

    const GOOD: Storage = Storage::BlockDevice(1);

    /// The shares, and disks of which each has as many requests on the way as it gets.
    struct Bed {
        shares: Shares,
        turns: Turns<()>,
    }

    impl Bed {
        fn new() -> Self {
            Self { shares: Shares::default(), turns: Turns::default() }
        }

        /// Adds a disk that takes all it gets, by requests of so many pages. Returns how many it got.
        fn greedy(&mut self, storage: Storage, pages: usize) -> usize {
            let (turn, mut waits) = (self.turns.add(()), false);
            (0..).take_while(|_| self.shares.take(turn, storage, pages, &mut waits)).count()
        }

        fn asks(&mut self, turn: TurnId, storage: Storage, pages: usize, waits: &mut bool) -> bool {
            self.shares.take(turn, storage, pages, waits)
        }
    }

    #[test]
    fn storage_that_does_not_answer_leaves_half_to_the_others() {
        for pages in [64, 1, 0] {
            let mut bed = Bed::new();
            // Four file systems that do not answer, each with many disks.
            for number in 0..4 {
                let got: usize =
                    (0..100).map(|_| bed.greedy(Storage::FileSystem(number), pages)).sum();
                assert!(got > 0, "file system {number}");
            }
            let (turn, mut waits) = (bed.turns.add(()), false);
            for _ in 0..1000 {
                assert!(bed.asks(turn, GOOD, 64, &mut waits), "behind requests of {pages} pages");
                bed.shares.release(GOOD, 64);
            }
        }
    }

    #[test]
    fn a_large_request_waits_for_others_and_is_not_overtaken_for_ever() {
        let mut bed = Bed::new();
        // So many good storages with large requests that the next one does not get any.
        let mut busy = Vec::new();
        for number in 10.. {
            let storage = Storage::BlockDevice(number);
            let (turn, mut waits) = (bed.turns.add(()), false);
            if !bed.asks(turn, storage, 64, &mut waits) {
                bed.shares.leave(turn);
                break;
            }
            busy.push(storage);
        }
        let (large, small) = (bed.turns.add(()), bed.turns.add(()));
        let (mut large_waits, mut small_waits) = (false, false);
        assert!(!bed.asks(large, GOOD, 64, &mut large_waits));
        let other = Storage::BlockDevice(2);
        assert!(!bed.asks(small, other, 1, &mut small_waits), "it would overtake");
        assert_eq!(bed.shares.first(), Some(large));
        for storage in busy.iter().take(2) {
            bed.shares.release(*storage, 64);
        }
        assert!(bed.asks(large, GOOD, 64, &mut large_waits) && !large_waits);
        assert_eq!(bed.shares.first(), Some(small));
        assert!(bed.asks(small, other, 1, &mut small_waits) && !small_waits);
        assert_eq!(bed.shares.first(), None);
        bed.shares.release(GOOD, 64);
        bed.shares.release(other, 1);
        for storage in busy.iter().skip(2) {
            bed.shares.release(*storage, 64);
        }
        assert_eq!((bed.shares.all.pages, bed.shares.all.operations), (0, 0));
        assert!(bed.shares.storages.is_empty());
    }

    #[test]
    fn a_request_that_has_become_smaller_is_carried_out_at_once() {
        let mut bed = Bed::new();
        let (turn, mut waits) = (bed.turns.add(()), false);
        while bed.asks(turn, GOOD, 63, &mut waits) {}
        assert_eq!(bed.shares.first(), None, "it waits for its own storage");
        assert!(bed.asks(turn, GOOD, 1, &mut waits));
        assert!(!waits);
        assert_eq!(bed.shares.first(), None);
    }

    #[test]
    fn disks_of_one_storage_keep_their_order() {
        let mut bed = Bed::new();
        let full = Storage::FileSystem(1);
        let got = bed.greedy(full, 64);
        let (large, small) = (bed.turns.add(()), bed.turns.add(()));
        let (mut large_waits, mut small_waits) = (false, false);
        assert!(!bed.asks(large, full, 64, &mut large_waits));
        assert!(!bed.asks(small, full, 1, &mut small_waits));
        assert_eq!(bed.shares.first(), None, "all wait for their own storage");
        for _ in 0..got {
            bed.shares.release(full, 64);
        }
        // The greedy one is still the first.
        assert_ne!(bed.shares.first(), None);
        assert_ne!(bed.shares.first(), Some(large));
        let greedy = bed.shares.first().unwrap();
        bed.shares.leave(greedy);
        assert_eq!(bed.shares.first(), Some(large));
        assert!(!bed.asks(small, full, 1, &mut small_waits));
        assert!(bed.asks(large, full, 64, &mut large_waits));
        assert!(bed.asks(small, full, 1, &mut small_waits));
    }
}
