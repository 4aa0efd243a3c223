//! The end of memory: whatever fills it, the answer is an error, data can still be read, and what
//! is given back can be used again. An allocation that fails ends this process, as it would end
//! the guest, so a test that comes to its end has not run out of memory unawares.

#![allow(unsafe_code)] // a global allocator, which counts what the engine takes

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use redis_engine::{Memory, Output, Session, Store};

/// Memory that the engine has.
const LIMIT: usize = 2 * 1024 * 1024;

/// What an allocator takes for itself with each piece.
const HEADER: usize = 16;

thread_local! {
    static USED: Cell<usize> = const { Cell::new(0) };
    /// Whether the engine is running: only then is there a limit.
    static COUNTED: Cell<bool> = const { Cell::new(false) };
}

struct Limited;

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
static ALLOCATOR: Limited = Limited;

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
fn limited<T>(run: impl FnOnce() -> T) -> T {
    COUNTED.set(true);
    let result = run();
    COUNTED.set(false);
    result
}

/// A server with one connection whose memory is limited.
struct Server {
    store: Store,
    session: Session,
    output: Output,
}

const OOM: &[u8] = b"-OOM command not allowed when used memory > 'maxmemory'.\r\n";

impl Server {
    fn new() -> Self {
        // The one before was given back without being counted.
        USED.set(0);
        limited(|| {
            let mut store = Store::new(3, 0, &ALLOCATOR);
            let session = Session::new(1, &mut store);
            Self { store, session, output: Output::default() }
        })
    }

