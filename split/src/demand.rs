// SPDX-License-Identifier: GPL-3.0-or-later
//! Learns from the requests which shells are worth keeping ready.
//!
//! Each kind of shell has a *level*: the number of its requests, of which each counts half as much
//! every [`HALF_LIFE`]. The level, rounded up, is the number of shells to keep. So the first request
//! of a kind leaves one shell ready, a burst leaves as many as it had requests, and what is no
//! longer asked for falls to none.
//!
//! This module does not depend on Xen: a kind is any type `K`.

use std::time::{Duration, Instant};

use xen::units::KiB;

/// The time in which a request comes to count half as much.
pub(crate) const HALF_LIFE: Duration = Duration::from_secs(5 * 60);

/// The most shells of one kind.
pub(crate) const MAX_SHELLS: u32 = 16;

/// The most kinds that are remembered.
pub(crate) const MAX_KINDS: usize = 32;

/// Below this level a kind is forgotten: three half-lives after a single request.
const FORGOTTEN: f64 = 0.125;

/// What was asked for.
#[derive(Debug)]
pub(crate) struct Demand<K> {
    kinds: Vec<Asked<K>>,
}

/// One kind that was asked for.
#[derive(Debug)]
struct Asked<K> {
    kind: K,
    /// The memory of one shell.
    memory: KiB,
    /// The level at the time `at`.
    level: f64,
    at: Instant,
}

impl<K> Asked<K> {
    fn level(&self, now: Instant) -> f64 {
        let passed = now.saturating_duration_since(self.at).div_duration_f64(HALF_LIFE);
        self.level * (-passed).exp2()
    }

    /// Returns how many shells are wanted.
    fn wanted(&self, now: Instant) -> u32 {
        let level = self.level(now);
        let fewer = |count: &u32| f64::from(*count) >= level;
        match level < FORGOTTEN {
            true => 0,
            false => (1..MAX_SHELLS).find(fewer).unwrap_or(MAX_SHELLS),
        }
    }

    /// Returns when fewer shells are wanted than now.
    fn falls(&self, now: Instant) -> Option<Instant> {
        let next = match self.wanted(now) {
            0 => return None,
            1 => FORGOTTEN,
            more => f64::from(more - 1),
        };
        let half_lives = (self.level(now) / next).log2().max(0.0);
        // A little later, so that rounding does not make it too early.
        now.checked_add(HALF_LIFE.mul_f64(half_lives) + Duration::from_secs(1))
    }
}

impl<K> Default for Demand<K> {
    fn default() -> Self {
        Self { kinds: Vec::new() }
    }
}

impl<K> Demand<K> {
    /// Counts a request for a kind that `is_it` finds, or else for the new kind that `new` returns.
    pub(crate) fn asked(
        &mut self,
        now: Instant,
        is_it: impl Fn(&K) -> bool,
        new: impl FnOnce() -> (K, KiB),
    ) {
        if let Some(asked) = self.kinds.iter_mut().find(|asked| is_it(&asked.kind)) {
            // One more than all shells, so that a steady demand does not fall below them at once.
            let most = f64::from(MAX_SHELLS + 1);
            (asked.level, asked.at) = ((asked.level(now) + 1.0).min(most), now);
            return;
        }
        if self.kinds.len() >= MAX_KINDS {
            let levels = self.kinds.iter().enumerate();
            let least = levels.min_by(|(_, a), (_, b)| a.level(now).total_cmp(&b.level(now)));
            if let Some((index, _)) = least {
                self.kinds.swap_remove(index);
            }
        }
        let (kind, memory) = new();
        self.kinds.push(Asked { kind, memory, level: 1.0, at: now });
    }

    /// Returns the kinds that are worth shells, with how many: those that were asked for most come
    /// first, as long as all shells together hold at most `budget`. Forgets the others' requests that
    /// are too old to matter.
    pub(crate) fn shells(&mut self, budget: KiB, now: Instant) -> Vec<(&K, u32)> {
        self.kinds.retain(|asked| asked.wanted(now) > 0);
        self.kinds.sort_by(|a, b| b.level(now).total_cmp(&a.level(now)));
        let mut left = budget.0;
        let granted = self.kinds.iter().map(|asked| {
            let room = left / asked.memory.0.max(1);
            let count = asked.wanted(now).min(u32::try_from(room).unwrap_or(u32::MAX));
            left -= u64::from(count) * asked.memory.0;
            (&asked.kind, count)
        });
        granted.filter(|(_, count)| *count > 0).collect()
    }

    /// Returns when [`shells`](Self::shells) has another result, if nothing is asked for until then.
    pub(crate) fn falls(&self, now: Instant) -> Option<Instant> {
        self.kinds.iter().filter_map(|asked| asked.falls(now)).min()
    }

