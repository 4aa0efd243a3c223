// SPDX-License-Identifier: GPL-3.0-or-later
//! Which shells are ready, and how many more to prepare.
//!
//! This module does not depend on Xen: a shell is any type `S`.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use chaos::domain::Flavour;
use xen::units::KiB;

/// The properties in which a shell must equal a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ShellFit {
    /// What the shell was prepared for.
    pub flavour: Flavour,
    /// The bridge of each vif.
    pub bridges: Vec<String>,
}

/// How many shells of a flavour are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolMarks {
    /// The pool is refilled when there are fewer.
    pub low: u32,
    /// It is refilled up to this many.
    pub high: u32,
}

/// For whom a shell is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taker {
    /// Root: gets any shell.
    Root,
    /// Another user: gets none of the last [`PoolMarks::low`] shells. Otherwise a user whose guests
    /// end at once, or whose creates are refused at their end, would keep the pool empty.
    Member,
}

/// Identifies a shelf. No other shelf ever has the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShelfId(u64);

/// A flavour's part of the pool.
#[derive(Debug)]
pub struct Shelf<S> {
    id: ShelfId,
    /// Its name.
    pub name: String,
    /// The requests that its shells are for.
    pub fit: ShellFit,
    /// How many are kept.
    pub marks: PoolMarks,
    /// Shells that are ready.
    ready: VecDeque<S>,
    /// Number of shells that are being prepared.
    preparing: u32,
    /// Whether the number fell below the low mark and has not reached the high mark yet.
    filling: bool,
    /// Number of requests that found a shell.
    pub hits: u64,
    /// Number of requests that fitted and found none.
    pub misses: u64,
    /// How long it took to prepare the last shell, in nanoseconds.
    pub refill_ns: u64,
}

/// All shelves, and how much memory their shells may hold.
#[derive(Debug)]
pub struct Pool<S> {
    memory: KiB,
    shelves: Vec<Shelf<S>>,
}

impl<S> Shelf<S> {
    /// Returns an empty shelf.
    #[must_use]
    pub fn new(name: String, fit: ShellFit, marks: PoolMarks) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let filling = marks.low > 0;
        let ready = VecDeque::new();
        let id = ShelfId(NEXT.fetch_add(1, Ordering::Relaxed));
        let (preparing, hits, misses, refill_ns) = (0, 0, 0, 0);
        Self { id, name, fit, marks, ready, preparing, filling, hits, misses, refill_ns }
    }

    /// Returns its identity.
    #[must_use]
    pub fn id(&self) -> ShelfId {
        self.id
    }

    /// Returns how many shells are ready.
    ///
    /// # Panics
    /// Never: [`Pool::put`] and [`Pool::resize`] keep at most `marks.high`.
    #[must_use]
    pub fn ready(&self) -> u32 {
        u32::try_from(self.ready.len())
            .expect("at most `marks.high` shells are ready, which is a u32")
    }

    /// Returns how many shells are being prepared.
    #[must_use]
    pub fn preparing(&self) -> u32 {
        self.preparing
    }

    fn all(&self) -> u32 {
        self.ready().saturating_add(self.preparing)
    }

    /// Starts or stops refilling, as the marks say.
    fn compare_with_marks(&mut self) {
        match self.all() {
            all if all < self.marks.low => self.filling = true,
            all if all >= self.marks.high => self.filling = false,
            _ => {}
        }
    }

    /// Returns the memory of the shells in KiB.
    fn held(&self) -> u64 {
        u64::from(self.all()).saturating_mul(self.fit.flavour.memory.0)
    }
}

impl<S> Pool<S> {
    /// Returns a pool whose shells together hold at most `memory`.
    #[must_use]
    pub fn new(memory: KiB, shelves: Vec<Shelf<S>>) -> Self {
        Self { memory, shelves }
    }

    /// Returns the shelves.
    #[must_use]
    pub fn shelves(&self) -> &[Shelf<S>] {
        &self.shelves
    }

    /// Adds a shelf after the others.
    pub fn add(&mut self, shelf: Shelf<S>) {
        self.shelves.push(shelf);
    }

