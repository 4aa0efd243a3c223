// SPDX-License-Identifier: MIT OR Apache-2.0
//! Saves to a disk in memory and loads from it: what is loaded is what was saved, whatever happens to
//! the disk or to the data meanwhile, or nothing is.

#![allow(clippy::unwrap_used)] // in the tests' helpers too

mod damage;
#[path = "../ram/mod.rs"]
mod ram;
mod saving;

use redis_engine::{LoadError, Loaded, Memory, Output, Session, Store, Work};

use crate::ram::Ram;

/// Memory of which this many bytes are free.
struct Free(usize);

impl Memory for Free {
    fn used(&self) -> usize {
        0
    }

    fn total(&self) -> usize {
        self.0
    }

    fn can_allocate(&self, _: usize) -> bool {
        true
    }
}

const NOW: u64 = 1_700_000_000_000;

/// A server with a disk.
struct Server {
    store: Store,
    session: Session,
    output: Output,
    now: u64,
}

impl Server {
    fn start(disk: &Ram) -> Result<(Self, Loaded), LoadError> {
        Self::start_at(disk, NOW, &Free(1 << 30))
    }

    fn start_at(
        disk: &Ram,
        now: u64,
        memory: &'static dyn Memory,
    ) -> Result<(Self, Loaded), LoadError> {
        let mut store = Store::new(7, now, memory);
        let loaded = store.load(Box::new(disk.clone()), now)?;
        let session = Session::new(1, &mut store);
        Ok((Self { store, session, output: Output::default(), now }, loaded))
    }

    /// Executes a command and returns its reply.
    fn ask(&mut self, command: &str) -> String {
        let input = format!("{command}\r\n");
        self.session.feed(&mut self.store, self.now, input.as_bytes(), &mut self.output);
        let reply = self.output.bytes().to_vec();
        self.output.sent(reply.len());
        String::from_utf8(reply).unwrap()
    }

    /// Returns a line for each key with its type, value and expiry, sorted.
    fn data(&mut self) -> Vec<String> {
        let keys = self.ask("keys *");
        let mut lines: Vec<_> = keys
            .lines()
            .filter(|line| !line.starts_with(['*', '$']))
            .map(|key| {
                let read = match self.ask(&format!("type {key}")).trim() {
                    "+string" => format!("get {key}"),
                    "+list" => format!("lrange {key} 0 -1"),
                    "+set" => format!("smembers {key}"),
                    "+hash" => format!("hgetall {key}"),
                    "+zset" => format!("zrange {key} 0 -1 withscores"),
                    other => panic!("{key} is {other}"),
                };
                // The order of sets and hashes differs.
                let value = self.ask(&read);
                let mut value: Vec<_> = value.lines().filter(|it| !it.starts_with('$')).collect();
                if read.starts_with(['s', 'h']) {
                    value.sort_unstable();
                }
                format!("{key} {value:?} {}", self.ask(&format!("pexpiretime {key}")).trim())
            })
            .collect();
        lines.sort();
        lines
    }

    /// Continues a snapshot until it is over.
    fn finish(&mut self, disk: &Ram) -> Result<(), redis_engine::SaveError> {
        loop {
            match self.store.work(self.now) {
                Work::Over(result) => return result,
                Work::Wait => redis_engine::Disk::wait(&mut disk.clone()),
                Work::More => {}
                Work::Nothing => panic!("no snapshot is being saved"),
            }
        }
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        usize::try_from(self.0 >> 40).unwrap() % end
    }

    /// Returns a command that changes one of `keys` keys.
    fn command(&mut self, keys: usize) -> String {
        let (key, other) = (self.below(keys), self.below(keys));
        let (value, number) = ("v".repeat(self.below(300)), self.below(50));
        match self.below(20) {
            0..3 => format!("set k{key} {value}x"),
            3 => format!("append k{key} {value}x"),
            4 => format!("rpush k{key} {value}x {number}"),
            5 => format!("lpop k{key}"),
            6 => format!("sadd k{key} {number} m{value}"),
            7 => format!("spop k{key}"),
            8 => format!("hset k{key} f{number} {value}x"),
            9 => format!("hdel k{key} f{number}"),
            10 => format!("zadd k{key} {number}.5 m{number} 3 m{value}"),
            11 => format!("zpopmin k{key}"),
            12..15 => format!("del k{key}"),
            15 => format!("rename k{key} k{other}"),
            16 => format!("pexpire k{key} {}", 1000 * (number + 1)),
            17 => format!("persist k{key}"),
            18 => format!("getdel k{key}"),
            _ => format!("setex k{key} {} {value}x", number + 1),
        }
    }
}
