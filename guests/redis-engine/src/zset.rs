//! Sorted sets: members by name, and by score and name.

use alloc::collections::BTreeSet;
use alloc::rc::Rc;
use core::cmp::Ordering;

use foldhash::fast::FixedState;
use indexmap::IndexMap;

use crate::error::Refused;
use crate::memory::{Memory, data_room};

/// A score with its member, in Redis's order: by score, then by the member's bytes.
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

/// One end of a range of scores.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bound {
    pub(crate) score: f64,
    pub(crate) exclusive: bool,
}

impl Bound {
    /// Whether a score is on the inner side of this lower bound.
    pub(crate) fn admits_above(self, score: f64) -> bool {
        if self.exclusive { score > self.score } else { score >= self.score }
    }

    /// Whether a score is on the inner side of this upper bound.
    pub(crate) fn admits_below(self, score: f64) -> bool {
        if self.exclusive { score < self.score } else { score <= self.score }
    }
}

/// A sorted set.
#[derive(Debug, Default)]
pub(crate) struct SortedSet {
    scores: IndexMap<Rc<[u8]>, f64, FixedState>,
    ranks: BTreeSet<Ranked>,
}

impl SortedSet {
    pub(crate) fn new(hasher: FixedState) -> Self {
        Self { scores: IndexMap::with_hasher(hasher), ranks: BTreeSet::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.scores.len()
    }

    pub(crate) fn score(&self, member: &[u8]) -> Option<f64> {
        self.scores.get(member).copied()
    }

    /// Makes room for so many more members.
    pub(crate) fn room(&mut self, memory: &dyn Memory, more: usize) -> Result<(), Refused> {
        data_room(memory, &mut self.scores, more)
    }

    /// Sets a member's score. Room must have been made, for the member itself too.
    pub(crate) fn insert(&mut self, member: &[u8], score: f64) {
        if let Some((member, old)) = self.scores.get_key_value(member) {
            let (member, old) = (Rc::clone(member), *old);
            self.ranks.remove(&Ranked { score: old, member: Rc::clone(&member) });
            self.ranks.insert(Ranked { score, member: Rc::clone(&member) });
            self.scores.insert(member, score);
            return;
        }
        let member: Rc<[u8]> = Rc::from(member);
        self.ranks.insert(Ranked { score, member: Rc::clone(&member) });
        self.scores.insert(member, score);
    }

    pub(crate) fn remove(&mut self, member: &[u8]) -> bool {
        let Some((member, score)) = self.scores.swap_remove_entry(member) else { return false };
        self.ranks.remove(&Ranked { score, member })
    }

    /// Removes and gives the member with the lowest or the highest score.
    pub(crate) fn pop(&mut self, highest: bool) -> Option<(Rc<[u8]>, f64)> {
        let ranked = if highest { self.ranks.pop_last() } else { self.ranks.pop_first() }?;
        self.scores.swap_remove(&ranked.member);
        Some((ranked.member, ranked.score))
    }

    /// All members in order.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (&[u8], f64)> + ExactSizeIterator {
        self.ranks.iter().map(|ranked| (&*ranked.member, ranked.score))
    }

    /// The members from a score on, in order. Finding the first takes logarithmic time.
    pub(crate) fn iter_from(&self, low: Bound) -> impl Iterator<Item = (&[u8], f64)> {
        let first = Ranked { score: low.score, member: Rc::from(&[][..]) };
        self.ranks
            .range(first..)
            .map(|ranked| (&*ranked.member, ranked.score))
            .skip_while(move |(_, score)| !low.admits_above(*score))
    }

    /// The members in the order of their arrival, from a position.
    pub(crate) fn at(&self, index: usize) -> Option<(&[u8], f64)> {
        self.scores.get_index(index).map(|(member, score)| (&**member, *score))
    }

    /// How many members are before this one.
    pub(crate) fn rank(&self, member: &[u8]) -> Option<usize> {
        let (member, score) = self.scores.get_key_value(member)?;
        let ranked = Ranked { score: *score, member: Rc::clone(member) };
        Some(self.ranks.range(..ranked).count())
    }
}
