// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tests with almost full memory: allocations without a check must fit into the reserve, and
//! nothing may use up the reserve.

use redis_engine::{Output, Session, Store};

use crate::limited::{ALLOCATOR, LIMIT, OOM, Server, encode, limited, words};

/// The bytes that must always be left, for a tree node, a number as text, or an error.
const FLOOR: usize = 8 * 1024;

/// Returns a server that is full except for about `bytes` bytes.
fn full_but(bytes: usize) -> Server {
    let mut server = Server::with_small_value();
    fill(&mut server, bytes);
    server
}

fn fill(server: &mut Server, bytes: usize) {
    for line in ["rpush l a b c", "sadd s a b c", "hset h a 1 b 2", "zadd z 1 a 2 b 3 c"] {
        assert_eq!(server.command(line)[0], b':');
    }
    let piece = vec![b'p'; 4000];
    let wanted = LIMIT - bytes;
    for n in 0.. {
        if server.used() >= wanted
            || server.ask(&[b"set", format!("p{n}").as_bytes(), &piece]) == OOM
        {
            break;
        }
    }
    if bytes == 0 {
        server.fill(|n| words(&format!("set q{n} x")));
    }
}

fn left(server: &Server) -> usize {
    LIMIT.saturating_sub(server.used())
}

#[test]
fn commands_check_memory_for_many_arguments() {
    // There is room for the command itself, and a different amount in each step for what it stores.
    for step in 0..16 {
        let mut server = full_but(300_000 + 50_000 * step);
        for line in ["zadd k", "sadd k", "hset k", "lpush k", "mset", "del", "mget", "hmget h"] {
            let mut command = words(line);
            command.extend((0..16_000).map(|n| n.to_string().into_bytes()));
            let command: Vec<_> = command.iter().map(Vec::as_slice).collect();
            server.ask(&command);
            server.command("del k");
            assert!(left(&server) >= FLOOR, "{line}: {} bytes are left", left(&server));
        }
    }
}

/// Many scores are checked before the first is stored, and the command itself is large.
#[test]
fn checking_many_scores_leaves_the_reserve() {
    let mut command = words("zadd k");
    command.extend((0..60_000).map(|n| (n % 10).to_string().into_bytes()));
    let command: Vec<_> = command.iter().map(Vec::as_slice).collect();
    let bytes = encode(&command);
    for step in 0..60 {
        let mut server = full_but(700_000 + 20_000 * step);
        server.feed(&bytes);
        assert!(left(&server) >= FLOOR, "{} bytes are left", left(&server));
    }
}

#[test]
fn srandmember_checks_memory() {
    let mut server = Server::with_small_value();
    for n in 0..4000 {
        assert_eq!(server.command(&format!("sadd s {n}")), b":1\r\n");
    }
    for step in 1..80 {
        let count = step * 1000;
        for line in [format!("srandmember s {count}"), format!("srandmember s -{count}")] {
            let reply = server.command(&line);
            assert!(reply == OOM || reply[0] == b'*');
        }
    }
    let piece = vec![b'p'; 4000];
    server.fill(|n| vec![b"set".into(), format!("p{n}").into(), piece.clone()]);
    for count in [1, 2, 100, 1000, 2000, 4000, -1, -10, -10_000, -100_000, i64::MIN + 1] {
        server.command(&format!("srandmember s {count}"));
        assert!(left(&server) >= FLOOR, "{count}: {} bytes are left", left(&server));
    }
}

/// What was stored before memory was full must be readable.
#[test]
fn everything_can_be_read_when_memory_is_full() {
    let mut server = full_but(0);
    assert_eq!(server.command("set more value"), OOM);
    for line in [
        "get small",
        "mget small small",
        "getrange small 0 -1",
        "strlen small",
        "exists small l",
        "type l",
        "ttl small",
        "scan 0",
        "keys small",
        "randomkey",
        "dbsize",
        "llen l",
        "lindex l 0",
        "lrange l 0 -1",
        "scard s",
        "sismember s a",
        "smembers s",
        "srandmember s",
        "srandmember s 2",
        "srandmember s -5",
        "sscan s 0",
        "hget h a",
        "hmget h a b",
        "hgetall h",
        "hkeys h",
        "hvals h",
        "hlen h",
        "hexists h a",
        "hscan h 0",
        "zscore z a",
        "zrank z b",
        "zcard z",
        "zcount z 1 2",
        "zrange z 0 -1",
        "zrange z 0 -1 withscores",
        "zrange z 0 1 rev",
        "zrange z 1 2 byscore",
        "zrangebyscore z -inf inf withscores limit 1 2",
        "zscan z 0",
        "ping",
        "echo hello",
        "info",
        "time",
        "command",
        "command info get set",
        "command list",
        "config get *",
        "config get save",
        "client id",
        "client getname",
        "hello 3",
        "hello 2",
        "lpop l",
        "rpop l",
        "spop s",
        "zpopmin z",
        "zpopmax z",
        "getdel small",
        "hdel h a",
    ] {
        let reply = server.command(line);
        assert_ne!(reply[0], b'-', "{line}: {}", String::from_utf8_lossy(&reply));
    }
}

