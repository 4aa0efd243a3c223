// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sends what is not the protocol, or not a command of it, and compares the bytes that come back and
//! whether the connection is closed.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;

use redis_engine::{Output, Session, Store};

use crate::peer::{Plenty, Redis};
use crate::{Random, now, words};

/// The most bytes that Redis reads from a connection at once.
const READ: usize = 16 * 1024;

/// What a peer gets back.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    reply: Vec<u8>,
    closed: bool,
}

impl Redis {
    /// Sends bytes on a new connection, and returns what came back when all of them are handled.
    fn send(&mut self, bytes: &[u8]) -> Outcome {
        let mut socket = self.connect();
        // Redis may close the connection before it has read everything.
        let _ = socket.write_all(bytes);
        // Redis is one thread that reads all connections in turn. When it has answered on another
        // one as often as it has to read here, it has handled these bytes.
        for _ in 0..bytes.len() / READ + 3 {
            self.ask(&words("ping"));
        }
        received(&mut socket)
    }
}

/// Returns what has arrived.
fn received(socket: &mut UnixStream) -> Outcome {
    socket.set_nonblocking(true).unwrap();
    let mut reply = Vec::new();
    let closed = match socket.read_to_end(&mut reply) {
        Ok(_) => true,
        Err(error) if error.kind() == ErrorKind::WouldBlock => false,
        Err(error) if error.kind() == ErrorKind::ConnectionReset => true,
        Err(error) => panic!("cannot read from redis-server: {error}"),
    };
    Outcome { reply, closed }
}

/// Does the same with the engine.
fn engine(bytes: &[u8]) -> Outcome {
    let mut store = Store::new(1, now(), &Plenty);
    let (mut session, mut output) = (Session::new(1, &mut store), Output::default());
    let mut reply = Vec::new();
    for mut piece in bytes.chunks(READ) {
        while !piece.is_empty() {
            let progress = session.feed(&mut store, now(), piece, &mut output);
            piece = &piece[progress.consumed..];
            if !progress.http {
                reply.extend_from_slice(output.bytes());
            }
            output.sent(output.len());
            if progress.close {
                return Outcome { reply, closed: true };
            }
        }
    }
    Outcome { reply, closed: false }
}

fn compare(redis: &mut Redis, cases: impl IntoIterator<Item = Vec<u8>>) {
    let shorten = |bytes: &[u8]| {
        String::from_utf8_lossy(&bytes[..bytes.len().min(300)]).escape_debug().to_string()
    };
    let mut differences = Vec::new();
    for bytes in cases {
        let (theirs, ours) = (redis.send(&bytes), engine(&bytes));
        if theirs != ours {
            let shown =
                |outcome: &Outcome| format!("{} {}", outcome.closed, shorten(&outcome.reply));
            differences.push(format!(
                "{} ({} bytes)\n   redis {}\n  engine {}",
                shorten(&bytes),
                bytes.len(),
                shown(&theirs),
                shown(&ours)
            ));
        }
    }
    let count = differences.len();
    differences.truncate(20);
    assert!(count == 0, "{count} differences (closed, reply):\n{}", differences.join("\n"));
}

