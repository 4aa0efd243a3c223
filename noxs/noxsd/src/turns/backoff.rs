// SPDX-License-Identifier: GPL-3.0-or-later
//! Delays for a guest that causes turns without progress.
//!
//! An event costs dom0 some system calls, however little there is to do. A guest that sends events
//! in a loop, or only requests that are refused, would otherwise keep noxsd busy for as long as it
//! runs. A guest without such a fault causes at most a few turns in a row without progress: an
//! event may come for what an earlier turn has done already.

use std::time::{Duration, Instant};

/// Turns in a row without progress that are not delayed.
const FREE: u8 = 7;

/// First delay; each further one is twice as long.
const FIRST: Duration = Duration::from_millis(1);

/// How often the delay doubles: the longest is 16 ms.
const DOUBLINGS: u8 = 4;

/// Time after which turns without progress are forgotten, so that a guest that now and then sends a
/// frame that is dropped is never delayed. Longer than the longest delay.
const FORGOTTEN: Duration = Duration::from_millis(100);

/// Counts the turns of one guest that bring no progress.
#[derive(Debug)]
pub struct Backoff {
    turns: u8,
    /// When the last of them was counted.
    last: Instant,
}

impl Backoff {
    /// Creates a counter of a guest that was never served.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { turns: 0, last: now }
    }

    /// Counts an event, or a turn without progress that is to be followed by another. Returns the
    /// delay of the turn that follows, if it is to be delayed.
    pub fn count(&mut self, now: Instant) -> Option<Duration> {
        if now.saturating_duration_since(self.last) >= FORGOTTEN {
            self.turns = 0;
        }
        self.last = now;
        self.turns = self.turns.saturating_add(1);
        self.delay()
    }

    /// Returns the delay of the turn that was last counted.
    #[must_use]
    pub fn delay(&self) -> Option<Duration> {
        let over = self.turns.checked_sub(FREE + 1)?;
        Some(FIRST * (1 << over.min(DOUBLINGS)))
    }

    /// Records progress, after which nothing is delayed.
    pub fn progress(&mut self) {
        self.turns = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_eighth_turn_without_progress_is_delayed_and_further_ones_for_longer() {
        let now = Instant::now();
        let mut backoff = Backoff::new(now);
        for _ in 0..7 {
            assert_eq!(backoff.count(now), None);
        }
        let delays: Vec<u64> = (0..7)
            .filter_map(|_| backoff.count(now))
            .map(|delay| u64::try_from(delay.as_millis()).unwrap())
            .collect();
        assert_eq!(delays, [1, 2, 4, 8, 16, 16, 16]);
        for _ in 0..1000 {
            assert_eq!(backoff.count(now), Some(16 * FIRST));
        }
        backoff.progress();
        assert_eq!(backoff.count(now), None);
    }

    #[test]
    fn rare_turns_without_progress_are_never_delayed() {
        let mut now = Instant::now();
        let mut backoff = Backoff::new(now);
        for _ in 0..100 {
            now += FORGOTTEN;
            assert_eq!(backoff.count(now), None);
        }
        for _ in 0..100 {
            now += 17 * FIRST;
            backoff.count(now);
        }
        assert_eq!(backoff.count(now), Some(16 * FIRST), "a delay itself is not forgotten");
    }
}
