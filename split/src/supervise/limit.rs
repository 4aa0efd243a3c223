// SPDX-License-Identifier: GPL-3.0-or-later
//! Limits how often a guest is restarted.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use chaos::handle::DomainIdentity;
use xen::units::DomId;

/// The most restarts of a guest within [`WINDOW`]. At its next exit the guest is kept.
pub const MAX_RESTARTS: usize = 5;

/// The time in which restarts are counted.
pub const WINDOW: Duration = Duration::from_secs(60);

/// Restarts of each guest in the last [`WINDOW`], by name.
#[derive(Debug, Default)]
pub(super) struct RestartLimit(HashMap<String, Restarts>);

/// The restarts of a guest.
#[derive(Debug, Default)]
struct Restarts {
    recent: VecDeque<Restart>,
    /// The domain that the last one has created.
    successor: Option<DomId>,
}

/// A restart that was allowed.
#[derive(Debug)]
struct Restart {
    at: Instant,
    /// The domain that had ended.
    ended: DomainIdentity,
}

impl RestartLimit {
    /// Returns whether the guest may be restarted now whose domain has ended, and counts the restart
    /// if so. Counts it once, however often it is attempted.
    pub(super) fn allow(&mut self, name: &str, ended: DomainIdentity, now: Instant) -> bool {
        // Forget guests without a recent restart.
        self.0.retain(|_, restarts| {
            restarts.recent.retain(|restart| now.duration_since(restart.at) < WINDOW);
            !restarts.recent.is_empty()
        });
        let Restarts { recent, successor } = self.0.entry(name.to_owned()).or_default();
        if recent.iter().any(|restart| restart.ended == ended) {
            return true;
        }
        if *successor != Some(ended.domid) {
            // A user has destroyed the guest and created another one of its name.
            recent.clear();
        }
        if recent.len() >= MAX_RESTARTS {
            return false;
        }
        recent.push_back(Restart { at: now, ended });
        true
    }

    /// Notes the domain that a restart has created.
    pub(super) fn created(&mut self, name: &str, successor: DomId) {
        if let Some(restarts) = self.0.get_mut(name) {
            restarts.successor = Some(successor);
        }
    }
}

#[cfg(test)]
mod tests {
    use xen::units::DomainHandle;

    use super::*;

    fn domain(number: u16) -> DomainIdentity {
        let handle = DomainHandle([u8::try_from(number).unwrap(); 16]);
        DomainIdentity { domid: DomId(number), handle }
    }

    #[test]
    fn a_guest_that_keeps_exiting_is_not_restarted_forever() {
        let mut restarts = RestartLimit::default();
        let (start, mut numbers) = (Instant::now(), 0..);
        // Each domain is the successor of the one before.
        let mut allow = |name: &str, after: Duration| {
            let number = numbers.next().unwrap();
            restarts.created(name, DomId(number));
            restarts.allow(name, domain(number), start + after)
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
                assert!(restarts.allow("a", domain(number), now));
            }
            restarts.created("a", DomId(number + 1));
        }
        let last = u16::try_from(MAX_RESTARTS).unwrap();
        assert!(!restarts.allow("a", domain(last), now));
        assert!(!restarts.allow("a", domain(last), now));
        assert!(restarts.allow("a", domain(100), now), "another guest has the name");
    }
}
