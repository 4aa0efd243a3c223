// SPDX-License-Identifier: MIT OR Apache-2.0
//! Counts received frames between two moments.

/// Counts frames: first those that are skipped, then those that are measured.
#[derive(Debug)]
pub struct Counter {
    skip: u64,
    count: u64,
    received: u64,
    /// The last number.
    newest: u64,
    begin: Option<Begin>,
}

/// The state at the beginning of the measurement.
#[derive(Clone, Copy, Debug)]
struct Begin {
    received: u64,
    newest: u64,
    nanoseconds: u64,
}

/// What was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// The frames that were received.
    pub frames: u64,
    /// Those that were sent meanwhile and not received.
    pub lost: u64,
    /// The time that passed.
    pub nanoseconds: u64,
}

impl Counter {
    /// Creates a counter that skips `skip` frames and measures `count` or a few more.
    #[must_use]
    pub fn new(skip: u64, count: u64) -> Self {
        Self { skip, count, received: 0, newest: 0, begin: None }
    }

    /// Counts a frame with this number. Numbers increase: the switch does not reorder frames.
    #[inline]
    pub fn receive(&mut self, number: u64) {
        self.received += 1;
        self.newest = number;
    }

    /// Looks at what was received up to a time, after each batch of frames. Returns the result when
    /// there is one.
    pub fn look(&mut self, nanoseconds: impl FnOnce() -> u64) -> Option<Counted> {
        match self.begin {
            None if self.received > self.skip => {
                let Self { received, newest, .. } = *self;
                self.begin = Some(Begin { received, newest, nanoseconds: nanoseconds() });
                None
            }
            Some(begin) if self.received - begin.received >= self.count => {
                let frames = self.received - begin.received;
                let lost = (self.newest - begin.newest).saturating_sub(frames);
                Some(Counted { frames, lost, nanoseconds: nanoseconds() - begin.nanoseconds })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_counted_after_those_that_are_skipped() {
        let mut counter = Counter::new(2, 3);
        for number in 0..3 {
            assert_eq!(counter.look(|| panic!("there is nothing to measure")), None);
            counter.receive(number);
        }
        assert_eq!(counter.look(|| 100), None);
        // Number 4 is lost.
        for number in [3, 5, 6] {
            assert_eq!(counter.look(|| panic!("there are too few")), None);
            counter.receive(number);
        }
        let counted = Counted { frames: 3, lost: 1, nanoseconds: 50 };
        assert_eq!(counter.look(|| 150), Some(counted));
    }
}
