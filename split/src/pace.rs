//! How often all domains are looked through.
//!
//! Xen reports that some domain has ended, not which one (`VIRQ_DOM_EXC`;
//! `XEN_DOMCTL_get_domain_state`, which names it, is newer than Xen 4.20). The list of all domains
//! shows it, and takes the longer the more there are. Read for each end, it would make the time for
//! the ends of many guests grow with the square of their number. So only a small share of all time is
//! spent on it: the first end is looked for at once, those that follow are found together.

use std::time::{Duration, Instant};

/// The pause after each look, in times of what the look took.
const REST: u32 = 10;

/// When to look.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// A domain may have ended since the last look.
    ended: bool,
    rest_until: Option<Instant>,
}

impl Pace {
    /// Notes that a domain may have ended.
    pub(crate) fn note_end(&mut self) {
        self.ended = true;
    }

    /// Returns when to look, if a domain may have ended.
    pub(crate) fn next(&self, now: Instant) -> Option<Instant> {
        self.ended.then(|| self.rest_until.unwrap_or(now))
    }

    /// Returns whether to look now.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.next(now).is_some_and(|at| at <= now)
    }

    /// Notes a look, which began and ended then.
    pub(crate) fn looked(&mut self, began: Instant, ended: Instant) {
        let took: Duration = ended.saturating_duration_since(began);
        *self = Self { ended: false, rest_until: Some(ended + took * REST) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_first_end_is_looked_for_at_once_and_those_that_follow_together() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        assert_eq!(pace.next(start), None, "no end was noted");
        pace.note_end();
        assert!(pace.is_due(start));
        pace.looked(start, start + 2 * MS);
        assert_eq!(pace.next(start + 3 * MS), None);
        pace.note_end();
        pace.note_end();
        assert!(!pace.is_due(start + 3 * MS));
        assert_eq!(pace.next(start + 3 * MS), Some(start + 22 * MS));
        assert!(pace.is_due(start + 22 * MS));
        pace.looked(start + 22 * MS, start + 24 * MS);
        assert_eq!(pace.next(start + 60 * MS), None);
        pace.note_end();
        assert!(pace.is_due(start + 60 * MS), "it has rested long enough");
    }
}
