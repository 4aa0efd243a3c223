//! The console backend: the ring of `xen/include/public/io/console.h`.
//!
//! Output goes to the log and to the client that watches. It is taken from the ring no faster than
//! [`OUTPUT_RATE`]: a guest that prints more waits for its own console, and nobody else pays.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::console::log::ConsoleLog;
use crate::host::memory::SharedMemory;
use crate::turns::bucket::Bucket;

/// Bytes a console may print in each [`OUTPUT_INTERVAL`]: 1 MiB in a second.
pub const OUTPUT_RATE: u64 = 256 * 1024;

/// See [`OUTPUT_RATE`].
pub const OUTPUT_INTERVAL: Duration = Duration::from_millis(250);

/// Bytes of the output ring, and the most that one look at it gives.
pub const OUTPUT_SIZE: usize = 2048;

/// Bytes of the input ring.
const INPUT_SIZE: usize = 1024;

/// Input that waits for room in the guest's ring; who sends more has to wait.
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

/// The guest wrote a console index that no correct frontend can write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the console's {which} index {found} is impossible: it is {distance} bytes from {own}")]
pub struct BrokenConsole {
    which: &'static str,
    found: u32,
    own: u32,
    distance: u32,
}

/// What a look at the output ring gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// There is nothing.
    Nothing,
    /// So many bytes were taken out.
    Bytes(usize),
    /// There is something, but the guest has printed too much lately.
    NotBefore(Instant),
}

/// A console's state on this side.
#[derive(Debug)]
pub struct Console {
    /// Offset of the ring page in the domain's shared memory.
    base: usize,
    out_cons: u32,
    in_prod: u32,
    rate: Bucket,
    input: VecDeque<u8>,
    /// Where the output is kept.
    pub log: ConsoleLog,
}

