// SPDX-License-Identifier: GPL-3.0-or-later
//! How often all domains are scanned.
//!
//! Xen reports that some domain has ended, not which one (`VIRQ_DOM_EXC`;
//! `XEN_DOMCTL_get_domain_state`, which names it, is newer than Xen 4.20). So `chaosd` has to read
//! the list of all domains, which takes longer the more there are. One scan for each end would take
//! time that grows with the square of the number of guests. So scans may only take a small share of
//! the time: the first end is handled at once, and one scan finds all ends that follow during the
//! pause.

use std::time::{Duration, Instant};

/// The pause after each scan, as a multiple of the scan's duration.
const PAUSE_FACTOR: u32 = 10;

/// When to scan.
#[derive(Debug, Default)]
pub(crate) struct ScanPace {
    /// Whether a domain may have ended since the last scan.
    ended: bool,
    pause_until: Option<Instant>,
}

impl ScanPace {
    /// Notes that a domain may have ended.
    pub(crate) fn note_end(&mut self) {
        self.ended = true;
    }

    /// Returns when to scan, if a domain may have ended.
    pub(crate) fn next(&self, now: Instant) -> Option<Instant> {
        self.ended.then(|| self.pause_until.unwrap_or(now))
    }

    /// Returns whether to scan now.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.next(now).is_some_and(|at| at <= now)
    }

    /// Notes the start and the end of a scan.
    pub(crate) fn scanned(&mut self, began: Instant, ended: Instant) {
        let took: Duration = ended.saturating_duration_since(began);
        *self = Self { ended: false, pause_until: Some(ended + took * PAUSE_FACTOR) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_first_end_is_handled_at_once_and_those_that_follow_together() {
        let (mut pace, start) = (ScanPace::default(), Instant::now());
        assert_eq!(pace.next(start), None, "no end was noted");
        pace.note_end();
        assert!(pace.is_due(start));
        pace.scanned(start, start + 2 * MS);
        assert_eq!(pace.next(start + 3 * MS), None);
        pace.note_end();
        pace.note_end();
        assert!(!pace.is_due(start + 3 * MS));
        assert_eq!(pace.next(start + 3 * MS), Some(start + 22 * MS));
        assert!(pace.is_due(start + 22 * MS));
        pace.scanned(start + 22 * MS, start + 24 * MS);
        assert_eq!(pace.next(start + 60 * MS), None);
        pace.note_end();
        assert!(pace.is_due(start + 60 * MS), "the pause is over");
    }
}
