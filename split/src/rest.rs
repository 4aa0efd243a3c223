// SPDX-License-Identifier: GPL-3.0-or-later
//! Limits the share of the main thread's time that users other than root take.
//!
//! A guest of a gigabyte takes a third of a second to build, and root's requests and restarts wait
//! meanwhile. So after a long turn for such a user, a request or a restart, others of theirs wait for a
//! multiple of that time.

use std::time::{Duration, Instant};

/// The longest turn without a rest after it. An ordinary create takes less.
const SHORT: Duration = Duration::from_millis(20);

/// The rest after a longer one, as a multiple of the turn: these users take a quarter of the time at
/// most.
const REST_FACTOR: u32 = 3;

/// The longest rest.
const LONGEST: Duration = Duration::from_secs(5);

/// When users other than root have their next turn.
#[derive(Debug, Default)]
pub(crate) struct MemberRest {
    until: Option<Instant>,
}

impl MemberRest {
    /// Notes the start and the end of a turn of such a user.
    pub(crate) fn had_turn(&mut self, began: Instant, ended: Instant) {
        let took = ended.saturating_duration_since(began);
        if took > SHORT {
            self.until = Some(ended + (took * REST_FACTOR).min(LONGEST));
        }
    }

    /// Returns whether these users wait now.
    pub(crate) fn is_on(&self, now: Instant) -> bool {
        self.ends(now).is_some()
    }

    /// Returns when the rest ends, if it has not ended yet.
    pub(crate) fn ends(&self, now: Instant) -> Option<Instant> {
        self.until.filter(|until| now < *until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn long_turns_take_a_quarter_of_the_time_and_short_ones_have_no_rest() {
        let (mut rest, start) = (MemberRest::default(), Instant::now() + Duration::from_secs(1));
        rest.had_turn(start - 20 * MS, start);
        assert!(!rest.is_on(start));
        assert_eq!(rest.ends(start), None);
        rest.had_turn(start - 300 * MS, start);
        assert!(rest.is_on(start + 899 * MS));
        assert_eq!(rest.ends(start), Some(start + 900 * MS));
        assert!(!rest.is_on(start + 900 * MS));
        rest.had_turn(start + 899 * MS, start + 900 * MS);
        assert!(!rest.is_on(start + 901 * MS));
        let later = start + Duration::from_secs(100);
        rest.had_turn(start, later);
        assert!(!rest.is_on(later + LONGEST), "a rest has an end");
    }
}
