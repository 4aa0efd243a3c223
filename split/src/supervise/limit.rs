// SPDX-License-Identifier: GPL-3.0-or-later
//! Limits how often a guest is restarted.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

/// The most restarts of a guest within [`WINDOW`]. At its next exit the guest is kept.
pub const MAX_RESTARTS: usize = 5;

/// The time in which restarts are counted.
pub const WINDOW: Duration = Duration::from_secs(60);

/// Restarts of each guest in the last [`WINDOW`], by name.
#[derive(Debug, Default)]
pub(super) struct RestartLimit(HashMap<String, VecDeque<Instant>>);

impl RestartLimit {
    /// Returns whether the guest may be restarted now, and counts the restart if so.
    pub(super) fn allow(&mut self, name: &str, now: Instant) -> bool {
        // Forget guests without a recent restart.
        self.0.retain(|_, times| {
            times.retain(|time| now.duration_since(*time) < WINDOW);
            !times.is_empty()
        });
        let times = self.0.entry(name.to_owned()).or_default();
        if times.len() >= MAX_RESTARTS {
            return false;
        }
        times.push_back(now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_that_keeps_exiting_is_not_restarted_forever() {
        let mut restarts = RestartLimit::default();
        let start = Instant::now();
        for number in 0..MAX_RESTARTS {
            assert!(restarts.allow("a", start + Duration::from_secs(number as u64)));
        }
        assert!(!restarts.allow("a", start + Duration::from_secs(10)));
        assert!(restarts.allow("b", start + Duration::from_secs(10)), "guests are counted apart");
        assert!(restarts.allow("a", start + WINDOW), "the first restart is not counted any more");
        assert!(!restarts.allow("a", start + WINDOW));
        restarts.allow("c", start + 3 * WINDOW);
        assert_eq!(restarts.0.len(), 1, "guests without a recent restart are forgotten");
    }
}