#[test]
fn many_slow_readers_leave_the_reserve() {
    for (request, each) in [
        (&b"ping\r\n"[..], 7),
        (b"get nothing\r\n", 5),
        (b"nonsense with a few words, so that the error is long\r\n", 90),
        (b"*1\r\n$7\r\ncommand\r\n", 5000),
        (b"info\r\n", 300),
        (b"config get *\r\n", 100),
    ] {
        // Let all clients send a command while there is memory, so that they have their buffers.
        let mut server = Server::with_small_value();
        let mut clients: Vec<_> = Vec::with_capacity(40);
        for id in 10..50 {
            clients.push(limited(|| (Session::new(id, &mut server.store), Output::default())));
        }
        for (session, output) in &mut clients {
            let store = &mut server.store;
            limited(|| session.feed(store, 0, b"get small\r\n", output));
            limited(|| output.sent(output.len()));
        }
        fill(&mut server, 0);
        let input = request.repeat(100_000 / each);
        for (session, output) in &mut clients {
            let store = &mut server.store;
            limited(|| session.feed(store, 0, &input, output));
            assert!(left(&server) >= FLOOR, "{} bytes are left", left(&server));
            assert!(output.bytes().ends_with(b"\n"), "there is no reply");
        }
        assert!(!clients[0].1.is_empty());
        limited(|| drop(clients));
        assert_eq!(server.command("get small"), b"$5\r\nvalue\r\n");
    }
}

#[test]
fn naming_connections_checks_memory() {
    let mut server = full_but(0);
    let mut clients = Vec::with_capacity(200);
    let name = vec![b'n'; 1000];
    let naming: [&[&[u8]]; 3] =
        [&[b"client", b"setname", &name], &[b"hello", b"2", b"setname", &name], &[&name]];
    for id in 0..200 {
        let (mut session, mut output) =
            limited(|| (Session::new(id, &mut server.store), Output::default()));
        for words in naming {
            let store = &mut server.store;
            limited(|| session.feed(store, 0, &encode(words), &mut output));
            let length = output.len();
            limited(|| output.sent(length));
        }
        clients.push((session, output));
        assert!(left(&server) >= FLOOR, "{id}: {} bytes are left", left(&server));
    }
    limited(|| drop(clients));
}

/// Tables must free memory when keys are deleted one by one.
#[test]
fn deleting_one_by_one_frees_tables_too() {
    for (add, delete) in [
        ("set key:# v", "del key:#"),
        ("setex key:# 100 v", "unlink key:#"),
        ("set key:# v", "getdel key:#"),
        ("sadd s #", "srem s #"),
        ("hset h # v", "hdel h #"),
        ("zadd z # #", "zrem z #"),
        ("zadd z # #", "zpopmin z"),
        ("sadd s #", "spop s"),
        ("rpush l #", "lpop l"),
        ("rpush l #", "rpop l"),
        ("rpush l #", "lrem l -1 #"),
    ] {
        let line = |line: &str, n: usize| words(&line.replace('#', &n.to_string()));
        let mut server = Server::with_small_value();
        let count = server.fill(|n| line(add, n));
        // Delete all except the first few, so that the table itself remains.
        for n in (10..count).rev() {
            let command = line(delete, n);
            let command: Vec<_> = command.iter().map(Vec::as_slice).collect();
            assert_ne!(server.ask(&command)[0], b'-', "{delete}");
        }
        assert!(server.used() < LIMIT / 8, "{delete} left {} bytes in use", server.used());
    }
}

#[test]
fn expiring_keys_frees_tables_too() {
    let mut server = Server::with_small_value();
    server.fill(|n| words(&format!("psetex key:{n} 10 v")));
    limited(|| server.store.expire(11, usize::MAX));
    assert_eq!(server.command("dbsize"), b":1\r\n");
    assert!(server.used() < LIMIT / 8, "{} bytes are in use", server.used());
}

