// SPDX-License-Identifier: GPL-3.0-or-later
//! Whether the storage behind a disk works, and which changes of that are logged.

use std::time::{Duration, Instant};

use crate::turns::log_limit::LogLimit;

/// After a failure that was logged, no other one of the same disk is logged for this time: the log has
/// room for what is said about other guests.
const SILENCE: Duration = Duration::from_secs(60);

/// Whether the storage behind a disk works. A guest decides when that changes: on a full file system
/// its writes fail, and its reads do not.
#[derive(Debug, Default)]
pub(super) struct Health {
    fails: bool,
    /// Whether the log says that it fails.
    reported: bool,
    /// When the next failure may be logged.
    silent_until: Option<Instant>,
}

impl Health {
    /// Notes that an operation has failed. Returns whether to log it, which `warnings` limits.
    pub(super) fn fails(&mut self, warnings: &mut LogLimit, now: Instant) -> bool {
        let is_new = !std::mem::replace(&mut self.fails, true);
        let is_silent = self.silent_until.is_some_and(|until| now < until);
        let reports = is_new && !is_silent && warnings.allows(now);
        if reports {
            self.silent_until = Some(now + SILENCE);
        }
        self.reported |= reports;
        reports
    }

    /// Notes that an operation has succeeded. Returns whether to log it: only after a failure that
    /// was logged, so that the limit of those holds for both.
    pub(super) fn works(&mut self) -> bool {
        self.fails = false;
        std::mem::take(&mut self.reported)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::turns::log_limit::LINES;

    #[test]
    fn a_guest_whose_requests_fail_and_succeed_in_turn_adds_few_lines_to_the_log() {
        let now = Instant::now();
        let mut warnings = LogLimit::new(now);
        let mut health = Health::default();
        assert!(!health.works(), "it never failed");
        let mut lines = (0, 0);
        for _ in 0..10_000 {
            lines.0 += u32::from(health.fails(&mut warnings, now));
            assert!(!health.fails(&mut warnings, now), "it failed already");
            lines.1 += u32::from(health.works());
            assert!(!health.works(), "it worked already");
        }
        assert_eq!(lines, (1, 1));
        assert!((1..LINES).all(|_| warnings.allows(now)), "the rest is for others");
        let later = now + SILENCE;
        assert!(health.fails(&mut warnings, later) && health.works());
    }
}
