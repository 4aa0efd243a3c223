// SPDX-License-Identifier: GPL-3.0-or-later
//! noxsd's ends of a console's two rings, and their limits.
//!
//! Output is taken out no faster than [`OUTPUT_RATE`]: a guest that prints more waits for its own
//! console, and no other guest pays for it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use xen_abi::io::console::{IN_SIZE, OUT_SIZE};
use xen_ring::{BrokenStream, ConsoleInput, ConsoleOutput, Consumer, Producer, SharedPage};

use crate::turns::bucket::Bucket;

/// Bytes that a console may print in each [`OUTPUT_INTERVAL`]: 1 MiB per second.
pub const OUTPUT_RATE: u64 = 256 * 1024;

/// See [`OUTPUT_RATE`].
pub const OUTPUT_INTERVAL: Duration = Duration::from_millis(250);

/// Bytes of the output ring, and the most that [`ConsoleRing::take_output`] takes at once.
pub const OUTPUT_SIZE: usize = OUT_SIZE;

/// Bytes of input that may wait for room in the guest's ring; a client that sends more waits.
pub const INPUT_WAITING: usize = 4096;

/// What a guest did that costs it its console.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConsoleFault {
    /// It wrote an output index that a correct front end cannot write.
    #[error(
        "the guest set the output index of its console to {}, which is impossible: it is {} bytes \
         from {}, and the ring holds {OUT_SIZE}",
        .0.found, .0.distance, .0.own
    )]
    OutputIndex(BrokenStream),
    /// It wrote an input index that a correct front end cannot write.
    #[error(
        "the guest set the input index of its console to {}, which is impossible: it is {} bytes \
         from {}, and the ring holds {IN_SIZE}",
        .0.found, .0.distance, .0.own
    )]
    InputIndex(BrokenStream),
}

/// What [`ConsoleRing::take_output`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// The ring is empty.
    Nothing,
    /// That many bytes were taken out.
    Bytes(usize),
    /// There is output, but the guest has printed too much: try again at that time.
    NotBefore(Instant),
}

/// A console's rings, and the input that waits for room.
#[derive(Debug)]
pub struct ConsoleRing {
    output: Consumer<ConsoleOutput>,
    input: Producer<ConsoleInput>,
    rate: Bucket,
    waiting: VecDeque<u8>,
}

impl ConsoleRing {
    /// Continues where the rings' indices stand, because an earlier noxsd may have served them.
    /// `base` is the offset of the console's page in the memory, in bytes.
    pub fn attach(memory: &impl SharedPage, base: usize, now: Instant) -> Self {
        Self {
            output: Consumer::attach(memory, base),
            input: Producer::attach(memory, base),
            rate: Bucket::new(OUTPUT_RATE, OUTPUT_INTERVAL, OUTPUT_SIZE as u64, now),
            waiting: VecDeque::new(),
        }
    }

    /// Takes output out of the ring. If there was some, the guest wants an event.
    ///
    /// # Errors
    /// The guest's index is impossible.
    pub fn take_output(
        &mut self,
        memory: &impl SharedPage,
        output: &mut [u8; OUTPUT_SIZE],
        now: Instant,
    ) -> Result<Output, ConsoleFault> {
        let length = self.output.available(memory).map_err(ConsoleFault::OutputIndex)?;
        if length == 0 {
            return Ok(Output::Nothing);
        }
        if let Err(later) = self.rate.take(length as u64, now) {
            return Ok(Output::NotBefore(later));
        }
        self.output.take(memory, &mut output[..length]);
        Ok(Output::Bytes(length))
    }

    /// Returns how many bytes of input may be queued.
    #[must_use]
    pub fn input_room(&self) -> usize {
        INPUT_WAITING.saturating_sub(self.waiting.len())
    }

    /// Queues input for the guest; what exceeds [`input_room`](Self::input_room) is lost.
    pub fn queue_input(&mut self, input: &[u8]) {
        let room = self.input_room();
        self.waiting.extend(input.iter().take(room));
    }

    /// Moves queued input into the ring and returns how many bytes. If that is not 0, the guest
    /// wants an event.
    ///
    /// # Errors
    /// The guest's index is impossible.
    pub fn put_input(&mut self, memory: &impl SharedPage) -> Result<usize, ConsoleFault> {
        if self.waiting.is_empty() {
            return Ok(0);
        }
        let waiting = self.waiting.make_contiguous();
        let length = self.input.put(memory, waiting).map_err(ConsoleFault::InputIndex)?;
        self.waiting.drain(..length);
        if self.waiting.is_empty() {
            // Most consoles receive input once and never again: free the memory.
            self.waiting = VecDeque::new();
        }
        Ok(length)
    }
}

#[cfg(test)]
#[path = "ring_tests.rs"]
mod tests;
