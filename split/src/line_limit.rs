// SPDX-License-Identifier: GPL-3.0-or-later
//! Limits how many lines of the log a user other than root causes.
//!
//! Such a user can cause a line with each packet. journald drops all lines of a service that writes too
//! many, also those about others, and a file would fill the disk.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::members::ROOT;

/// The most lines about a user in each [`WINDOW`].
const LINES: u32 = 20;

/// The time for which lines are counted.
const WINDOW: Duration = Duration::from_secs(10);

/// The lines of each user. A clone counts the same lines.
#[derive(Clone, Debug, Default)]
pub(crate) struct LineLimit(Arc<Mutex<BTreeMap<u32, Counted>>>);

/// The lines of a user since some time.
#[derive(Clone, Copy, Debug)]
struct Counted {
    since: Instant,
    lines: u32,
}

impl LineLimit {
    /// Counts a line about a user. Returns whether it is to be written. Logs how many of an earlier
    /// time were not.
    pub(crate) fn allows(&self, uid: u32) -> bool {
        if uid == ROOT {
            return true;
        }
        let (allows, left_out) = self.count(uid, Instant::now());
        for (uid, lines) in left_out {
            let seconds = WINDOW.as_secs();
            tracing::warn!(
                "left out {lines} lines about user {uid}, who has caused more than {LINES} in {seconds} s"
            );
        }
        allows
    }

    /// Counts a line. Returns whether it is to be written, and the number of lines of each user that
    /// were left out in a time that is over.
    fn count(&self, uid: u32, now: Instant) -> (bool, Vec<(u32, u32)>) {
        let mut users = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut left_out = Vec::new();
        users.retain(|uid, counted| {
            let is_over = now.saturating_duration_since(counted.since) >= WINDOW;
            if is_over && counted.lines > LINES {
                left_out.push((*uid, counted.lines - LINES));
            }
            !is_over
        });
        let counted = users.entry(uid).or_insert(Counted { since: now, lines: 0 });
        counted.lines = counted.lines.saturating_add(1);
        (counted.lines <= LINES, left_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_causes_few_lines_and_the_log_says_how_many_are_missing() {
        let (limit, start) = (LineLimit::default(), Instant::now());
        for line in 0..100 {
            let (allows, left_out) = limit.count(7, start + WINDOW / 2);
            assert_eq!((allows, left_out), (line < LINES, Vec::new()));
        }
        assert_eq!(limit.count(8, start + WINDOW), (true, Vec::new()), "users are counted apart");
        assert_eq!(limit.count(8, start + WINDOW * 3 / 2), (true, vec![(7, 100 - LINES)]));
        assert_eq!(limit.count(7, start + WINDOW * 3 / 2), (true, Vec::new()));
        for _ in 0..1000 {
            assert!(limit.allows(ROOT));
        }
    }
}
