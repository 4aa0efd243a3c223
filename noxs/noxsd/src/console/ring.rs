//! The backend's end of the ring of `xen/include/public/io/console.h`.
//!
//! Output is taken out no faster than [`OUTPUT_RATE`]: a guest that prints more waits for its own
//! console, and no other guest pays.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::host::memory::SharedMemory;
use crate::turns::bucket::Bucket;

/// Bytes a console may print in each [`OUTPUT_INTERVAL`]: 1 MiB in a second.
pub const OUTPUT_RATE: u64 = 256 * 1024;

/// See [`OUTPUT_RATE`].
pub const OUTPUT_INTERVAL: Duration = Duration::from_millis(250);

/// Bytes of the output ring, and the most that one look at it returns.
pub const OUTPUT_SIZE: usize = 2048;

/// Bytes of the input ring.
const INPUT_SIZE: usize = 1024;

/// Bytes of input that may wait for room in the guest's ring; a client that sends more waits.
pub const INPUT_WAITING: usize = 4096;

/// Offsets in `struct xencons_interface`.
mod layout {
    use super::{INPUT_SIZE, OUTPUT_SIZE};

    pub(super) const IN: usize = 0;
    pub(super) const OUT: usize = IN + INPUT_SIZE;
    pub(super) const IN_CONS: usize = OUT + OUTPUT_SIZE;
    pub(super) const IN_PROD: usize = IN_CONS + 4;
    pub(super) const OUT_CONS: usize = IN_PROD + 4;
    pub(super) const OUT_PROD: usize = OUT_CONS + 4;
}

/// What a guest did that costs it its console.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConsoleFault {
    /// It wrote an output index that a correct frontend cannot write.
    #[error(
        "the guest set the output index of its console to {found}, which is impossible: it is \
         {distance} bytes from {own}, and the ring holds {OUTPUT_SIZE}"
    )]
    OutputIndex {
        /// The guest's index.
        found: u32,
        /// noxsd's own index, up to which output was taken.
        own: u32,
        /// How far they are apart, in bytes.
        distance: u32,
    },
    /// It wrote an input index that a correct frontend cannot write.
    #[error(
        "the guest set the input index of its console to {found}, which is impossible: it is \
         {distance} bytes from {own}, and the ring holds {INPUT_SIZE}"
    )]
    InputIndex {
        /// The guest's index.
        found: u32,
        /// noxsd's own index, up to which input was written.
        own: u32,
        /// How far they are apart, in bytes.
        distance: u32,
    },
}

/// What [`ConsoleRing::take_output`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// The ring is empty.
    Nothing,
    /// That many bytes were taken out.
    Bytes(usize),
    /// There is output, but the guest has printed too much: look again at that time.
    NotBefore(Instant),
}

/// A console's ring, and the input that waits for room in it.
#[derive(Debug)]
pub struct ConsoleRing {
    /// Offset of the ring page in the domain's shared memory.
    base: usize,
    out_cons: u32,
    in_prod: u32,
    rate: Bucket,
    input: VecDeque<u8>,
}

impl ConsoleRing {
    /// Takes up the ring where its indices stand: an earlier noxsd may have served it.
    pub fn attach(memory: &impl SharedMemory, base: usize, now: Instant) -> Self {
        Self {
            base,
            out_cons: memory.load(base + layout::OUT_CONS),
            in_prod: memory.load(base + layout::IN_PROD),
            rate: Bucket::new(OUTPUT_RATE, OUTPUT_INTERVAL, OUTPUT_SIZE as u64, now),
            input: VecDeque::new(),
        }
    }

    /// Takes output out of the ring. If there was some, the guest wants an event.
    ///
    /// # Errors
    /// The guest's index is impossible.
    pub fn take_output(
        &mut self,
        memory: &impl SharedMemory,
        output: &mut [u8; OUTPUT_SIZE],
        now: Instant,
    ) -> Result<Output, ConsoleFault> {
        // `load` acquires: the bytes are read after the index that covers them.
        let found = memory.load(self.base + layout::OUT_PROD);
        let own = self.out_cons;
        let length = distance(found, own, OUTPUT_SIZE)
            .map_err(|distance| ConsoleFault::OutputIndex { found, own, distance })?;
        if length == 0 {
            return Ok(Output::Nothing);
        }
        if let Err(later) = self.rate.take(length as u64, now) {
            return Ok(Output::NotBefore(later));
        }
        let start = self.out_cons as usize % OUTPUT_SIZE;
        let first = length.min(OUTPUT_SIZE - start);
        memory.read(self.base + layout::OUT + start, &mut output[..first]);
        memory.read(self.base + layout::OUT, &mut output[first..length]);
        // `store` releases: the bytes are read before the guest sees that it may overwrite them.
        self.out_cons = found;
        memory.store(self.base + layout::OUT_CONS, found);
        Ok(Output::Bytes(length))
    }