    /// Feeds bytes, and gives the whole reply.
    fn feed(&mut self, mut bytes: &[u8]) -> Vec<u8> {
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

    fn ask(&mut self, words: &[&[u8]]) -> Vec<u8> {
        self.feed(&encode(words))
    }

    fn command(&mut self, line: &str) -> Vec<u8> {
        let words: Vec<_> = line.split(' ').map(str::as_bytes).collect();
        self.ask(&words)
    }

    /// Asks again and again, with another number each time, until memory is full. Gives how often
    /// that succeeded.
    fn fill(&mut self, mut command: impl FnMut(usize) -> Vec<Vec<u8>>) -> usize {
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
    fn recover(&mut self, free: &str) {
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

    fn used(&self) -> usize {
        USED.get()
    }

    fn with_small_value() -> Self {
        let mut server = Self::new();
        assert_eq!(server.command("set small value"), b"+OK\r\n");
        server
    }
}

fn encode(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

fn words(line: &str) -> Vec<Vec<u8>> {
    line.split(' ').map(|word| word.as_bytes().to_vec()).collect()
}

/// Fills memory with one kind of command, reads, frees, and writes again.
fn fill_with(free: &str, command: impl FnMut(usize) -> Vec<Vec<u8>>) {
    let mut server = Server::with_small_value();
    assert!(server.fill(command) > 0);
    server.recover(free);
}

#[test]
fn large_values() {
    for size in [10_000, 100_000, 300_000, 600_000] {
        let value = vec![b'x'; size];
        fill_with("flushall", |n| vec![b"set".into(), format!("k{n}").into(), value.clone()]);
    }
}

#[test]
fn large_keys() {
    let key = |n: usize| [n.to_string().into_bytes(), vec![b'k'; 200_000]].concat();
    fill_with("flushall", |n| vec![b"set".into(), key(n), b"1".into(), b"ex".into(), b"9".into()]);
    fill_with("flushall", |n| vec![b"incr".into(), key(n)]);
    // A key that is given back needs no copy of itself.
    let mut server = Server::with_small_value();
    let last = server.fill(|n| vec![b"setex".into(), key(n), b"9".into(), b"1".into()]) - 1;
    assert_eq!(server.ask(&[b"del", &key(last)]), b":1\r\n");
}

#[test]
fn many_small_values() {
    fill_with("flushall", |n| words(&format!("set key:{n} value")));
    fill_with("flushall", |n| words(&format!("setex key:{n} 100 value")));
    fill_with("flushall", |n| words(&format!("mset a{n} 1 b{n} 2 c{n} 3")));
    fill_with("flushall", |n| words(&format!("incrbyfloat key:{n} 1.5")));
    fill_with("flushall", |n| words(&format!("setrange key:{n} 100 x")));
    // A time for each of many keys that are there already.
    let mut server = Server::with_small_value();
    let keys = server.fill(|n| words(&format!("set key:{n} value")));
    for n in 0..keys / 3 {
        assert_eq!(server.command(&format!("del key:{n}")), b":1\r\n");
    }
    for n in keys / 3..keys {
        let reply = server.command(&format!("expire key:{n} 100"));
        assert!(reply == b":1\r\n" || reply == OOM);
    }
    server.recover("flushall");
}

#[test]
fn growing_values() {
    for (free, line) in [
        ("del l", "lpush l value-#"),
        ("del l", "rpush l # b c d e f"),
        ("ltrim l 1 0", "rpush l #"),
        ("del s", "sadd s member-#"),
        ("del h", "hset h field-# value"),
        ("del h", "hincrby h # 5"),
        ("del z", "zadd z # member-#"),
        ("del z", "zincrby z 1.5 member-#"),
        ("flushall async", "rpush l# a b"),
        ("flushall", "sadd s# a b"),
        ("flushall", "hset h# a b"),
        ("flushall", "zadd z# 1 a 2 b"),
    ] {
        fill_with(free, |n| words(&line.replace('#', &n.to_string())));
    }
    let piece = vec![b'p'; 50_000];
    for name in ["append", "rpush", "sadd"] {
        fill_with("del k", |n| {
            let member = [n.to_string().as_bytes(), &piece].concat();
            vec![name.into(), b"k".into(), member]
        });
    }
    fill_with("del k", |n| words(&format!("setrange k {} x", n * 10_000)));
}

#[test]
fn many_words_at_once() {
    for name in ["lpush", "sadd", "hset", "zadd", "mset"] {
        fill_with("flushall", |n| {
            let mut all = vec![name.as_bytes().to_vec()];
            all.extend((name != "mset").then(|| b"k".to_vec()));
            all.extend((0..3000).map(|word| format!("{}", n * 3000 + word).into_bytes()));
            all
        });
    }
}

#[test]
fn a_refused_command_changes_nothing() {
    let mut server = Server::with_small_value();
    let size = server.fill(|n| words(&format!("set key:{n} value"))) + 1;
    for line in ["mset x 1 y 2", "rpush x 1", "sadd x 1", "hset x a b", "zadd x 1 a", "append x a"]
    {
        assert_eq!(server.command(line), OOM, "{line}");
    }
    assert_eq!(server.command("dbsize"), format!(":{size}\r\n").into_bytes());
    assert_eq!(server.command("exists x y"), b":0\r\n");
}

#[test]
fn words_that_do_not_fit_are_skipped() {
    let mut server = Server::with_small_value();
    let value = vec![b'x'; 5_000_000];
    assert_eq!(server.ask(&[b"set", b"k", &value]), OOM);
    assert_eq!(server.ask(&[b"echo", &value]), OOM);
    // More words than there is memory for the list of them.
    let many: Vec<&[u8]> = vec![b""; 600_000];
    assert_eq!(server.ask(&many), OOM);
    // A length is no reason to take memory that there is not.
    let used = server.used();
    assert_eq!(server.feed(b"*2\r\n$3\r\nget\r\n$400000000\r\nabc"), b"");
    assert!(server.used() < used + 10_000);
}

#[test]
fn replies_that_do_not_fit_are_refused() {
    let mut server = Server::with_small_value();
    let piece = vec![b'p'; 50_000];
    for n in 0..15 {
        let field = [n.to_string().as_bytes(), &piece[..]].concat();
        assert_eq!(server.ask(&[b"hset", b"h", &field, b"1"])[0], b':');
        assert_eq!(server.ask(&[b"sadd", b"s", &piece[n..]])[0], b':');
    }
    for line in ["hgetall h", "hkeys h", "smembers s", "sscan s 0 count 100", "srandmember s 9999"]
    {
        assert_eq!(server.command(line), OOM, "{line}");
    }
    // What does not fit into the reply is not taken out either.
    for line in ["spop s 15", "srandmember s -99999", "srandmember s -999999999999"] {
        assert_eq!(server.command(line), OOM, "{line}");
        assert_eq!(server.command("scard s"), b":15\r\n");
    }
    server.recover("del h s");
}

#[test]
fn a_slow_reader_holds_one_reply() {
    let mut server = Server::with_small_value();
    let piece = vec![b'p'; 1100];
    for _ in 0..500 {
        assert_eq!(server.ask(&[b"rpush", b"l", &piece])[0], b':');
    }
    let lrange = b"lrange l 0 -1\r\n";
    let Server { store, session, output } = &mut server;
    let first = limited(|| session.feed(store, 0, &lrange.repeat(50), output));
    assert_eq!(first.consumed, lrange.len());
    assert!(output.len() > 550_000);
    // With a second such reader, memory is too short for a third, who is told so; small things
    // still work.
    let mut others = limited(|| [2, 3].map(|id| (Session::new(id, store), Output::default())));
    for (session, output) in &mut others {
        let line = b"lrange l 0 -1\r\nlpop l 1000\r\nllen l\r\nget small\r\n";
        limited(|| session.feed(store, 0, line, output));
    }
    assert!(others[0].1.len() > 550_000);
    let expected = [OOM, OOM, b":500\r\n$5\r\nvalue\r\n"].concat();
    assert_eq!(String::from_utf8_lossy(others[1].1.bytes()), String::from_utf8_lossy(&expected));
    // Once the replies are sent, their memory is free again.
    for output in [output, &mut others[0].1] {
        let length = output.len();
        limited(|| output.sent(length));
    }
    assert!(server.command("lrange l 0 -1").len() > 550_000);
}

#[test]
fn all_keys_do_not_fit_into_a_reply() {
    let mut server = Server::with_small_value();
    let key = |n: usize| format!("{n:01000}").into_bytes();
    server.fill(|n| vec![b"set".into(), key(n), b"1".into()]);
    assert_eq!(server.command("keys *"), OOM);
    assert_eq!(server.command("scan 0 count 100000"), OOM);
    assert_eq!(server.command("keys small"), b"*1\r\n$5\r\nsmall\r\n");
    server.recover("flushall");
}
