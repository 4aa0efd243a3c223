// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sends the same commands to the engine and to Redis itself, and compares the replies byte by
//! byte.
//!
//! Needs a `redis-server` of the version that the engine behaves like. If it is not installed, the
//! tests report that and are skipped, unless the environment variable `CHAOS_REQUIRE_REDIS` is 1.

#![allow(clippy::unwrap_used)] // in the tests' helpers too

mod abuse;
mod peer;
#[path = "../ram/mod.rs"]
mod ram;
mod snapshots;

use std::time::{SystemTime, UNIX_EPOCH};

use redis_engine::{Output, Session, Store};

use crate::peer::{Plenty, Redis, encode, reply_end};

/// Commands in which letters stand for random arguments: `K` a key, `M` a member, field or value,
/// `I` an integer, `F` a floating-point number, `E` one that can be added exactly, `R` a bound of a
/// range of scores, `X` an index, `T` a duration in seconds, `A` a point in time in seconds, `P` a
/// pattern.
const COMMANDS: &str = "
set K M|set K I|set K F|set K M nx|set K M xx|set K I get|set K M nx get|set K M ex T|set K M px 7000000
set K M exat A|set K M keepttl|set K M ex T keepttl|setnx K M|setex K T M|psetex K 9000000 M
get K|getset K M|getdel K|mget K K K|mset K M K I|msetnx K M K M|incr K|decr K|incrby K I
decrby K I|incrbyfloat float E|set float E|get float|incrbyfloat K x|append K M|strlen K|getrange K X X|setrange K 3 M|setrange K X M
del K|del K K|unlink K K|exists K K K|touch K K|type K|keys P|rename K K|renamenx K K|dbsize
expire K T|expire K T nx|expire K T xx|expire K T gt|expire K T lt|expire K T gt lt|expire K T no
pexpire K 70000000|expireat K A|expireat K A gt|pexpireat K 9999999999000|persist K|expire K T
ttl K|pttl K|expiretime K|pexpiretime K|expireat K I
lpush K M|lpush K M M I|rpush K M|rpush K I M M|lpushx K M|rpushx K M M|lpop K|rpop K|lpop K 2
rpop K I|llen K|lindex K X|lrange K X X|lrange K 0 -1|lset K X M|lrem K X M|lrem K 0 M|ltrim K X X
sadd K M|sadd K M I M M|srem K M M|scard K|sismember K M|smembers K|sscan K 0 count 100
sscan K 0 match P count 100|hset K M M|hset K M I M M|hmset K M M|hsetnx K M M|hincrby K M I|hget K M
hmget K M M|hdel K M M|hlen K|hexists K M|hstrlen K M|hgetall K|hkeys K|hvals K|hscan K 0 count 100
zadd K F M|zadd K F M F M|zadd K nx F M|zadd K xx ch F M|zadd K gt F M|zadd K lt ch F M F M
zadd K incr F M|zadd K nx incr F M|zadd K gt incr F M|zadd K nx gt F M|zadd K incr F M F M
zincrby K F M|zrem K M M|zcard K|zscore K M|zrank K M|zpopmin K|zpopmax K|zpopmin K 2|zpopmax K I
zcount K R R|zrange K X X|zrange K 0 -1 withscores|zrange K X X rev|zrange K R R byscore withscores
zrange K R R byscore rev limit X X|zrange K R R byscore limit 0 2|zrange K 0 -1 limit 0 1
zrangebyscore K R R|zrangebyscore K R R withscores|zrangebyscore K R R limit 1 2|zscan K 0
zrange K R R rev|scan 0 count 1000|scan 0 match P count 1000|scan 0 type hash count 1000|scan x
ping|ping M|echo M|select 0|select 1|select x|auth M|client setname M|client getname|client no
config no|config get appendonly|command no|reset|flushall|flushdb async|nonsense K M|hello 4
hello 2 nonsense|debug sleep|auth M M|hello 2 setname named|client getname|hello 2 setname other no
hello 2 setname M|hello 2 auth default x|hello 2 auth M x|hello 2 auth default x setname third
hello 2 setname fourth auth no x|save|save x|bgsave M M|client no-evict on|client no-evict x|client setname named|auth default M
";

/// Commands that are not compared, because their replies are random or describe the server itself.
const NOT_COMPARED: &[&str] =
    &["info", "lastsave", "quit", "randomkey", "spop", "srandmember", "time"];
