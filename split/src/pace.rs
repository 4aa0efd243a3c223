// SPDX-License-Identifier: GPL-3.0-or-later
//! How often all domains are scanned.
//!
//! Xen reports that some domain has ended, not which one (`VIRQ_DOM_EXC`). Before Xen 4.21, whose
//! `XEN_DOMCTL_get_domain_state` names it, `chaosd` has to read the list of all domains, which takes
//! longer the more there are. One scan for each end would take time that grows with the square of the
//! number of guests. So scans may only take a small share of the time: the first end is handled at
//! once, and one scan finds all ends that follow during the pause.
//!
//! Where xenstored runs, guests with a device page end without any event (`DomainWatch` of
//! `chaos::guests` says why). There a scan is made once a second, too, within the same share of the
//! time.

use std::time::{Duration, Instant};

/// The pause after each scan, as a multiple of the scan's duration.
const PAUSE_FACTOR: u32 = 10;

/// The time between two scans where some ends are not reported.
const INTERVAL: Duration = Duration::from_secs(1);

/// When to scan.
#[derive(Debug, Default)]
pub(crate) struct ScanPace {
    /// Whether a domain may have ended since the last scan.
    ended: bool,
    /// Whether domains may end without a report.
    is_regular: bool,
    pause_until: Option<Instant>,
    /// When the last scan ended.
    scanned: Option<Instant>,
}

impl ScanPace {
    /// Notes that a domain may have ended.
    pub(crate) fn note_end(&mut self) {
        self.ended = true;
    }

    /// Returns whether the end of a domain was noted since the last scan.
    pub(crate) fn has_noted(&self) -> bool {
        self.ended
    }

    /// Has scans made regularly, because domains may end without a report.
    pub(crate) fn scan_regularly(&mut self, is_regular: bool) {
        self.is_regular = is_regular;
    }

    /// Returns whether scans are made regularly.
    pub(crate) fn is_regular(&self) -> bool {
        self.is_regular
    }

    /// Returns when to scan, if a domain may have ended.
    pub(crate) fn next(&self, now: Instant) -> Option<Instant> {
        let next = match self.scanned {
            _ if self.ended => now,
            Some(scanned) if self.is_regular => scanned + INTERVAL,
            None if self.is_regular => now,
            _ => return None,
        };
        Some(self.pause_until.map_or(next, |pause| pause.max(next)))
    }

    /// Returns whether to scan now.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.next(now).is_some_and(|at| at <= now)
    }

    /// Notes the start and the end of a scan.
    pub(crate) fn scanned(&mut self, began: Instant, ended: Instant) {
        let took: Duration = ended.saturating_duration_since(began);
        self.ended = false;
        self.pause_until = Some(ended + took * PAUSE_FACTOR);
        self.scanned = Some(ended);
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

    #[test]
    fn where_ends_are_not_reported_a_scan_is_made_once_a_second_within_the_same_share() {
        let (mut pace, start) = (ScanPace::default(), Instant::now());
        pace.scan_regularly(true);
        assert!(pace.is_due(start), "nothing is known yet");
        pace.scanned(start, start + MS);
        assert_eq!(pace.next(start), Some(start + MS + INTERVAL));
        // An end that is reported is not delayed by that.
        pace.note_end();
        assert!(pace.has_noted());
        assert_eq!(pace.next(start), Some(start + 11 * MS));
        // A scan that takes long is made less often.
        pace.scanned(start, start + 200 * MS);
        assert!(!pace.has_noted());
        assert_eq!(pace.next(start), Some(start + 2200 * MS));
        pace.scan_regularly(false);
        assert_eq!(pace.next(start), None);
    }
}
