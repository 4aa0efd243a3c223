// SPDX-License-Identifier: GPL-3.0-or-later
//! Whether the storage behind a disk works, and which changes of that are logged.

use std::time::Instant;

use crate::turns::log_limit::LogLimit;

/// Whether the storage behind a disk works. A guest decides when that changes: on a full file system
/// its writes fail, and its reads do not.
#[derive(Debug, Default)]
pub(super) struct Health {
    fails: bool,
    /// Whether the log says that it fails.
    reported: bool,
}

impl Health {
    /// Notes that an operation has failed. Returns whether to log it, which `warnings` limits.
    pub(super) fn fails(&mut self, warnings: &mut LogLimit, now: Instant) -> bool {
        let is_new = !std::mem::replace(&mut self.fails, true);
        let reports = is_new && warnings.allows(now);
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
    use crate::turns::log_limit::{INTERVAL, LINES};

    #[test]
    fn a_guest_whose_requests_fail_and_succeed_in_turn_adds_few_lines_to_the_log() {
        let now = Instant::now();
        let mut warnings = LogLimit::new(now);
        let mut health = Health::default();
        assert!(!health.works(), "it never failed");
        let mut lines = (0, 0);
        for _ in 0..10_000 {
            lines.0 += u64::from(health.fails(&mut warnings, now));
            assert!(!health.fails(&mut warnings, now), "it failed already");
            lines.1 += u64::from(health.works());
            assert!(!health.works(), "it worked already");
        }
        assert_eq!(lines, (LINES, LINES));
        let later = now + INTERVAL;
        assert!(health.fails(&mut warnings, later) && health.works());
    }
}