/// The number of commands in one run.
const LENGTH: usize = 600;
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        usize::try_from(self.0 >> 40).unwrap() % end
    }

    fn of<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[self.below(all.len())]
    }

    fn integer(&mut self) -> &'static str {
        self.of(&[
            "0",
            "1",
            "2",
            "-1",
            "7",
            "10",
            "-5",
            "1000",
            "9223372036854775807",
            "-9223372036854775808",
            "9223372036854775808",
            "abc",
            "",
            "1.5",
            " 1",
            "01",
        ])
    }

    fn float(&mut self) -> &'static str {
        self.of(&[
            "0", "1", "-1", "2", "3", "2.5", "-0.25", "1e3", "100", "0.5", "1024", "inf", "-inf",
            "nan", "1e20", "x", "", "1e400", "+3", ".5", "5.",
        ])
    }

    /// Returns a random argument for a letter, or the word itself.
    fn fill(&mut self, letter: &str) -> String {
        match letter {
            "K" => self.of(&["a", "b", "c", "d", "e"]).into(),
            "M" => self.of(&["x", "y", "z", "12", "-7", "", "long long", "hello"]).into(),
            "I" => self.integer().into(),
            "F" if self.below(4) == 0 => self.of(&["0.1", "3.14159", "1e-7", "123456.789"]).into(),
            "F" => self.float().into(),
            // Redis adds in 80 bits, so only numbers that a double holds exactly have the same sum.
            "E" => self
                .of(&[
                    "0", "1", "-1", "2.5", "-0.25", "1e3", "+3", ".5", "5.", "inf", "nan", "x", "",
                ])
                .into(),
            "R" => match self.below(3) {
                0 => self.of(&["-inf", "inf", "(0", "(1", "(2.5", "("]).into(),
                _ => self.float().into(),
            },
            "X" if self.below(8) > 0 => self.of(&["0", "1", "2", "-1", "-2", "5", "-100"]).into(),
            "X" => self.integer().into(),
            // Only times that cannot pass during the test.
            "T" if self.below(10) == 0 => self
                .of(&["0", "-1", "9223372036854775807", "-9223372036854775808", "x", "", "1.5"])
                .into(),
            // Make equal times unlikely: whether two deadlines are equal would depend on the clock.
            "T" => (10_000 + self.below(1_000_000)).to_string(),
            "A" => (9_000_000_000 + self.below(1_000_000)).to_string(),
            "P" => self.of(&["*", "?", "a*", "[a-c]", "[^a]", "*l*", "x", "", "\\a"]).into(),
            other if self.below(4) == 0 => other.to_uppercase(),
            other => other.into(),
        }
    }

    /// Returns a random command, sometimes with one argument too few or too many.
    fn command(&mut self, templates: &[&str]) -> Vec<String> {
        let template = templates[self.below(templates.len())];
        // Flush only rarely, because it removes all data.
        let template = match template.starts_with("flush") && self.below(8) > 0 {
            true => "dbsize",
            false => template,
        };
        let mut words: Vec<_> = template.split(' ').map(|word| self.fill(word)).collect();
        match self.below(40) {
            // Not for COMMAND, which alone lists all commands.
            0 if words.len() > 1 && !template.starts_with("command") => drop(words.pop()),
            1 => words.push(self.of(&["x", "1", "nx", "withscores", "get"]).into()),
            _ => {}
        }
        words
    }
}

/// Returns the first line of an aggregate reply, and the replies in it.
fn items(reply: &[u8]) -> (&[u8], Vec<&[u8]>) {
    let mut at = reply.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    let header = &reply[..at];
    let mut items = Vec::new();
    while at < reply.len() {
        let end = reply_end(reply, at).unwrap();
        items.push(&reply[at..end]);
        at = end;
    }
    (header, items)
}

/// Returns an aggregate reply with its items sorted in groups of `group` items.
fn sorted(reply: &[u8], group: usize) -> Vec<u8> {
    if !matches!(reply[0], b'*' | b'~' | b'%') {
        return reply.to_vec();
    }
    let (header, items) = items(reply);
    let mut groups: Vec<_> = items.chunks(group).map(<[_]>::concat).collect();
    groups.sort();
    [header.to_vec(), groups.concat()].concat()
}

