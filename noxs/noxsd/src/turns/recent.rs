// SPDX-License-Identifier: GPL-3.0-or-later
//! Who was served lately, so that a guest gets large batches only while it is alone.
//!
//! A large batch costs the least for each frame, but another guest's frame that comes during the
//! batch waits until its end.

use std::time::{Duration, Instant};

/// How long a turn counts as lately.
const LATELY: Duration = Duration::from_millis(10);

/// The last turns of the last two owners that had any.
#[derive(Debug)]
pub struct Recent<T> {
    last: Option<(T, Instant)>,
    before: Option<(T, Instant)>,
}

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Self { last: None, before: None }
    }
}

impl<T: Copy + PartialEq> Recent<T> {
    /// Records a turn of `owner`. Returns whether another owner had one lately.
    pub fn serve(&mut self, owner: T, now: Instant) -> bool {
        if self.last.is_some_and(|(last, _)| last != owner) {
            self.before = self.last;
        }
        self.last = Some((owner, now));
        self.is_shared(now)
    }

    /// Returns whether two owners had a turn lately.
    pub fn is_shared(&self, now: Instant) -> bool {
        self.before.is_some_and(|(_, time)| now.saturating_duration_since(time) < LATELY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_alone_once_no_other_had_a_turn_for_long() {
        let mut now = Instant::now();
        let mut recent = Recent::default();
        assert!(!recent.serve('a', now));
        assert!(!recent.serve('a', now));
        assert!(recent.serve('b', now));
        assert!(recent.serve('a', now));
        now += LATELY / 2;
        assert!(recent.serve('a', now), "b was served lately");
        now += LATELY / 2;
        assert!(!recent.serve('a', now));
        assert!(recent.serve('b', now), "a was");
    }
}