/// Sends random commands of all kinds and sizes on connections that read their replies at random.
#[test]
fn random_commands_never_abort_the_process() {
    let templates: Vec<_> = STORM.split(['|', '\n']).filter(|line| !line.is_empty()).collect();
    let mut random = Random(0x1234_5678);
    let mut server = Server::new();
    let mut clients: Vec<_> = limited(|| {
        (0..8).map(|id| (Session::new(id, &mut server.store), Output::default())).collect()
    });
    let (mut refused, mut done, mut now) = (0, 0, 0);
    for _ in 0..40_000 {
        now += 1;
        let number = random.below(8);
        let (session, output) = &mut clients[number];
        let mut input = Vec::new();
        for _ in 0..=random.below(3) {
            let template = templates[random.below(templates.len())];
            let command = random.command(template);
            let command: Vec<_> = command.iter().map(Vec::as_slice).collect();
            input.extend(encode(&command));
        }
        // Input that is not consumed because replies are unsent is fed again when they are sent.
        let before = output.len();
        let mut rest = &input[..];
        while !rest.is_empty() {
            let progress = limited(|| session.feed(&mut server.store, now, rest, output));
            rest = &rest[progress.consumed..];
            let closed = progress.close;
            if closed || !rest.is_empty() || random.below(3) == 0 {
                let new = &output.bytes()[before.min(output.len())..];
                refused += usize::from(new.windows(4).any(|window| window == b"-OOM"));
                done += usize::from(!new.starts_with(b"-"));
                let length = output.len();
                limited(|| output.sent(length));
            }
            if closed {
                limited(|| {
                    *session = Session::new(9, &mut server.store);
                    *output = Output::default();
                });
            }
            limited(|| server.store.expire(now, 3));
            let left = LIMIT.saturating_sub(ALLOCATOR.now());
            assert!(left >= FLOOR, "{left} bytes are left");
        }
    }
    assert!(refused > 1000 && done > 1000, "{refused} refused, {done} done");
    limited(|| drop(clients));
    // No memory may have been leaked.
    limited(|| server.store = Store::new(1, 0, &ALLOCATOR));
    assert!(server.used() < 10_000, "{} bytes are in use", server.used());
}

/// Commands in which letters stand for random arguments: `K` a key, `V` a value of any size, `N` a
/// number, `M` many arguments, `W` a short one.
const STORM: &str = "
set K V|set K V|set K V ex N|set K V get|setex K N V|append K V|setrange K N V|getset K V|incr K
mset K V K V|mset K W K W|incrbyfloat K N|get K|get K|mget K K K|getrange K 0 N|getdel K
lpush K V|rpush K V V|lpush K M|rpush K M|lrange K 0 -1|lrange K 0 N|lset K 0 V|lpop K|rpop K N
ltrim K 0 N|lrem K 0 W|lindex K N|sadd K V|sadd K M|smembers K|srandmember K N|srandmember K -N
spop K|spop K N|srem K W|sscan K 0 count N|hset K W V|hset K M M|hmget K M|hgetall K|hincrby K W N
hdel K M|hscan K 0 count N|zadd K N V|zadd K N W N W|zadd K M|zincrby K N W|zrange K 0 -1 withscores
zrange K 0 N rev|zrangebyscore K -inf inf|zpopmin K N|zpopmax K|zrem K M|zscan K 0 count N
keys *|scan 0 count N|scan 0 match V|rename K K|expire K N|persist K|del K|del K|unlink K K|del M
echo V|ping V|V V|client setname W|client setname V|config get M|config get V|command info M|info
hello 3|hello 2|reset|time|randomkey|command|zunknown M|auth V|set K V V|client list|command list
";

struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        usize::try_from(self.0 >> 40).unwrap() % end
    }

    fn command(&mut self, template: &str) -> Vec<Vec<u8>> {
        let mut words = Vec::new();
        for letter in template.split(' ') {
            match letter {
                "K" => words.push(format!("k{}", self.below(60)).into_bytes()),
                "V" => {
                    let most = [10, 10, 100, 1000, 10_000, 100_000, 700_000][self.below(7)];
                    words.push(vec![b'v'; self.below(most)]);
                }
                "N" => {
                    let most = [2, 10, 100, 5000, 200_000][self.below(5)];
                    words.push(self.below(most).to_string().into_bytes());
                }
                "W" => words.push(self.below(1000).to_string().into_bytes()),
                "M" => {
                    let most = [4, 50, 5000][self.below(3)];
                    let count = 2 * self.below(most);
                    let first = self.below(100_000);
                    words.extend((first..first + count).map(|n| n.to_string().into_bytes()));
                }
                other => words.push(other.into()),
            }
        }
        words
    }
}

#[test]
fn values_can_be_stored_until_memory_is_nearly_full() {
    let mut server = Server::with_small_value();
    server.fill(|n| words(&format!("set key:{n} value")));
    assert!(server.used() > LIMIT / 8 * 7, "only {} bytes are in use", server.used());
}
