// SPDX-License-Identifier: MIT OR Apache-2.0
//! An engine with limited memory: allocations beyond the limit fail.

#![allow(unsafe_code)] // a global allocator, which counts what the engine takes

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use redis_engine::{Memory, Output, Session, Store};

/// The engine's memory in bytes.
pub(crate) const LIMIT: usize = 2 * 1024 * 1024;

/// The bytes that an allocator takes for itself with each allocation.
const HEADER: usize = 16;

thread_local! {
    static USED: Cell<usize> = const { Cell::new(0) };
    /// Whether the engine is running. Only then does the limit apply.
    static COUNTED: Cell<bool> = const { Cell::new(false) };
}

pub(crate) struct Limited;

fn cost(size: usize) -> usize {
    size.next_multiple_of(16) + HEADER
}

/// Counts an allocation of `new` bytes that replaces one of `old` bytes. Returns false if that
/// exceeds the limit.
fn take(new: usize, old: usize) -> bool {
    let used = USED.get() + new;
    if used > LIMIT && new > old {
        return false;
    }
    USED.set(used - old);
    true
}

// SAFETY: all memory comes from `System`, with the requested layout, so that allocations are valid
// and do not overlap. The counting around it neither allocates (the thread-locals have no
// destructors) nor panics.
unsafe impl GlobalAlloc for Limited {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if COUNTED.get() && !take(cost(layout.size()), 0) {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller guarantees that the layout's size is not zero, which is all that
        // `System.alloc` requires.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        if COUNTED.get() {
            take(0, cost(layout.size()));
        }
        // SAFETY: the caller guarantees that `pointer` was allocated here with this layout, and all
        // allocations here come from `System`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // `take` requires room for both copies, because both exist while the memory moves.
        if COUNTED.get() && !take(cost(size), cost(layout.size())) {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller guarantees that `pointer` was allocated here with this layout, and all
        // allocations here come from `System`; and that the new size is not zero and does not
        // overflow when rounded up to the alignment.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
pub(crate) static ALLOCATOR: Limited = Limited;

impl Limited {
    /// Returns the bytes in use.
    pub(crate) fn now(&self) -> usize {
        USED.get()
    }
}

impl Memory for Limited {
    fn used(&self) -> usize {
        USED.get()
    }

    fn total(&self) -> usize {
        LIMIT
    }

    fn can_allocate(&self, bytes: usize) -> bool {
        USED.get() + cost(bytes) <= LIMIT
    }
}

/// Runs the engine with the limit.
pub(crate) fn limited<T>(run: impl FnOnce() -> T) -> T {
    COUNTED.set(true);
    let result = run();
    COUNTED.set(false);
    result
}

/// A server with limited memory and one connection.
pub(crate) struct Server {
    pub(crate) store: Store,
    pub(crate) session: Session,
    pub(crate) output: Output,
}

pub(crate) const OOM: &[u8] = b"-OOM command not allowed when used memory > 'maxmemory'.\r\n";

impl Server {
    pub(crate) fn new() -> Self {
        // An earlier server of this thread was freed without being counted.
        USED.set(0);
        limited(|| {
            let mut store = Store::new(3, 0, &ALLOCATOR);
            let session = Session::new(1, &mut store);
            Self { store, session, output: Output::default() }
        })
    }

    /// Feeds bytes, and returns all replies.
    pub(crate) fn feed(&mut self, mut bytes: &[u8]) -> Vec<u8> {
        let mut reply = Vec::new();
        loop {
            let progress =
                limited(|| self.session.feed(&mut self.store, 0, bytes, &mut self.output));
            assert!(!progress.close, "{:?}", String::from_utf8_lossy(self.output.bytes()));
            bytes = &bytes[progress.consumed..];
            reply.extend_from_slice(self.output.bytes());
            limited(|| self.output.sent(self.output.len()));
            if bytes.is_empty() {
                return reply;
            }
        }
    }

    pub(crate) fn ask(&mut self, words: &[&[u8]]) -> Vec<u8> {
        self.feed(&encode(words))
    }

    pub(crate) fn command(&mut self, line: &str) -> Vec<u8> {
        let words: Vec<_> = line.split(' ').map(str::as_bytes).collect();
        self.ask(&words)
    }

    /// Executes `command(0)`, `command(1)` and so on until memory is full. Returns how many
    /// succeeded.
    pub(crate) fn fill(&mut self, mut command: impl FnMut(usize) -> Vec<Vec<u8>>) -> usize {
        for number in 0..1_000_000 {
            let words = command(number);
            let words: Vec<_> = words.iter().map(Vec::as_slice).collect();
            let reply = self.ask(&words);
            if reply == OOM {
                return number;
            }
            assert_ne!(reply[0], b'-', "{}", String::from_utf8_lossy(&reply));
        }
        panic!("memory did not fill up");
    }

    /// Checks with full memory that reading works, and that writing works again after the command
    /// `free` has freed some.
    pub(crate) fn recover(&mut self, free: &str) {
        let taken = self.used();
        assert!(taken > LIMIT / 3, "memory is full with only {taken} bytes in use");
        assert_eq!(self.command("get small"), b"$5\r\nvalue\r\n");
        assert_eq!(self.command("ping"), b"+PONG\r\n");
        let reply = self.command(free);
        assert_ne!(reply[0], b'-', "{}", String::from_utf8_lossy(&reply));
        assert!(self.used() < LIMIT / 4, "{free} left {} bytes in use", self.used());
        let value = vec![b'v'; 300_000];
        assert_eq!(self.ask(&[b"set", b"again", &value]), b"+OK\r\n");
        let read = self.ask(&[b"get", b"again"]);
        assert_eq!(read.len(), value.len() + "$300000\r\n\r\n".len());
    }

    pub(crate) fn used(&self) -> usize {
        USED.get()
    }

    pub(crate) fn with_small_value() -> Self {
        let mut server = Self::new();
        assert_eq!(server.command("set small value"), b"+OK\r\n");
        server
    }
}

pub(crate) fn encode(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

pub(crate) fn words(line: &str) -> Vec<Vec<u8>> {
    line.split(' ').map(|word| word.as_bytes().to_vec()).collect()
}

/// Fills memory with one kind of command, then reads, frees memory with `free`, and writes again.
pub(crate) fn fill_with(free: &str, command: impl FnMut(usize) -> Vec<Vec<u8>>) {
    let mut server = Server::with_small_value();
    assert!(server.fill(command) > 0);
    server.recover(free);
}
