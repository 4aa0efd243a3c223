// SPDX-License-Identifier: GPL-3.0-or-later
//! Limits how often a guest is restarted.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use xen::units::DomainHandle;

/// The most restarts of a guest within [`WINDOW`]. At its next exit the guest is kept.
pub const MAX_RESTARTS: usize = 5;

/// The time in which restarts are counted.
pub const WINDOW: Duration = Duration::from_secs(60);

/// Restarts of each guest in the last [`WINDOW`], by name.
#[derive(Debug, Default)]
pub(super) struct RestartLimit(HashMap<String, VecDeque<Restart>>);

/// A restart that was allowed.
#[derive(Debug)]
struct Restart {
    at: Instant,
    /// The domain that had ended.
    ended: [u8; 16],
}

impl RestartLimit {
    /// Returns whether the guest may be restarted now whose domain with this handle has ended, and
    /// counts the restart if so. Counts it once, however often it is attempted.
    pub(super) fn allow(&mut self, name: &str, ended: DomainHandle, now: Instant) -> bool {
        // Forget guests without a recent restart.
        self.0.retain(|_, restarts| {
            restarts.retain(|restart| now.duration_since(restart.at) < WINDOW);
            !restarts.is_empty()
        });
        let restarts = self.0.entry(name.to_owned()).or_default();
        if restarts.iter().any(|restart| restart.ended == ended.0) {
            return true;
        }
        if restarts.len() >= MAX_RESTARTS {
            return false;
        }
        restarts.push_back(Restart { at: now, ended: ended.0 });
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_that_keeps_exiting_is_not_restarted_forever() {
        let mut restarts = RestartLimit::default();
        let (start, mut domains) = (Instant::now(), (0..).map(|number| DomainHandle([number; 16])));
        let mut allow = |name: &str, after: Duration| {
            restarts.allow(name, domains.next().unwrap(), start + after)
        };
        for number in 0..MAX_RESTARTS {
            assert!(allow("a", Duration::from_secs(number as u64)));
        }
        assert!(!allow("a", Duration::from_secs(10)));
        assert!(allow("b", Duration::from_secs(10)), "guests are counted apart");
        assert!(allow("a", WINDOW), "the first restart is not counted any more");
        assert!(!allow("a", WINDOW));
        allow("c", 3 * WINDOW);
        assert_eq!(restarts.0.len(), 1, "guests without a recent restart are forgotten");
    }

    #[test]
    fn a_restart_that_is_attempted_again_is_counted_once() {
        let (mut restarts, now) = (RestartLimit::default(), Instant::now());
        for number in (0..).take(MAX_RESTARTS) {
            for _ in 0..3 {
                assert!(restarts.allow("a", DomainHandle([number; 16]), now));
            }
        }
        assert!(!restarts.allow("a", DomainHandle([100; 16]), now));
    }
}