    /// Removes a shelf and returns its shells. One that is being prepared for it has no place then.
    pub fn remove(&mut self, index: usize) -> Vec<S> {
        self.shelves.remove(index).ready.into()
    }

    /// Returns the number of a shelf, if it is there.
    #[must_use]
    pub fn position(&self, id: ShelfId) -> Option<usize> {
        self.shelves.iter().position(|shelf| shelf.id == id)
    }

    /// Returns the memory of all shells, including those that are being prepared.
    #[must_use]
    pub fn held(&self) -> KiB {
        KiB(self.shelves.iter().map(Shelf::held).sum())
    }

    /// Takes the oldest shell of the first shelf that fits, for whose number `suits` returns `true`,
    /// and which has shells for `taker`. A shelf that has none for a member is refilled.
    pub fn take(
        &mut self,
        fit: &ShellFit,
        taker: Taker,
        suits: impl Fn(usize) -> bool,
    ) -> Option<S> {
        let fitting = self.shelves.iter_mut().enumerate();
        let fitting = fitting.filter(|(index, shelf)| shelf.fit == *fit && suits(*index));
        for (_, shelf) in fitting {
            if taker == Taker::Member && shelf.ready() <= shelf.marks.low {
                shelf.filling = shelf.marks.low > 0;
                shelf.compare_with_marks();
            } else if let Some(shell) = shelf.ready.pop_front() {
                shelf.hits += 1;
                shelf.compare_with_marks();
                return Some(shell);
            }
        }
        None
    }

    /// Counts a request that found no shell, for the first shelf that fits and `suits`.
    pub fn miss(&mut self, fit: &ShellFit, suits: impl Fn(usize) -> bool) {
        let mut fitting = self.shelves.iter_mut().enumerate();
        if let Some((_, shelf)) = fitting.find(|(index, shelf)| shelf.fit == *fit && suits(*index))
        {
            shelf.misses += 1;
        }
    }

    /// Orders a shell: returns the number of the shelf that is furthest below its high mark, if one
    /// needs a shell and there is memory for it. The shell counts as being prepared from now on.
    pub fn order(&mut self) -> Option<usize> {
        let free = self.memory.0.saturating_sub(self.held().0);
        let (index, shelf) = self
            .shelves
            .iter_mut()
            .enumerate()
            .filter(|(_, shelf)| {
                shelf.filling
                    && shelf.all() < shelf.marks.high
                    && shelf.fit.flavour.memory.0 <= free
            })
            .max_by_key(|(_, shelf)| shelf.marks.high - shelf.all())?;
        shelf.preparing += 1;
        Some(index)
    }

    /// Puts an ordered shell on its shelf. Returns it if the shelf is full or was removed.
    pub fn put(&mut self, id: ShelfId, shell: S, took_ns: u64) -> Option<S> {
        let Some(index) = self.position(id) else { return Some(shell) };
        let shelf = &mut self.shelves[index];
        shelf.preparing = shelf.preparing.saturating_sub(1);
        shelf.refill_ns = took_ns;
        if shelf.ready() >= shelf.marks.high {
            return Some(shell);
        }
        shelf.ready.push_back(shell);
        shelf.compare_with_marks();
        None
    }

    /// Notes that an ordered shell could not be prepared.
    pub fn failed(&mut self, id: ShelfId) {
        let Some(index) = self.position(id) else { return };
        let shelf = &mut self.shelves[index];
        shelf.preparing = shelf.preparing.saturating_sub(1);
    }

    /// Changes the marks of a shelf and returns the surplus shells.
    pub fn resize(&mut self, index: usize, marks: PoolMarks) -> Vec<S> {
        let shelf = &mut self.shelves[index];
        shelf.marks = marks;
        shelf.compare_with_marks();
        let surplus = shelf.ready().saturating_sub(marks.high);
        shelf.ready.drain(..surplus as usize).collect()
    }

    /// Removes and returns all shells. The marks stay, so the pool is refilled.
    pub fn take_all(&mut self) -> Vec<S> {
        let mut all = Vec::new();
        for shelf in &mut self.shelves {
            all.extend(shelf.ready.drain(..));
            shelf.compare_with_marks();
        }
        all
    }

