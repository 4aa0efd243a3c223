//! How often all domains are looked through.
//!
//! Xen tells that some domain has ended, not which one (`VIRQ_DOM_EXC`; `XEN_DOMCTL_get_domain_state`,
//! which would, is newer than Xen 4.20): the list of all of them does, and it takes the longer the
//! more there are. If that were done for each end, the end of many guests would take a time that grows
//! with the square of their number. So what is spent on it is a small share of all time: the first
//! end is looked for at once, those that follow are found together.

use std::time::{Duration, Instant};

/// After each look comes a rest of so many times what it took.
const REST: u32 = 10;

/// When to look.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// A domain may have ended since the last look.
    told: bool,
    rest_until: Option<Instant>,
}

impl Pace {
    /// A domain may have ended.
    pub(crate) fn tell(&mut self) {
        self.told = true;
    }

    /// When to look, if there is a reason to.
    pub(crate) fn next(&self, now: Instant) -> Option<Instant> {
        self.told.then(|| self.rest_until.unwrap_or(now))
    }

    /// Whether to look now.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.next(now).is_some_and(|at| at <= now)
    }

    /// There was a look, which began and ended then.
    pub(crate) fn looked(&mut self, began: Instant, ended: Instant) {
        let took: Duration = ended.saturating_duration_since(began);
        *self = Self { told: false, rest_until: Some(ended + took * REST) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_first_end_is_looked_for_at_once_and_those_that_follow_together() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        assert_eq!(pace.next(start), None, "nobody has told of an end");
        pace.tell();
        assert!(pace.is_due(start));
        pace.looked(start, start + 2 * MS);
        assert_eq!(pace.next(start + 3 * MS), None);
        pace.tell();
        pace.tell();
        assert!(!pace.is_due(start + 3 * MS));
        assert_eq!(pace.next(start + 3 * MS), Some(start + 22 * MS));
        assert!(pace.is_due(start + 22 * MS));
        pace.looked(start + 22 * MS, start + 24 * MS);
        assert_eq!(pace.next(start + 60 * MS), None);
        pace.tell();
        assert!(pace.is_due(start + 60 * MS), "it has rested long enough");
    }
}
