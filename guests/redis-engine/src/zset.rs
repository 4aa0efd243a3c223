// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sorted sets, whose members are found by name and are ordered by score and name.

use alloc::collections::BTreeSet;
use alloc::rc::Rc;
use core::cmp::Ordering;
use core::ops::Bound::{Excluded, Unbounded};

use foldhash::fast::FixedState;

use crate::error::Refused;
use crate::keyed::Keyed;
use crate::memory::Memory;

/// A score with its member. The order is that of Redis: by score, then by the member's bytes.
#[derive(Clone, Debug)]
struct Ranked {
    score: f64,
    member: Rc<[u8]>,
}

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> Ordering {
        // Scores are never NaN, and -0 equals 0.
        let scores = self.score.partial_cmp(&other.score).unwrap_or(Ordering::Equal);
        scores.then_with(|| self.member.cmp(&other.member))
    }
}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Ranked {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Ranked {}

/// A bound of a range of scores.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bound {
    pub(crate) score: f64,
    pub(crate) exclusive: bool,
}

impl Bound {
    /// Returns whether a score is inside this lower bound.
    pub(crate) fn admits_above(self, score: f64) -> bool {
        if self.exclusive { score > self.score } else { score >= self.score }
    }

    /// Returns whether a score is inside this upper bound.
    pub(crate) fn admits_below(self, score: f64) -> bool {
        if self.exclusive { score < self.score } else { score <= self.score }
    }
}

/// A sorted set.
#[derive(Debug)]
pub(crate) struct SortedSet {
    scores: Keyed<Rc<[u8]>, f64>,
    ranks: BTreeSet<Ranked>,
}

impl SortedSet {
    pub(crate) fn new(hasher: FixedState) -> Self {
        Self { scores: Keyed::new(hasher), ranks: BTreeSet::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.scores.len()
    }

    pub(crate) fn score(&self, member: &[u8]) -> Option<f64> {
        self.scores.get(member).copied()
    }

    /// Makes room for `more` members.
    pub(crate) fn room(&mut self, memory: &dyn Memory, more: usize) -> Result<(), Refused> {
        self.scores.room(memory, more)
    }

    /// Frees memory that is no longer needed.
    pub(crate) fn trim(&mut self, memory: &dyn Memory) {
        self.scores.trim(memory);
    }

    /// Sets a member's score. Room must have been made, and memory checked for the member itself.
    pub(crate) fn insert(&mut self, member: &[u8], score: f64) {
        if let Some(position) = self.scores.position(member)
            && let Some((member, old)) = self.scores.at_mut(position)
        {
            let mut ranked = Ranked { score: *old, member: Rc::clone(member) };
            *old = score;
            self.ranks.remove(&ranked);
            ranked.score = score;
            self.ranks.insert(ranked);
            return;
        }
        let member: Rc<[u8]> = Rc::from(member);
        self.ranks.insert(Ranked { score, member: Rc::clone(&member) });
        self.scores.add(member, score);
    }

    pub(crate) fn remove(&mut self, member: &[u8]) -> bool {
        let Some((member, score)) = self.scores.remove(member) else { return false };
        self.ranks.remove(&Ranked { score, member })
    }

    /// Removes and returns the member with the lowest or the highest score.
    pub(crate) fn pop(&mut self, highest: bool) -> Option<(Rc<[u8]>, f64)> {
        let ranked = if highest { self.ranks.pop_last() } else { self.ranks.pop_first() }?;
        self.scores.remove(&ranked.member);
        Some((ranked.member, ranked.score))
    }

    /// Returns all members in order.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (&[u8], f64)> + ExactSizeIterator {
        self.ranks.iter().map(|ranked| (&*ranked.member, ranked.score))
    }

    /// Returns the members from a score on, in order. Finding the first takes logarithmic time.
    pub(crate) fn iter_from(&self, low: Bound) -> impl Iterator<Item = (&[u8], f64)> {
        let first = Ranked { score: low.score, member: Rc::from(&[][..]) };
        self.ranks
            .range(first..)
            .map(|ranked| (&*ranked.member, ranked.score))
            .skip_while(move |(_, score)| !low.admits_above(*score))
    }

    /// Returns the members with a score in a range, the highest first. Finding the first takes
    /// logarithmic time.
    pub(crate) fn iter_back(&self, low: Bound, high: Bound) -> impl Iterator<Item = (&[u8], f64)> {
        // There is no greatest name that could end the range at this score, so end it before the
        // next higher score.
        let above = Ranked { score: high.score.next_up(), member: Rc::from(&[][..]) };
        let end = if high.score < f64::INFINITY { Excluded(above) } else { Unbounded };
        self.ranks
            .range((Unbounded, end))
            .rev()
            .map(|ranked| (&*ranked.member, ranked.score))
            .skip_while(move |(_, score)| !high.admits_below(*score))
            .take_while(move |(_, score)| low.admits_above(*score))
    }

    /// Returns whether `Store::settle` must be called after something was removed.
    pub(crate) fn needs_settling(&self) -> bool {
        self.len() == 0 || self.scores.is_wasteful()
    }

    /// Returns the member at a position of the table.
    pub(crate) fn at(&self, index: usize) -> Option<(&[u8], f64)> {
        self.scores.at(index).map(|(member, score)| (&**member, *score))
    }

    /// Returns the number of members before this one.
    pub(crate) fn rank(&self, member: &[u8]) -> Option<usize> {
        let (member, score) = self.scores.at(self.scores.position(member)?)?;
        let ranked = Ranked { score: *score, member: Rc::clone(member) };
        Some(self.ranks.range(..ranked).count())
    }
}