    /// Removes and returns all shells, and sets all marks to 0.
    pub fn drain(&mut self) -> Vec<S> {
        let mut all = Vec::new();
        for shelf in &mut self.shelves {
            shelf.marks = PoolMarks::default();
            shelf.filling = false;
            all.extend(shelf.ready.drain(..));
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use chaos::config::{Limits, Store};
    use proptest::prelude::*;

    use super::*;

    fn fit(memory: u64) -> ShellFit {
        let store = Store::Noxs;
        let flavour = Flavour {
            memory: KiB(memory),
            vcpus: 1,
            console: true,
            vifs: 1,
            disks: 0,
            limits: Limits::default(),
            store,
        };
        ShellFit { flavour, bridges: vec!["xenbr0".into()] }
    }

    fn pool(memory: u64, marks: &[(u64, u32, u32)]) -> Pool<u32> {
        let shelf = |(number, (memory, low, high)): (usize, &(u64, u32, u32))| {
            Shelf::new(number.to_string(), fit(*memory), PoolMarks { low: *low, high: *high })
        };
        Pool::new(KiB(memory), marks.iter().enumerate().map(shelf).collect())
    }

    fn fill(pool: &mut Pool<u32>) -> u32 {
        let mut count = 0;
        while let Some(index) = pool.order() {
            let id = pool.shelves()[index].id();
            assert_eq!(pool.put(id, count, 1), None);
            count += 1;
        }
        count
    }

    #[test]
    fn the_pool_is_filled_to_the_high_mark_and_again_when_below_the_low_mark() {
        let mut pool = pool(1 << 20, &[(8192, 2, 4)]);
        assert_eq!(fill(&mut pool), 4);
        for expected in [0, 1] {
            assert_eq!(pool.take(&fit(8192), Taker::Root, |_| true), Some(expected));
            assert_eq!(pool.order(), None, "there are enough");
        }
        assert_eq!(pool.take(&fit(8192), Taker::Root, |_| true), Some(2));
        assert_eq!(fill(&mut pool), 3);
        assert_eq!(pool.shelves()[0].hits, 3);
    }

    #[test]
    fn a_request_gets_a_shell_that_fits_and_suits_or_none() {
        let mut pool = pool(1 << 20, &[(8192, 1, 1), (8192, 1, 1)]);
        fill(&mut pool);
        assert_eq!(pool.take(&fit(4096), Taker::Root, |_| true), None);
        assert_eq!(pool.take(&fit(8192), Taker::Root, |_| false), None);
        assert!(pool.take(&fit(8192), Taker::Root, |index| index == 1).is_some());
        assert_eq!(pool.take(&fit(8192), Taker::Root, |index| index == 1), None);
        pool.miss(&fit(8192), |index| index == 1);
        pool.miss(&fit(4096), |_| true);
        assert_eq!((pool.shelves()[0].misses, pool.shelves()[1].misses), (0, 1));
    }

    #[test]
    fn members_leave_the_last_shells_to_root_and_cause_a_refill() {
        let mut pool = pool(1 << 20, &[(8192, 2, 3)]);
        fill(&mut pool);
        assert!(pool.take(&fit(8192), Taker::Member, |_| true).is_some());
        assert_eq!(pool.order(), None, "there are enough");
        assert_eq!(pool.take(&fit(8192), Taker::Member, |_| true), None);
        assert_eq!(fill(&mut pool), 1);
        assert!(pool.take(&fit(8192), Taker::Member, |_| true).is_some());
        for _ in 0..2 {
            assert!(pool.take(&fit(8192), Taker::Root, |_| true).is_some());
        }
        // A flavour that keeps no shells is not filled because a member asks.
        pool.resize(0, PoolMarks { low: 0, high: 3 });
        fill(&mut pool);
        while pool.take(&fit(8192), Taker::Root, |_| true).is_some() {}
        assert_eq!(pool.take(&fit(8192), Taker::Member, |_| true), None);
        assert_eq!(pool.order(), None);
    }

    #[test]
    fn a_shell_that_failed_is_ordered_again() {
        let mut pool = pool(1 << 20, &[(8192, 1, 1)]);
        assert_eq!(pool.order(), Some(0));
        assert_eq!(pool.order(), None);
        pool.failed(pool.shelves()[0].id());
        assert_eq!(pool.order(), Some(0));
    }

    #[test]
    fn a_shell_for_a_shelf_that_was_removed_has_no_place() {
        let mut pool = pool(1 << 20, &[(8192, 1, 1), (4096, 1, 1)]);
        let ids: Vec<_> = pool.shelves().iter().map(Shelf::id).collect();
        assert_eq!((pool.order(), pool.order()), (Some(1), Some(0)));
        assert_eq!(pool.put(ids[1], 7, 1), None);
        assert_eq!(pool.remove(1), [7]);
        assert_eq!(pool.put(ids[1], 8, 1), Some(8));
        pool.failed(ids[1]);
        pool.add(Shelf::new("new".to_owned(), fit(4096), PoolMarks { low: 1, high: 1 }));
        assert_eq!(pool.position(ids[1]), None);
        assert_eq!(pool.put(ids[0], 9, 1), None);
        assert_eq!((fill(&mut pool), pool.held()), (1, KiB(8192 + 4096)));
    }

    #[test]
    fn a_pool_whose_shells_were_given_up_is_refilled() {
        let mut pool = pool(1 << 20, &[(8192, 1, 2), (4096, 0, 1)]);
        assert_eq!(fill(&mut pool), 2);
        assert_eq!(pool.take_all(), [0, 1]);
        assert_eq!((pool.held(), fill(&mut pool)), (KiB(0), 2));
    }

    #[test]
    fn a_drained_pool_stays_empty_until_it_is_resized() {
        let mut pool = pool(1 << 20, &[(8192, 1, 2), (4096, 1, 1)]);
        assert_eq!(fill(&mut pool), 3);
        pool.take(&fit(4096), Taker::Root, |_| true);
        let late = pool.order().unwrap();
        let late = pool.shelves()[late].id();
        assert_eq!(pool.drain().len(), 2);
        assert_eq!(pool.put(late, 9, 1), Some(9), "the shelf is full");
        assert_eq!(pool.order(), None);
        assert_eq!(pool.resize(0, PoolMarks { low: 1, high: 1 }), [0u32; 0]);
        assert_eq!(fill(&mut pool), 1);
        assert_eq!(pool.resize(0, PoolMarks::default()).len(), 1);
    }

    proptest! {
        #[test]
        fn neither_the_memory_nor_a_mark_is_ever_exceeded(
            memory in 0u64..60_000,
            marks in proptest::collection::vec((1u64..10_000, 0u32..5, 0u32..5), 1..4),
            steps in proptest::collection::vec((0u8..6, 0usize..4, 0u32..6), 0..200),
        ) {
            let marks: Vec<_> = marks.into_iter().map(|(m, low, more)| (m, low, low + more)).collect();
            let mut pool = pool(memory, &marks);
            let mut ordered = Vec::new();
            let mut next = 0;
            for (action, which, number) in steps {
                let which = which % marks.len();
                match action {
                    0 | 1 => if let Some(index) = pool.order() {
                        ordered.push(pool.shelves()[index].id());
                    },
                    2 => if let Some(id) = ordered.pop() {
                        pool.put(id, next, 1);
                        next += 1;
                    },
                    3 => if let Some(id) = ordered.pop() {
                        pool.failed(id);
                    },
                    4 => {
                        let taker = if number % 2 == 0 { Taker::Root } else { Taker::Member };
                        let before = pool.shelves()[which].ready();
                        let taken = pool.take(&fit(marks[which].0), taker, |index| index == which);
                        let low = pool.shelves()[which].marks.low;
                        prop_assert_eq!(
                            taken.is_some(),
                            before > if taker == Taker::Root { 0 } else { low }
                        );
                    }
                    _ => {
                        let marks = PoolMarks { low: number / 2, high: number };
                        pool.resize(which, marks);
                    }
                }
                prop_assert!(pool.held().0 <= memory);
                let preparing: u32 = pool.shelves().iter().map(Shelf::preparing).sum();
                prop_assert_eq!(preparing as usize, ordered.len());
                for shelf in pool.shelves() {
                    prop_assert!(shelf.ready() <= shelf.marks.high);
                }
            }
        }
    }
}
