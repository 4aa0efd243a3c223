// SPDX-License-Identifier: GPL-3.0-or-later
//! What the main thread counts.

use std::collections::{BTreeMap, HashSet};

use chaos::clients::chaosd::protocol::{FlavourStatus, Origin};
use chaos::timings::Stage;

/// The upper bounds of the buckets of a histogram, in nanoseconds: from 20 µs, the shortest stages of a
/// create, to some seconds.
pub(super) const BOUNDS_NS: [u64; 18] = [
    20_000,
    50_000,
    100_000,
    200_000,
    500_000,
    1_000_000,
    1_500_000,
    2_000_000,
    3_000_000,
    5_000_000,
    10_000_000,
    20_000_000,
    50_000_000,
    100_000_000,
    200_000_000,
    500_000_000,
    1_000_000_000,
    5_000_000_000,
];

/// The most pairs of a guest and a cause whose restarts are counted.
const MAX_RESTARTED: usize = 1024;

/// How often something took how long.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// The number within each bound, and the number above all of them.
    pub counts: [u64; BOUNDS_NS.len() + 1],
    /// The time of all together.
    pub sum_ns: u64,
}

impl Histogram {
    fn add(&mut self, ns: u64) {
        let bucket = BOUNDS_NS.iter().position(|bound| ns <= *bound).unwrap_or(BOUNDS_NS.len());
        self.counts[bucket] += 1;
        self.sum_ns = self.sum_ns.saturating_add(ns);
    }
}

/// The guests that were created, and how long that took.
#[derive(Clone, Debug, Default)]
pub struct CreateTally {
    /// By the origin of the shell.
    pub creates: BTreeMap<&'static str, Histogram>,
    /// By stage. Their names are those in the code, so there are few.
    pub stages: BTreeMap<&'static str, Histogram>,
    /// Number of creates that failed after they were found to be valid.
    pub failures: u64,
}

impl CreateTally {
    /// Counts a create.
    pub(crate) fn created(&mut self, origin: Origin, stages: &[Stage]) {
        let total = stages.iter().map(|stage| stage.ns).sum();
        self.creates.entry(origin.as_str()).or_default().add(total);
        for stage in stages {
            self.stages.entry(stage.name).or_default().add(stage.ns);
        }
    }

    /// Counts a create that failed.
    pub(crate) fn failed(&mut self) {
        self.failures += 1;
    }
}

/// The guests that were restarted.
#[derive(Clone, Debug, Default)]
pub struct RestartTally {
    /// The number of all, by cause.
    pub all: BTreeMap<&'static str, u64>,
    /// The number of each guest, by name and cause. Beyond a thousand entries, those of
    /// guests that are gone make room.
    pub guests: BTreeMap<(String, &'static str), u64>,
    /// How the guests have ended whose restart is pending, by name.
    causes: BTreeMap<String, &'static str>,
}

impl RestartTally {
    /// Notes that a guest is to be restarted, and how it has ended.
    pub(crate) fn begins(&mut self, name: &str, cause: &'static str) {
        self.causes.insert(name.to_owned(), cause);
    }

    /// Forgets that a guest is to be restarted.
    pub(crate) fn cancelled(&mut self, name: &str) {
        self.causes.remove(name);
    }

    /// Counts a restart. `exist` returns the names of the guests that exist, if there are too many.
    pub(crate) fn restarted(&mut self, name: &str, exist: impl FnOnce() -> HashSet<String>) {
        // An earlier chaosd knew the cause.
        let cause = self.causes.remove(name).unwrap_or("unknown");
        *self.all.entry(cause).or_default() += 1;
        let key = (name.to_owned(), cause);
        if self.guests.len() >= MAX_RESTARTED && !self.guests.contains_key(&key) {
            let exist = exist();
            self.guests.retain(|(name, _), _| exist.contains(name));
            if self.guests.len() >= MAX_RESTARTED {
                return;
            }
        }
        *self.guests.entry(key).or_default() += 1;
    }
}

/// What only the main thread knows.
#[derive(Clone, Debug, Default)]
pub struct DaemonFigures {
    /// The state of the pool.
    pub flavours: Vec<FlavourStatus>,
    /// The guests that were created.
    pub creates: CreateTally,
    /// The guests that were restarted.
    pub restarts: RestartTally,
    /// Number of guests whose restart is pending.
    pub pending_restarts: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_create_counts_in_the_bucket_of_its_time_and_in_those_of_its_stages() {
        let mut tally = CreateTally::default();
        let stage = |name, ns| Stage { name, ns };
        tally.created(Origin::Warm, &[stage("receive", 20_000), stage("unpause", 20_001)]);
        tally.created(Origin::Cold, &[stage("receive", u64::MAX)]);
        let warm = &tally.creates["warm"];
        assert_eq!((warm.sum_ns, warm.counts[1], warm.counts.iter().sum()), (40_001, 1, 1));
        let receive = &tally.stages["receive"];
        assert_eq!((receive.counts[0], receive.counts[BOUNDS_NS.len()]), (1, 1));
        assert_eq!(tally.stages["unpause"].counts[1], 1);
    }

    #[test]
    fn restarts_are_counted_by_guest_and_cause_and_guests_that_are_gone_make_room() {
        let mut tally = RestartTally::default();
        tally.begins("a", "crashed");
        tally.restarted("a", || unreachable!("there are few"));
        tally.restarted("a", || unreachable!("there are few"));
        tally.begins("b", "crashed");
        tally.cancelled("b");
        let count =
            |tally: &RestartTally, cause| tally.guests.get(&("a".to_owned(), cause)).copied();
        assert_eq!((count(&tally, "crashed"), count(&tally, "unknown")), (Some(1), Some(1)));
        for number in 0..MAX_RESTARTED {
            tally.restarted(&number.to_string(), || HashSet::from(["a".to_owned()]));
        }
        assert!(tally.guests.len() <= MAX_RESTARTED);
        assert_eq!(count(&tally, "crashed"), Some(1), "it exists");
        assert_eq!(tally.all["unknown"], MAX_RESTARTED as u64 + 1);
    }
}