/// Returns the part of a reply that must be the same.
fn comparable(command: &[String], reply: &[u8]) -> Vec<u8> {
    let scan = |group| match reply[0] {
        b'*' => {
            let (_, items) = items(reply);
            [items[0].to_vec(), sorted(items[1], group)].concat()
        }
        _ => reply.to_vec(),
    };
    match command[0].to_lowercase().as_str() {
        "smembers" | "keys" | "hkeys" | "hvals" => sorted(reply, 1),
        "hgetall" => sorted(reply, 2),
        // All except the connection's ID.
        "hello" if reply[0] != b'-' => {
            let (header, mut items) = items(reply);
            items.remove(7);
            [header.to_vec(), items.concat()].concat()
        }
        "scan" | "sscan" => scan(1),
        "hscan" | "zscan" => scan(2),
        _ => reply.to_vec(),
    }
}

/// Returns whether both replies are times that differ by no more than the clocks may.
fn nearly_the_same_time(command: &[String], ours: &[u8], theirs: &[u8]) -> bool {
    let number = |reply: &[u8]| {
        std::str::from_utf8(reply).ok()?.strip_prefix(':')?.trim().parse::<i64>().ok()
    };
    let slack = match command[0].to_lowercase().as_str() {
        "pttl" | "pexpiretime" => 5000,
        "ttl" | "expiretime" => 5,
        _ => return false,
    };
    number(ours)
        .zip(number(theirs))
        .is_some_and(|(ours, theirs)| ours > 0 && theirs > 0 && ours.abs_diff(theirs) <= slack)
}

struct Engine {
    store: Store,
    session: Session,
}

fn now() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

impl Engine {
    fn new() -> Self {
        let mut store = Store::new(1, now(), &Plenty);
        store.load(Box::new(ram::Ram::new(1 << 20)), now()).unwrap();
        let session = Session::new(1, &mut store);
        Self { store, session }
    }

    /// Executes a command and returns its reply. `output` keeps the protocol version in use.
    fn ask(&mut self, command: &[String], output: &mut Output) -> Vec<u8> {
        self.session.feed(&mut self.store, now(), &encode(command), output);
        let reply = output.bytes().to_vec();
        output.sent(reply.len());
        reply
    }
}

fn words(command: &str) -> Vec<String> {
    command.split(' ').map(String::from).collect()
}

fn templates() -> Vec<&'static str> {
    COMMANDS.split(['|', '\n']).filter(|command| !command.is_empty()).collect()
}

/// Compares runs of commands. Each run starts with an empty store.
fn compare(name: &str, protocol: &str, seeds: std::ops::Range<u64>) {
    let Some(mut redis) = Redis::start(name) else { return };
    let templates = templates();
    let mut differences = Vec::new();
    for seed in seeds {
        let mut random = Random(seed);
        let (mut engine, mut output) = (Engine::new(), Output::default());
        redis.ask(&words("flushall"));
        redis.ask(&words("reset"));
        for number in 0..LENGTH {
            // Set the protocol again, because RESET returns to RESP2.
            if number % 100 == 0 {
                redis.ask(&words(protocol));
                engine.ask(&words(protocol), &mut output);
            }
            let command = random.command(&templates);
            let (theirs, ours) = (redis.ask(&command), engine.ask(&command, &mut output));
            let same = comparable(&command, &theirs) == comparable(&command, &ours)
                || nearly_the_same_time(&command, &ours, &theirs);
            if !same {
                differences.push(format!(
                    "seed {seed}, command {number}: {command:?}\n   redis {:?}\n  engine {:?}",
                    String::from_utf8_lossy(&theirs),
                    String::from_utf8_lossy(&ours)
                ));
            }
        }
    }
    let count = differences.len();
    differences.truncate(40);
    assert!(count == 0, "{count} differences:\n{}", differences.join("\n"));
}

#[test]
fn replies_in_resp2_are_those_of_redis() {
    compare("resp2", "hello 2", 1..9);
}

#[test]
fn replies_in_resp3_are_those_of_redis() {
    compare("resp3", "hello 3", 101..109);
}

/// Every command must either be compared or be listed in [`NOT_COMPARED`].
#[test]
fn every_command_is_compared() {
    let list = Engine::new().ask(&words("command list"), &mut Output::default());
    let (_, names) = items(&list);
    for name in names {
        let name = String::from_utf8_lossy(name);
        let name = name.split("\r\n").nth(1).unwrap();
        let compared = templates().iter().any(|template| template.split(' ').next() == Some(name));
        assert_ne!(compared, NOT_COMPARED.contains(&name), "{name}");
    }
}