/// HTTP, TLS, and requests that break each rule of the protocol, most followed by a command.
const CASES: &[&[u8]] = &[
    b"POST / HTTP/1.1\r\nHost: x\r\n\r\nset a b\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHOST: x\r\n\r\n",
    b"PING\r\nHost: x\r\nPING\r\n",
    b"*1\r\n$4\r\npost\r\nPING\r\n",
    b"*2\r\n$5\r\nhost:\r\n$1\r\na\r\n",
    b"*1\r\n$5\r\nPOST\0\r\nPING\r\n",
    b"\"POST\"\r\nPING\r\n",
    b"posts\r\nhost\r\nPING\r\n",
    b"HELLO 2 no\r\nPOST\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\nPING\r\n",
    b"set \"a\r\nPING\r\n",
    b"set 'a'b\r\nPING\r\n",
    b"set \"a\"\"b\"\r\nPING\r\n",
    b"\"\r\n",
    b"'\\'\r\n",
    b"PING\r\nset 'a\r\nPING\r\n",
    b"*1\n$4\nping\n",
    b"*1\n$4\r\nping\r\n",
    b"*1\r\n$4\nping\r\n",
    b"*1\rX$4\rXpingXXPING\r\n",
    b"*1\r\n\r\nPING\r\n",
    b"*1\r\n\n\r\nPING\r\n",
    b"*1\r\n\0\r\nPING\r\n",
    b"*1\r\n\xe9\r\n",
    b"*1\r\n*1\r\n",
    b"*1\r\nping\r\n",
    b"*2\r\n$4\r\nping\r\n#\r\n",
    b"*2147483648\r\n",
    b"*9223372036854775808\r\n",
    b"*1048576\r\nPING\r\n",
    b"*0\r\n*-1\r\n*-100\r\nPING\r\n",
    b"*\r\nPING\r\n",
    b"* 1\r\n",
    b"*1 \r\n",
    b"*+1\r\n",
    b"*01\r\n",
    b"*-\r\n",
    b"*1\r\n$-1\r\n",
    b"*1\r\n$+4\r\n",
    b"*1\r\n$\r\n",
    b"*1\r\n$04\r\nPING\r\n",
    b"*1\r\n$536870913\r\n",
    b"*1\r\n$9223372036854775808\r\n",
    b"*\0\r\n*1\r\n",
    b"*1\0\r\nPING\r\n",
    b"*1\r\n$4\0\r\nPING\r\n",
    b"PI\0NG\r\nPING\r\n",
    b"\0\r\nPING\r\n",
    b"PING\rPING\n",
    b"\r\r\n\n PING \n",
    b"PING\x0b\r\n",
    b"PING\x0c\r\n",
    b"\x0b\x0cPING\r\n",
    b"'PING'\x0b\r\n",
    b"echo \"a\\x00b\\xzz\\x4\\q\"\r\n",
    b"\"\" a\r\nPING\r\n",
    b"*1\r\n$0\r\n\r\nPING\r\n",
    b"*3\r\n$1\r\na\r\n$2\r\n\r\n\r\n$3\r\nb\r\n\r\n",
    b"*2\r\n$4\r\nx\r\ny\r\n$5\r\na\0bcd\r\n",
    b"$4\r\nping\r\n+OK\r\n-ERR\r\n:1\r\n",
    b"quit\r\nPING\r\n",
];

/// Returns lines around the longest one that is accepted, and errors that repeat long arguments.
fn long_cases() -> Vec<Vec<u8>> {
    let mut cases = Vec::new();
    for length in [65_535, 65_536, 65_537, 70_000, 200_000] {
        // Neither line has an end: Redis accepts longer ones that arrive with theirs.
        for (start, byte) in [("", b'x'), ("*", b'1'), ("*1\r\n$", b'1'), ("get \0", b'\n')] {
            cases.push([start.as_bytes(), &vec![byte; length]].concat());
        }
    }
    for length in [1, 100, 127, 128, 129, 300] {
        let (word, other) = ("a".repeat(length), "b".repeat(length));
        for line in [
            format!("{word}\r\n"),
            format!("x {word} {other} {word}\r\n"),
            format!("{word} {other} c d\r\n"),
        ] {
            cases.push(line.into_bytes());
        }
    }
    cases
}

/// Returns bytes that are likely to be half right.
fn random_case(random: &mut Random) -> Vec<u8> {
    let parts: [&[u8]; 24] = [
        b"*1\r\n",
        b"*2\r\n",
        b"$4\r\n",
        b"$0\r\n",
        b"ping\r\n",
        b"PING",
        b"\r\n",
        b"\n",
        b"\r",
        b" ",
        b"\"",
        b"'",
        b"\\",
        b"\\x41",
        b"*",
        b"$",
        b"-1",
        b"\0",
        b"\x0b",
        b"echo ",
        b"POST ",
        b"host:",
        b"a",
        b"\r\r\n",
    ];
    let count = 1 + random.below(12);
    (0..count).flat_map(|_| parts[random.below(parts.len())].to_vec()).collect()
}

#[test]
fn abuse_is_answered_as_by_redis() {
    let Some(mut redis) = Redis::start("abuse") else { return };
    compare(&mut redis, CASES.iter().map(|case| case.to_vec()));
    compare(&mut redis, long_cases());
}

#[test]
fn random_abuse_is_answered_as_by_redis() {
    let Some(mut redis) = Redis::start("random-abuse") else { return };
    let mut random = Random(7);
    let cases: Vec<_> = (0..4000).map(|_| random_case(&mut random)).collect();
    compare(&mut redis, cases);
}
