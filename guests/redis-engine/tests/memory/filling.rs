// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tests that fill memory with one kind of command.

use redis_engine::{Output, Session};

use crate::limited::{OOM, Server, fill_with, limited, words};

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
    // Removing a key must not need a copy of it.
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
    // Set an expiry for many existing keys.
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
fn arguments_that_do_not_fit_are_skipped() {
    let mut server = Server::with_small_value();
    let value = vec![b'x'; 5_000_000];
    assert_eq!(server.ask(&[b"set", b"k", &value]), OOM);
    assert_eq!(server.ask(&[b"echo", &value]), OOM);
    // So many arguments that there is no memory for the list of them.
    let many: Vec<&[u8]> = vec![b""; 600_000];
    assert_eq!(server.ask(&many), OOM);
    // An announced length must not make the parser allocate memory.
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
    // Members that do not fit into the reply must not be removed either.
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
    // With a second such reader there is no memory for a third, which gets an error. Small requests
    // still work.
    let mut others = limited(|| [2, 3].map(|id| (Session::new(id, store), Output::default())));
    for (session, output) in &mut others {
        let line = b"lrange l 0 -1\r\nlpop l 1000\r\nllen l\r\nget small\r\n";
        limited(|| session.feed(store, 0, line, output));
    }
    assert!(others[0].1.len() > 550_000);
    let expected = [OOM, OOM, b":500\r\n$5\r\nvalue\r\n"].concat();
    assert_eq!(String::from_utf8_lossy(others[1].1.bytes()), String::from_utf8_lossy(&expected));
    // When the replies are sent, their memory is free again.
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