    /// Returns whether there is a kind for which `is_it` returns `true`.
    pub(crate) fn knows(&self, is_it: impl Fn(&K) -> bool) -> bool {
        self.kinds.iter().any(|asked| is_it(&asked.kind))
    }

    /// Forgets the kinds for which `is_it` returns `true`. Returns whether there were any.
    pub(crate) fn forget(&mut self, is_it: impl Fn(&K) -> bool) -> bool {
        let before = self.kinds.len();
        self.kinds.retain(|asked| !is_it(&asked.kind));
        self.kinds.len() < before
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MANY: KiB = KiB(1 << 30);

    struct Clock(Instant, Demand<&'static str>);

    impl Clock {
        fn new() -> Self {
            Self(Instant::now(), Demand::default())
        }

        fn ask(&mut self, kind: &'static str, memory: u64) {
            self.1.asked(self.0, |known| *known == kind, || (kind, KiB(memory)));
        }

        fn pass(&mut self, minutes: u64) {
            self.0 += Duration::from_secs(60 * minutes);
        }

        fn shells(&mut self, budget: KiB) -> Vec<(&'static str, u32)> {
            let now = self.0;
            self.1.shells(budget, now).into_iter().map(|(kind, count)| (*kind, count)).collect()
        }
    }

    #[test]
    fn a_kind_is_kept_once_it_was_asked_for_and_forgotten_when_it_is_not_any_more() {
        let mut clock = Clock::new();
        assert_eq!(clock.shells(MANY), []);
        clock.ask("redis", 8192);
        assert_eq!(clock.shells(MANY), [("redis", 1)]);
        clock.pass(14);
        assert_eq!(clock.shells(MANY), [("redis", 1)]);
        clock.pass(2);
        assert_eq!(clock.shells(MANY), []);
        assert_eq!(clock.1.falls(clock.0), None);
    }

    #[test]
    fn a_burst_ramps_up_to_the_most_and_decays() {
        let mut clock = Clock::new();
        for count in 1..=MAX_SHELLS + 20 {
            clock.ask("redis", 8192);
            assert_eq!(clock.shells(MANY), [("redis", count.min(MAX_SHELLS))]);
        }
        // Each fall is where it was said to be, and the last one leaves none.
        let mut last = MAX_SHELLS;
        while let Some(at) = clock.1.falls(clock.0) {
            clock.0 = at;
            let now = clock.shells(MANY).first().map_or(0, |(_, count)| *count);
            assert_eq!(now, last - 1);
            last = now;
        }
        assert_eq!(last, 0);
    }

    #[test]
    fn what_was_asked_for_most_has_the_budget_first() {
        let mut clock = Clock::new();
        for _ in 0..2 {
            clock.ask("rare", 4096);
        }
        clock.pass(1);
        for _ in 0..3 {
            clock.ask("often", 8192);
        }
        assert_eq!(clock.shells(KiB(8192 * 3)), [("often", 3)]);
        assert_eq!(clock.shells(KiB(8192 * 3 + 4096)), [("often", 3), ("rare", 1)]);
        // Older requests count less.
        clock.pass(10);
        for _ in 0..2 {
            clock.ask("rare", 4096);
        }
        assert_eq!(clock.shells(KiB(4096)), [("rare", 1)]);
        assert!(clock.1.knows(|kind| *kind == "rare"));
        assert!(clock.1.forget(|kind| *kind == "rare"));
        assert!(!clock.1.forget(|kind| *kind == "rare"));
        assert_eq!(clock.shells(KiB(8192)), [("often", 1)]);
    }

    proptest! {
        #[test]
        fn the_budget_is_kept_and_the_number_of_kinds_is_bounded(
            budget in 0u64..100_000,
            requests in proptest::collection::vec((0usize..60, 0u64..10), 0..200),
        ) {
            let mut demand = Demand::default();
            let mut now = Instant::now();
            let memory = |kind: usize| 1 + (kind as u64 * 7919) % 20_000;
            for (kind, minutes) in requests {
                now += Duration::from_secs(60 * minutes);
                demand.asked(now, |known| *known == kind, || (kind, KiB(memory(kind))));
                let shells = demand.shells(KiB(budget), now);
                let held: u64 = shells.iter().map(|(kind, n)| u64::from(*n) * memory(**kind)).sum();
                prop_assert!(held <= budget);
                prop_assert!(shells.len() <= MAX_KINDS);
                prop_assert!(shells.iter().all(|(_, count)| (1..=MAX_SHELLS).contains(count)));
            }
        }
    }
}