    /// Returns how many bytes of input may be queued.
    #[must_use]
    pub fn input_room(&self) -> usize {
        INPUT_WAITING.saturating_sub(self.input.len())
    }

    /// Queues input for the guest; what exceeds [`input_room`](Self::input_room) is lost.
    pub fn queue_input(&mut self, input: &[u8]) {
        let room = self.input_room();
        self.input.extend(input.iter().take(room));
    }

    /// Moves queued input into the ring and returns how many bytes. If that is not 0, the guest
    /// wants an event.
    ///
    /// # Errors
    /// The guest's index is impossible.
    pub fn give_input(&mut self, memory: &impl SharedMemory) -> Result<usize, ConsoleFault> {
        if self.input.is_empty() {
            return Ok(0);
        }
        // `load` acquires: the guest has read the bytes that its index has passed before we
        // overwrite them.
        let found = memory.load(self.base + layout::IN_CONS);
        let own = self.in_prod;
        let used = distance(own, found, INPUT_SIZE)
            .map_err(|distance| ConsoleFault::InputIndex { found, own, distance })?;
        let length = self.input.len().min(INPUT_SIZE - used);
        for _ in 0..length {
            let Some(byte) = self.input.pop_front() else { break };
            let at = self.in_prod as usize % INPUT_SIZE;
            memory.write(self.base + layout::IN + at, &[byte]);
            self.in_prod = self.in_prod.wrapping_add(1);
        }
        // `store` releases: a guest that sees the index sees the bytes.
        memory.store(self.base + layout::IN_PROD, self.in_prod);
        if self.input.is_empty() {
            // Most consoles are typed at once and never again: free their memory.
            self.input = VecDeque::new();
        }
        Ok(length)
    }
}

/// Returns how many bytes of a ring of `size` are in use.
///
/// # Errors
/// The indices are farther apart than the ring is large: by how much.
fn distance(producer: u32, consumer: u32, size: usize) -> Result<usize, u32> {
    let distance = producer.wrapping_sub(consumer);
    if distance as usize > size { Err(distance) } else { Ok(distance as usize) }
}

#[cfg(test)]
pub(crate) mod frontend {
    //! The guest's end, for tests.

    use super::{INPUT_SIZE, OUTPUT_SIZE, layout};
    use crate::host::fake::FakeMemory;
    use crate::host::memory::SharedMemory;

    /// Prints as much as fits and returns how much that was.
    pub(crate) fn print(page: &FakeMemory, text: &[u8]) -> usize {
        let (mut prod, cons) = (page.load(layout::OUT_PROD), page.load(layout::OUT_CONS));
        let room = OUTPUT_SIZE - prod.wrapping_sub(cons) as usize;
        let text = &text[..text.len().min(room)];
        for byte in text {
            page.write(layout::OUT + prod as usize % OUTPUT_SIZE, &[*byte]);
            prod = prod.wrapping_add(1);
        }
        page.store(layout::OUT_PROD, prod);
        text.len()
    }

    pub(crate) fn set_output_index(page: &FakeMemory, index: u32) {
        page.store(layout::OUT_PROD, index);
    }

    pub(crate) fn set_input_index(page: &FakeMemory, index: u32) {
        page.store(layout::IN_CONS, index);
    }

    pub(crate) fn input(page: &FakeMemory) -> Vec<u8> {
        let (prod, mut cons) = (page.load(layout::IN_PROD), page.load(layout::IN_CONS));
        let mut bytes = Vec::new();
        while cons != prod {
            let mut byte = [0];
            page.read(layout::IN + cons as usize % INPUT_SIZE, &mut byte);
            bytes.push(byte[0]);
            cons = cons.wrapping_add(1);
        }
        page.store(layout::IN_CONS, cons);
        bytes
    }
}

#[cfg(test)]
#[path = "ring_tests.rs"]
mod tests;
