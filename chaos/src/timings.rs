// SPDX-License-Identifier: GPL-3.0-or-later
//! Measures the stages of an operation.

use std::time::{Duration, Instant};

use serde::Serialize;

/// The stages of one operation so far, in order.
#[derive(Clone, Debug)]
pub struct Timings {
    started: Instant,
    last: Instant,
    stages: Vec<Stage>,
}

/// A stage of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Stage {
    /// Its name.
    pub name: &'static str,
    /// Its duration in nanoseconds.
    pub ns: u64,
}

impl Timings {
    /// Starts the clock of an operation.
    #[must_use]
    pub fn start() -> Self {
        let now = Instant::now();
        Self { started: now, last: now, stages: Vec::with_capacity(24) }
    }

    /// Ends a stage, which began at the end of the stage before.
    pub fn stage(&mut self, name: &'static str) {
        let now = Instant::now();
        self.stages.push(Stage { name, ns: nanoseconds(now - self.last) });
        self.last = now;
    }

    /// Excludes the time since the last stage from the next one.
    pub fn pause(&mut self) {
        self.last = Instant::now();
    }

    /// Returns the stages so far.
    #[must_use]
    pub fn stages(&self) -> &[Stage] {
        &self.stages
    }

    /// Returns the time from the start to the end of the last stage, in nanoseconds.
    #[must_use]
    pub fn total_ns(&self) -> u64 {
        nanoseconds(self.last - self.started)
    }
}

/// Returns a duration in nanoseconds; the largest number if it is longer than 584 years.
fn nanoseconds(duration: Duration) -> u64 {
    let seconds = duration.as_secs().saturating_mul(1_000_000_000);
    seconds.saturating_add(duration.subsec_nanos().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_the_sum_of_the_stages() {
        let mut timings = Timings::start();
        timings.stage("first");
        timings.stage("second");
        let sum: u64 = timings.stages().iter().map(|stage| stage.ns).sum();
        assert_eq!(timings.stages().len(), 2);
        assert_eq!(sum, timings.total_ns());
    }
}
