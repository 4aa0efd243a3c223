// SPDX-License-Identifier: GPL-3.0-or-later
//! The failed attempts of a pending restart, and the timer for the next one.

use std::time::{Duration, Instant};

use daemon::chain::chain;

use super::error::RestartError;
use crate::line_limit::LineLimit;

/// The delay until the first retry of a pending restart by timer; it doubles with each retry.
pub const RETRY: Duration = Duration::from_secs(1);

/// The number of retries of a pending restart by timer.
pub const MAX_RETRIES: u32 = 6;

/// The failed attempts of a pending restart.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    count: u32,
    /// The timer for the next attempt.
    next: Option<Instant>,
    /// The time of the last failed attempt.
    failed: Option<Instant>,
    /// When the end of a domain has brought an attempt forward.
    forwarded: Option<Instant>,
    /// Why the last attempt failed, as logged.
    error: String,
    /// The guest's owner, unless an earlier `chaosd` left the restart pending.
    pub(super) owner: Option<u32>,
}

impl Attempts {
    /// Returns when the timer for the next attempt expires, if it is set.
    pub(super) fn next(&self) -> Option<Instant> {
        self.next
    }

    /// Returns whether the timer has expired, and clears it if so.
    pub(super) fn take_due(&mut self, now: Instant) -> bool {
        let is_due = self.next.is_some_and(|next| next <= now);
        if is_due {
            self.next = None;
        }
        is_due
    }

    /// Sets the timer to an earlier time because a domain has ended: to now, but at most once in
    /// the delay that follows the last failed attempt, and not within [`RETRY`] of that attempt.
    /// Otherwise attempts would never cease that fail so late that a domain is destroyed, because
    /// the end of that domain is reported, too.
    pub(super) fn bring_forward(&mut self, now: Instant) {
        let Some(failed) = self.failed else {
            self.next = Some(now);
            return;
        };
        let delay = RETRY * (1 << self.count.saturating_sub(1).min(MAX_RETRIES - 1));
        let earliest = self.forwarded.map_or(failed, |at| at + delay).max(failed + RETRY).max(now);
        if self.next.is_none_or(|next| earliest < next) {
            self.next = Some(earliest);
            self.forwarded = Some(earliest);
        }
    }

    /// Sets the timer for the next attempt. The last one has not failed: it must wait.
    pub(super) fn wait_until(&mut self, at: Instant) {
        self.next = Some(at);
    }

    /// Logs a failed attempt, unless the last one failed in the same way or `lines` has had enough of
    /// the owner's, and sets the timer for the next one.
    pub(super) fn failed(
        &mut self,
        name: &str,
        error: &RestartError,
        now: Instant,
        lines: &LineLimit,
    ) {
        let text = chain(error);
        if self.error != text {
            if self.owner.is_none_or(|owner| lines.allows(owner)) {
                tracing::error!(
                    "cannot restart {name}: {text}; {}, and up to {MAX_RETRIES} times on its own; \
                     chaos destroy {name} cancels the restart",
                    error.obstacle().remedy()
                );
            }
            self.error = text;
        }
        self.next = (self.count < MAX_RETRIES).then(|| now + RETRY * (1 << self.count));
        self.failed = Some(now);
        self.count += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_doubles_and_the_retries_are_limited() {
        let (mut attempts, now) = (Attempts::default(), Instant::now());
        let error = RestartError::OtherName { found: "b".to_owned() };
        let lines = LineLimit::default();
        for number in 0..MAX_RETRIES {
            attempts.failed("a", &error, now, &lines);
            let next = now + RETRY * (1 << number);
            assert_eq!(attempts.next(), Some(next));
            assert!(!attempts.take_due(now));
            assert!(attempts.take_due(next));
            assert!(!attempts.take_due(next), "the timer is cleared");
        }
        attempts.failed("a", &error, now, &lines);
        assert_eq!(attempts.next(), None);
    }
}
