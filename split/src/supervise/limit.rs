//! How often a guest is restarted.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

/// Most restarts of a guest within [`WINDOW`]. One more exit and it is kept as it is.
pub const MAX_RESTARTS: usize = 5;

/// See [`MAX_RESTARTS`].
pub const WINDOW: Duration = Duration::from_secs(60);

/// Restarts of each guest in the last [`WINDOW`], by name.
#[derive(Debug, Default)]
pub(super) struct RestartLimit(HashMap<String, VecDeque<Instant>>);

impl RestartLimit {
    /// Returns whether the guest may be restarted now, and counts the restart if so.
    pub(super) fn allow(&mut self, name: &str, now: Instant) -> bool {
        // Guests without a recent restart are forgotten.
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
        assert!(restarts.allow("b", start + Duration::from_secs(10)), "others may");
        assert!(restarts.allow("a", start + WINDOW), "the first time is long ago");
        assert!(!restarts.allow("a", start + WINDOW));
        restarts.allow("c", start + 3 * WINDOW);
        assert_eq!(restarts.0.len(), 1, "guests without a recent restart are forgotten");
    }
}