impl Console {
    /// Takes up the ring where its indices stand.
    pub fn attach(memory: &impl SharedMemory, base: usize, log: ConsoleLog, now: Instant) -> Self {
        Self {
            base,
            out_cons: memory.load(base + layout::OUT_CONS),
            in_prod: memory.load(base + layout::IN_PROD),
            rate: Bucket::new(OUTPUT_RATE, OUTPUT_INTERVAL, OUTPUT_SIZE as u64, now),
            input: VecDeque::new(),
            log,
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
    ) -> Result<Output, BrokenConsole> {
        // `load` acquires: the bytes are read after the index that covers them.
        let found = memory.load(self.base + layout::OUT_PROD);
        let length = distance("output", found, self.out_cons, OUTPUT_SIZE)?;
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

    /// How much input may be queued.
    #[must_use]
    pub fn input_room(&self) -> usize {
        INPUT_WAITING.saturating_sub(self.input.len())
    }

    /// Queues input for the guest; what exceeds [`input_room`](Self::input_room) is lost.
    pub fn queue_input(&mut self, input: &[u8]) {
        let room = self.input_room();
        self.input.extend(input.iter().take(room));
    }

    /// Moves queued input into the ring and gives how many bytes; if there were some, the guest
    /// wants an event.
    ///
    /// # Errors
    /// The guest's index is impossible.
    pub fn give_input(&mut self, memory: &impl SharedMemory) -> Result<usize, BrokenConsole> {
        if self.input.is_empty() {
            return Ok(0);
        }
        // `load` acquires: the guest has read the bytes that its index has passed before we
        // overwrite them.
        let consumed = memory.load(self.base + layout::IN_CONS);
        let used = distance("input", self.in_prod, consumed, INPUT_SIZE)?;
        let length = self.input.len().min(INPUT_SIZE - used);
        for _ in 0..length {
            let Some(byte) = self.input.pop_front() else { break };
            let at = self.in_prod as usize % INPUT_SIZE;
            memory.write(self.base + layout::IN + at, &[byte]);
            self.in_prod = self.in_prod.wrapping_add(1);
        }
        // `store` releases: whoever sees the index sees the bytes.
        memory.store(self.base + layout::IN_PROD, self.in_prod);
        if self.input.is_empty() {
            // Most consoles are typed at once and never again: their memory goes back.
            self.input = VecDeque::new();
        }
        Ok(length)
    }
}

/// Bytes between two indices of a ring of `size` bytes.
fn distance(
    which: &'static str,
    producer: u32,
    consumer: u32,
    size: usize,
) -> Result<usize, BrokenConsole> {
    let distance = producer.wrapping_sub(consumer);
    if distance as usize > size {
        let (found, own) =
            if which == "output" { (producer, consumer) } else { (consumer, producer) };
        return Err(BrokenConsole { which, found, own, distance });
    }
    Ok(distance as usize)
}

#[cfg(test)]
pub(crate) mod frontend {
    //! The guest's end, for tests.

    use super::{INPUT_SIZE, OUTPUT_SIZE, layout};
    use crate::host::memory::SharedMemory;
    use crate::host::memory::fake::FakeMemory;

    /// Prints as much as fits and gives how much that was.
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
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::host::memory::fake::FakeMemory;

    fn log() -> ConsoleLog {
        let path = std::env::temp_dir().join(format!(
            "noxsd-console-{:?}-{}",
            std::thread::current().id(),
            std::process::id()
        ));
        let mut options = std::fs::OpenOptions::new();
        let file = options.read(true).append(true).create(true).open(&path).unwrap();
        let _ = std::fs::remove_file(&path);
        ConsoleLog::new(file.into()).unwrap()
    }

    fn console(page: &FakeMemory, now: Instant) -> Console {
        Console::attach(page, 0, log(), now)
    }

    #[test]
    fn output_wraps_around_the_ring() {
        let page = FakeMemory::new(1);
        let now = Instant::now();
        for start in [0, 2000, u32::MAX - 10] {
            page.store(layout::OUT_CONS, start);
            page.store(layout::OUT_PROD, start);
            let mut console = console(&page, now);
            let mut buffer = [0; OUTPUT_SIZE];
            let text: Vec<u8> = (0..3000u32).map(|i| (i % 251).to_le_bytes()[0]).collect();
            assert_eq!(frontend::print(&page, &text), OUTPUT_SIZE);
            let taken = console.take_output(&page, &mut buffer, now);
            assert_eq!(taken, Ok(Output::Bytes(OUTPUT_SIZE)));
            assert_eq!(buffer[..], text[..OUTPUT_SIZE]);
            assert_eq!(console.take_output(&page, &mut buffer, now), Ok(Output::Nothing));
        }
    }

    #[test]
    fn input_waits_for_room() {
        let page = FakeMemory::new(1);
        let mut console = console(&page, Instant::now());
        let text: Vec<u8> = (0..5000u32).map(|i| (i % 251).to_le_bytes()[0]).collect();
        console.queue_input(&text);
        assert_eq!(console.input_room(), 0);
        let mut arrived = Vec::new();
        while console.give_input(&page) != Ok(0) {
            arrived.extend(frontend::input(&page));
        }
        assert_eq!(arrived, text[..INPUT_WAITING]);
    }

    #[test]
    fn a_flood_has_to_wait() {
        let page = FakeMemory::new(1);
        let mut now = Instant::now();
        let start = now;
        let mut console = console(&page, now);
        let mut buffer = [0; OUTPUT_SIZE];
        let mut taken = 0;
        while now < start + 4 * OUTPUT_INTERVAL {
            frontend::print(&page, &[b'x'; OUTPUT_SIZE]);
            match console.take_output(&page, &mut buffer, now).unwrap() {
                Output::Bytes(count) => taken += count,
                Output::NotBefore(later) => now = later,
                Output::Nothing => panic!("the ring is full"),
            }
        }
        let most = 5 * usize::try_from(OUTPUT_RATE).unwrap() + 2 * OUTPUT_SIZE;
        assert!(taken > most / 2 && taken <= most, "{taken}");
    }

    #[test]
    fn impossible_indices_are_refused() {
        let page = FakeMemory::new(1);
        let now = Instant::now();
        let mut console = console(&page, now);
        let mut buffer = [0; OUTPUT_SIZE];
        for wrong in [2049, u32::MAX, 1 << 31] {
            frontend::set_output_index(&page, wrong);
            assert!(console.take_output(&page, &mut buffer, now).is_err(), "{wrong}");
        }
        console.queue_input(b"x");
        for wrong in [1, 1 << 31, u32::MAX - 1024] {
            frontend::set_input_index(&page, wrong);
            assert!(console.give_input(&page).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn hostile_indices_never_panic(
            start in any::<[u32; 4]>(),
            indices in proptest::collection::vec(any::<(u32, u32)>(), 1..50),
        ) {
            let page = FakeMemory::new(1);
            for (word, value) in start.into_iter().enumerate() {
                page.store(layout::IN_CONS + word * 4, value);
            }
            let now = Instant::now();
            let mut console = console(&page, now);
            let mut buffer = [0; OUTPUT_SIZE];
            for (output, input) in indices {
                frontend::set_output_index(&page, output);
                frontend::set_input_index(&page, input);
                let _ = console.take_output(&page, &mut buffer, now);
                console.queue_input(b"hello");
                let _ = console.give_input(&page);
            }
        }
    }
}
