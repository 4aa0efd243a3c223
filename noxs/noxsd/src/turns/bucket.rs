// SPDX-License-Identifier: GPL-3.0-or-later
//! A limit on a rate: a token bucket.

use std::time::{Duration, Instant};

/// A token bucket, which fills at a constant rate and holds at most one interval's amount.
#[derive(Debug)]
pub struct Bucket {
    /// Tokens that flow in during one interval, and most tokens that the bucket holds.
    amount: u64,
    interval: Duration,
    tokens: u64,
    /// Time up to which `tokens` is counted.
    filled: Instant,
}

impl Bucket {
    /// Creates a full bucket that lets `amount` tokens pass in each `interval`. The bucket holds at
    /// least `least` tokens, so that a single frame of that size passes once it has waited long
    /// enough.
    pub fn new(amount: u64, interval: Duration, least: u64, now: Instant) -> Self {
        // Enlarge amount and interval by the same factor: the mean rate stays the same.
        let larger = least.max(1).div_ceil(amount.max(1)).max(1);
        let factor = u32::try_from(larger).unwrap_or(u32::MAX);
        let amount = amount.max(1).saturating_mul(u64::from(factor));
        let interval = interval.max(Duration::from_micros(1)).saturating_mul(factor);
        Self { amount, interval, tokens: amount, filled: now }
    }

    /// Takes `count` tokens, or none if there are fewer. If `count` is more than the bucket can
    /// hold, takes a whole bucket.
    ///
    /// # Errors
    /// There are too few tokens: returns the time at which there will be enough.
    pub fn take(&mut self, count: u64, now: Instant) -> Result<(), Instant> {
        let count = count.min(self.amount);
        self.fill(now);
        if let Some(rest) = self.tokens.checked_sub(count) {
            self.tokens = rest;
            return Ok(());
        }
        let missing = u128::from(count - self.tokens);
        let nanos = (missing * self.interval.as_nanos()).div_ceil(u128::from(self.amount));
        Err(self.filled + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX / 2)))
    }

    /// Takes `count` tokens, or none if there are fewer. If `count` is more than the bucket can
    /// hold, takes a whole bucket, and the rest of what flows in next.
    ///
    /// # Errors
    /// There are too few tokens: returns the time at which there will be enough.
    pub fn take_in_advance(&mut self, count: u64, now: Instant) -> Result<(), Instant> {
        self.take(count, now)?;
        let rest = u128::from(count.saturating_sub(self.amount));
        let nanos = (rest * self.interval.as_nanos()).div_ceil(u128::from(self.amount));
        // Nothing flows in before that time.
        self.filled += Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX / 2));
        Ok(())
    }

    /// Returns how many tokens could be taken now.
    pub fn level(&mut self, now: Instant) -> u64 {
        self.fill(now);
        self.tokens
    }

    fn fill(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.filled);
        if elapsed >= self.interval {
            self.tokens = self.amount;
            self.filled = now;
            return;
        }
        let new = elapsed.as_nanos() * u128::from(self.amount) / self.interval.as_nanos();
        // Advance by the time of whole tokens only; the rest counts towards the next token.
        let used = (new * self.interval.as_nanos()).div_ceil(u128::from(self.amount));
        let (Ok(new), Ok(used)) = (u64::try_from(new), u64::try_from(used)) else { return };
        self.tokens = self.tokens.saturating_add(new).min(self.amount);
        self.filled += Duration::from_nanos(used);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn what_is_taken_in_advance_does_not_raise_the_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::new(1000, 10 * MS, 1, start);
        bucket.take_in_advance(5000, start).unwrap();
        // 4000 more flow in during 40 ms, and then what is asked for.
        assert_eq!(bucket.take_in_advance(100, start + 30 * MS), Err(start + 41 * MS));
        assert_eq!(bucket.level(start + 40 * MS), 0);
        assert_eq!(bucket.take_in_advance(5000, start + 40 * MS), Err(start + 50 * MS));
        bucket.take_in_advance(5000, start + 50 * MS).unwrap();
        bucket.take_in_advance(1000, start + 100 * MS).unwrap();
    }

    #[test]
    fn over_a_long_time_the_rate_is_exact() {
        let start = Instant::now();
        let mut bucket = Bucket::new(1000, 10 * MS, 1, start);
        let mut now = start;
        let mut passed = 0;
        while now < start + 1000 * MS {
            match bucket.take(300, now) {
                Ok(()) => passed += 300,
                Err(later) => {
                    assert!(later > now);
                    now = later;
                }
            }
        }
        // 100 intervals of 1000 tokens, and the bucket that was full at first.
        assert!((99_000..=101_300).contains(&passed), "{passed}");
    }

    #[test]
    fn at_the_returned_time_there_are_enough_tokens() {
        let now = Instant::now();
        let mut bucket = Bucket::new(7, 3 * MS, 1, now);
        bucket.take(7, now).unwrap();
        let later = bucket.take(5, now).unwrap_err();
        assert!(bucket.take(5, later).is_ok());
    }

    #[test]
    fn a_frame_larger_than_the_bucket_still_passes() {
        let now = Instant::now();
        let mut bucket = Bucket::new(10, MS, 1514, now);
        assert!(bucket.take(1514, now).is_ok());
        let later = bucket.take(1514, now).unwrap_err();
        // 1514 bytes at 10 per millisecond; the rest of the first bucket counts.
        assert!(later - now >= 150 * MS && later - now <= 152 * MS, "{:?}", later - now);
        assert!(bucket.take(u64::MAX, now + 200 * MS).is_ok());
    }

    #[test]
    fn extreme_rates_do_not_panic() {
        let now = Instant::now();
        for (amount, interval) in [(0, 0), (u64::MAX, u64::MAX), (1, u64::MAX), (u64::MAX, 0)] {
            let mut bucket = Bucket::new(amount, Duration::from_micros(interval), 1514, now);
            let _ = bucket.take(1514, now);
            if let Err(later) = bucket.take(u64::MAX, now + MS) {
                let _ = bucket.take(1, later);
            }
        }
    }
}
