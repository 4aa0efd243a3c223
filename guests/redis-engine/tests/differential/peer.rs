// SPDX-License-Identifier: MIT OR Apache-2.0
//! A `redis-server` to compare with, and what both kinds of tests need.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use redis_engine::Memory;

/// Returns the end of the reply that begins at `at`; `None` if it is incomplete.
pub(crate) fn reply_end(bytes: &[u8], at: usize) -> Option<usize> {
    let line = bytes[at..].windows(2).position(|pair| pair == b"\r\n")? + at;
    let number = || std::str::from_utf8(&bytes[at + 1..line]).unwrap().parse::<i64>().unwrap();
    let mut end = line + 2;
    match bytes[at] {
        b'+' | b'-' | b':' | b'_' | b',' => {}
        b'$' | b'=' => {
            end += usize::try_from(number()).map_or(0, |length| length + 2);
        }
        kind @ (b'*' | b'~' | b'%') => {
            for _ in 0..number() * if kind == b'%' { 2 } else { 1 } {
                end = reply_end(bytes, end)?;
            }
        }
        kind => panic!("unknown kind of reply {:?}", char::from(kind)),
    }
    (end <= bytes.len()).then_some(end)
}

/// Encodes a command as an array of bulk strings.
pub(crate) fn encode(command: &[String]) -> Vec<u8> {
    let words = command.iter().map(|word| format!("${}\r\n{word}\r\n", word.len()));
    format!("*{}\r\n{}", command.len(), words.collect::<String>()).into_bytes()
}

/// A `redis-server` in a folder of its own.
pub(crate) struct Redis {
    child: Child,
    folder: PathBuf,
    socket: UnixStream,
}

impl Redis {
    /// Starts it. Returns `None` if it is not installed and not required.
    pub(crate) fn start(name: &str) -> Option<Self> {
        Self::start_with(name, None)
    }

    /// Starts it with the data of an RDB file.
    pub(crate) fn start_with(name: &str, rdb: Option<&[u8]>) -> Option<Self> {
        let folder =
            std::env::temp_dir().join(format!("differential-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        if let Some(rdb) = rdb {
            std::fs::write(folder.join("dump.rdb"), rdb).unwrap();
        }
        let started = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--appendonly", "no", "--databases", "1"])
            .args(["--unixsocket", "socket"])
            .current_dir(&folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn();
        let mut child = match started {
            Ok(child) => child,
            Err(error) => {
                std::fs::remove_dir_all(&folder).unwrap();
                let required = std::env::var("CHAOS_REQUIRE_REDIS").is_ok_and(|value| value == "1");
                assert!(error.kind() == ErrorKind::NotFound && !required, "redis-server: {error}");
                // Write to stderr directly, because the test harness captures `println`.
                std::io::stderr().write_all(b"skipped: redis-server is not installed\n").unwrap();
                return None;
            }
        };
        let log = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready =
            log.map_while(Result::ok).any(|line| line.contains("eady to accept connections"));
        assert!(ready, "redis-server ended before it was ready");
        let socket = UnixStream::connect(folder.join("socket")).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        Some(Self { child, folder, socket })
    }

    /// Returns another connection.
    pub(crate) fn connect(&self) -> UnixStream {
        UnixStream::connect(self.folder.join("socket")).unwrap()
    }

    /// Sends a command and returns its reply.
    pub(crate) fn ask(&mut self, command: &[String]) -> Vec<u8> {
        self.socket.write_all(&encode(command)).unwrap();
        let mut reply = Vec::new();
        let mut piece = [0; 16 * 1024];
        loop {
            let count = self.socket.read(&mut piece).unwrap();
            assert!(count > 0, "redis-server closed the connection after {command:?}");
            reply.extend_from_slice(&piece[..count]);
            if reply_end(&reply, 0) == Some(reply.len()) {
                return reply;
            }
        }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // Kill it: it has no data to lose. Ignore errors, which cannot be returned from here.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Memory that is never full.
pub(crate) struct Plenty;

impl Memory for Plenty {
    fn used(&self) -> usize {
        0
    }

    fn total(&self) -> usize {
        1 << 40
    }

    fn can_allocate(&self, bytes: usize) -> bool {
        bytes < 1 << 32
    }
}
