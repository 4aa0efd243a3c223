// SPDX-License-Identifier: GPL-3.0-or-later
//! A limit on the lines of the log that guests cause.

use std::time::{Duration, Instant};

use super::bucket::Bucket;

/// Lines that are written in each [`INTERVAL`].
pub const LINES: u64 = 20;

/// See [`LINES`].
pub const INTERVAL: Duration = Duration::from_secs(10);

/// Lets some lines pass, and counts the others.
#[derive(Debug)]
pub struct LogLimit {
    bucket: Bucket,
    missing: u64,
}

impl LogLimit {
    /// Creates a limit of which nothing is used.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { bucket: Bucket::new(LINES, INTERVAL, 1, now), missing: 0 }
    }

    /// Returns whether a line may be written. Writes before it how many are missing.
    pub fn allows(&mut self, now: Instant) -> bool {
        let missing = self.take(now);
        if let Some(missing @ 1..) = missing {
            let seconds = INTERVAL.as_secs();
            tracing::warn!(
                "{missing} lines about guests are missing here: at most {LINES} are written in \
                 {seconds} s"
            );
        }
        missing.is_some()
    }

    /// Returns how many lines are missing before the one that may be written now; `None` if none
    /// may.
    fn take(&mut self, now: Instant) -> Option<u64> {
        if self.bucket.take(1, now).is_err() {
            self.missing += 1;
            return None;
        }
        Some(std::mem::take(&mut self.missing))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_about_guests_are_limited_and_the_log_says_how_many_are_missing() {
        let now = Instant::now();
        let mut limit = LogLimit::new(now);
        for _ in 0..LINES {
            assert_eq!(limit.take(now), Some(0));
        }
        for _ in 0..3 {
            assert_eq!(limit.take(now), None);
        }
        let later = now + INTERVAL;
        assert_eq!(limit.take(later), Some(3));
        assert_eq!(limit.take(later), Some(0));
    }
}
