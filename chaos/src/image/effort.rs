// SPDX-License-Identifier: GPL-3.0-or-later
//! How much CPU time a kernel may take to unpack.
//!
//! Packed data can be such that each byte takes a thousand times longer than in any real kernel, for
//! example gzip blocks that define a code and contain no data. The time that counts is the CPU time
//! of the thread: it does not pass faster when other processes use the machine.

use std::cell::Cell;
use std::io::{self, BufRead, Read};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// The most CPU time that a kernel may take to unpack. A Linux kernel of 9 MiB in xz takes about a
/// second, and up to fifty times as long on an emulated machine.
pub(super) const MAX_CPU_TIME: Duration = Duration::from_secs(120);

/// Bytes of packed data between two looks at the clock. The slowest known ones take 12 ms.
const CHUNK: usize = 4 << 10;

/// The CPU time that this thread may use.
#[derive(Debug)]
pub(super) struct Effort {
    /// On the clock of the thread.
    end: Duration,
    is_exceeded: Cell<bool>,
}

impl Effort {
    /// Returns an effort of at most `most`, which begins now.
    pub(super) fn new(most: Duration) -> Self {
        Self { end: cpu_time().saturating_add(most), is_exceeded: Cell::new(false) }
    }

    /// Returns whether a reader has failed because the time was used up. The error itself does not
    /// say so, because decoders replace it.
    pub(super) fn is_exceeded(&self) -> bool {
        self.is_exceeded.get()
    }

    fn check(&self) -> io::Result<()> {
        if cpu_time() < self.end {
            return Ok(());
        }
        self.is_exceeded.set(true);
        Err(io::Error::other("the CPU time is used up"))
    }
}

/// Returns the CPU time that this thread has used.
fn cpu_time() -> Duration {
    // Cannot fail: each thread has this clock. If it did, the time would never be used up.
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

/// Packed data, which end with an error when the time is used up.
#[derive(Debug)]
pub(super) struct Packed<'a> {
    rest: &'a [u8],
    /// Bytes until the next look at the clock.
    unchecked: usize,
    effort: &'a Effort,
}

impl<'a> Packed<'a> {
    pub(super) fn new(packed: &'a [u8], effort: &'a Effort) -> Self {
        Self { rest: packed, unchecked: CHUNK, effort }
    }
}

impl BufRead for Packed<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.unchecked == 0 {
            self.effort.check()?;
            self.unchecked = CHUNK;
        }
        Ok(&self.rest[..self.rest.len().min(self.unchecked)])
    }

    fn consume(&mut self, count: usize) {
        self.rest = &self.rest[count..];
        self.unchecked -= count;
    }
}

impl Read for Packed<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(bytes)?;
        self.consume(count);
        Ok(count)
    }
}

/// Unpacked data, which end with an error when the time is used up: little packed data can unpack to
/// much.
#[derive(Debug)]
pub(super) struct Unpacked<'a, R> {
    decoder: R,
    effort: &'a Effort,
}

impl<'a, R> Unpacked<'a, R> {
    pub(super) fn new(decoder: R, effort: &'a Effort) -> Self {
        Self { decoder, effort }
    }
}

impl<R: Read> Read for Unpacked<'_, R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.effort.check()?;
        self.decoder.read(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_data_are_read_in_full_within_the_time_and_end_after_it() {
        let bytes: Vec<u8> = (0..3 * CHUNK + 5).map(|number| number.to_le_bytes()[0]).collect();
        let enough = Effort::new(Duration::from_secs(60));
        let mut read = Vec::new();
        Packed::new(&bytes, &enough).read_to_end(&mut read).unwrap();
        assert!(read == bytes && !enough.is_exceeded());
        let none = Effort::new(Duration::ZERO);
        assert!(Packed::new(&bytes, &none).read_to_end(&mut Vec::new()).is_err());
        assert!(none.is_exceeded());
        let none = Effort::new(Duration::ZERO);
        assert!(Unpacked::new(io::repeat(1), &none).read_to_end(&mut Vec::new()).is_err());
        assert!(none.is_exceeded());
    }

    #[test]
    fn time_in_which_the_thread_waits_does_not_count() {
        let begun = cpu_time();
        let (_sender, receiver) = std::sync::mpsc::channel::<()>();
        assert!(receiver.recv_timeout(Duration::from_millis(300)).is_err());
        assert!(cpu_time() - begun < Duration::from_millis(200));
    }
}
