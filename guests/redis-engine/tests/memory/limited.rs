//! An engine whose memory has an end: beyond it, allocations fail.

#![allow(unsafe_code)] // a global allocator, which counts what the engine takes

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use redis_engine::{Memory, Output, Session, Store};

/// Memory that the engine has.
pub(crate) const LIMIT: usize = 2 * 1024 * 1024;

/// What an allocator takes for itself with each piece.
const HEADER: usize = 16;

thread_local! {
    static USED: Cell<usize> = const { Cell::new(0) };
    /// Whether the engine is running: only then is there a limit.
    static COUNTED: Cell<bool> = const { Cell::new(false) };
}

pub(crate) struct Limited;

fn cost(size: usize) -> usize {
    size.next_multiple_of(16) + HEADER
}

/// Takes memory for a new piece in place of an old one; `false` if there is none.
fn take(new: usize, old: usize) -> bool {
    let used = USED.get() + new;
    if used > LIMIT && new > old {
        return false;
    }
    USED.set(used - old);
    true
}

// SAFETY: all memory comes from the system's allocator, with the layout that was asked for; the
// counting around it allocates nothing (thread-locals without destructors) and does not panic.
unsafe impl GlobalAlloc for Limited {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if COUNTED.get() && !take(cost(layout.size()), 0) {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller keeps the contract of `alloc`, which is the same there.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        if COUNTED.get() {
            take(0, cost(layout.size()));
        }
        // SAFETY: the piece came from `System` with this layout, as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // The piece moves: while it is copied both are held, as `take` demands.
        if COUNTED.get() && !take(cost(size), cost(layout.size())) {
            return std::ptr::null_mut();
        }
        // SAFETY: the piece came from `System` with this layout, and the caller promises that the
        // new size is not zero and does not overflow.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
pub(crate) static ALLOCATOR: Limited = Limited;

impl Limited {
    /// Bytes in use.
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

/// Runs the engine within the limit.
pub(crate) fn limited<T>(run: impl FnOnce() -> T) -> T {
    COUNTED.set(true);
    let result = run();
    COUNTED.set(false);
    result
}

/// A server with one connection whose memory is limited.
pub(crate) struct Server {
    pub(crate) store: Store,
    pub(crate) session: Session,
    pub(crate) output: Output,
}

pub(crate) const OOM: &[u8] = b"-OOM command not allowed when used memory > 'maxmemory'.\r\n";

impl Server {
    pub(crate) fn new() -> Self {
        // The one before was given back without being counted.
        USED.set(0);
        limited(|| {
            let mut store = Store::new(3, 0, &ALLOCATOR);
            let session = Session::new(1, &mut store);
            Self { store, session, output: Output::default() }
        })
    }

    /// Feeds bytes, and gives the whole reply.
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

    /// Asks again and again, with another number each time, until memory is full. Gives how often
    /// that succeeded.
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
        panic!("memory never came to its end");
    }

    /// Memory is full: reading works, writing does not, until something is given back.
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

/// Fills memory with one kind of command, reads, frees, and writes again.
pub(crate) fn fill_with(free: &str, command: impl FnMut(usize) -> Vec<Vec<u8>>) {
    let mut server = Server::with_small_value();
    assert!(server.fill(command) > 0);
    server.recover(free);
}
