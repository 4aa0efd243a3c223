// SPDX-License-Identifier: MIT OR Apache-2.0
//! Redis loads what the engine has saved, and both answer the commands about saving alike.

use redis_engine::Output;

use crate::peer::Redis;
use crate::ram::Ram;
use crate::{Engine, Random, comparable, items, nearly_the_same_time, now, templates, words};

/// Returns the RDB file of the newest snapshot, as `docs` say how to extract it: from the slot's
/// offset on, whatever follows.
fn rdb(disk: &Ram) -> Vec<u8> {
    let state = disk.0.borrow();
    let sequence = |slot: usize| {
        u64::from_le_bytes(state.content[slot * 4096 + 16..][..8].try_into().unwrap())
    };
    let half = (state.content.len() - 8192) / 2 / 4096 * 4096;
    let at = if sequence(1) > sequence(0) { 8192 + half } else { 8192 };
    state.content[at..at + half].to_vec()
}

fn engine(disk: &Ram) -> Engine {
    let mut engine = Engine::new();
    engine.store = redis_engine::Store::new(1, now(), &crate::peer::Plenty);
    engine.store.load(Box::new(disk.clone()), now()).unwrap();
    engine
}

/// Asks both for all keys and their values, in RESP2.
fn compare_data(engine: &mut Engine, redis: &mut Redis) -> usize {
    let mut output = Output::default();
    let mut same = |command: &[String]| {
        let (ours, theirs) = (engine.ask(command, &mut output), redis.ask(command));
        let equal = comparable(command, &ours) == comparable(command, &theirs)
            || nearly_the_same_time(command, &ours, &theirs);
        let text = |reply: &[u8]| String::from_utf8_lossy(reply).into_owned();
        assert!(equal, "{command:?}: engine {}, redis {}", text(&ours), text(&theirs));
        ours
    };
    let keys = same(&words("keys *"));
    let (_, keys) = items(&keys);
    for key in &keys {
        let key = String::from_utf8(key.to_vec()).unwrap();
        let key = key.split_once("\r\n").unwrap().1.trim_end_matches("\r\n").to_owned();
        let ask = |command: &str, rest: &[&str]| {
            let rest = rest.iter().copied().map(String::from);
            [command.to_owned(), key.clone()].into_iter().chain(rest).collect::<Vec<_>>()
        };
        let kind = same(&ask("type", &[]));
        same(&ask("pexpiretime", &[]));
        match &kind[..] {
            b"+string\r\n" => same(&ask("get", &[])),
            b"+list\r\n" => same(&ask("lrange", &["0", "-1"])),
            b"+set\r\n" => same(&ask("smembers", &[])),
            b"+hash\r\n" => same(&ask("hgetall", &[])),
            b"+zset\r\n" => same(&ask("zrange", &["0", "-1", "withscores"])),
            kind => panic!("{kind:?}"),
        };
    }
    keys.len()
}

#[test]
fn redis_loads_a_snapshot_of_the_engine() {
    let templates = templates();
    let mut keys = 0;
    for seed in 0..4 {
        let disk = Ram::new(16 << 20);
        let (mut engine, mut output) = (engine(&disk), Output::default());
        let mut random = Random(seed);
        for _ in 0..400 {
            let command = random.command(&templates);
            if !["reset", "hello", "flush"].iter().any(|name| command[0].starts_with(name)) {
                engine.ask(&command, &mut output);
            }
        }
        // Lengths in each of the forms, and scores of any kind.
        for length in [0, 63, 64, 16383, 16384, 70_000, 200_000] {
            let value = "v".repeat(length);
            for command in [format!("set s{length} {value}"), format!("rpush list {value} x")] {
                engine.ask(&words(&command), &mut output);
            }
        }
        for member in 0..300 {
            engine.ask(&words(&format!("sadd set m{member}")), &mut output);
            engine.ask(&words(&format!("hset hash f{member} {member}")), &mut output);
            engine.ask(&words(&format!("zadd zset {}.25 m{member}", member * 7)), &mut output);
        }
        engine.ask(&words("zadd zset inf most -inf least -0 zero 1e-7 small"), &mut output);
        assert_eq!(engine.ask(&words("save"), &mut output), b"+OK\r\n");
        let name = format!("loads-{seed}");
        let Some(mut redis) = Redis::start_with(&name, Some(&rdb(&disk))) else { return };
        keys += compare_data(&mut engine, &mut redis);
        // The engine itself loads the same.
        let mut again = self::engine(&disk);
        compare_data(&mut again, &mut redis);
    }
    assert!(keys > 40, "only {keys} keys were compared");
}

#[test]
fn commands_about_saving_answer_like_redis() {
    let Some(mut redis) = Redis::start("saving") else { return };
    let (mut engine, mut output) = (engine(&Ram::new(1 << 20)), Output::default());
    for command in ["save", "bgsave x", "bgsave schedule x", "lastsave x", "save x", "set a 1"] {
        let command = words(command);
        assert_eq!(engine.ask(&command, &mut output), redis.ask(&command), "{command:?}");
    }
    let number = |reply: &[u8]| {
        std::str::from_utf8(reply).unwrap().trim_start_matches(':').trim().parse::<i64>().unwrap()
    };
    let (ours, theirs) =
        (engine.ask(&words("lastsave"), &mut output), redis.ask(&words("lastsave")));
    assert!((number(&ours) - number(&theirs)).abs() <= 10);
    // The same fields, with the same values where they do not depend on time.
    let info = words("info persistence");
    let (ours, theirs) = (engine.ask(&info, &mut output), redis.ask(&info));
    let (ours, theirs) = (String::from_utf8(ours).unwrap(), String::from_utf8(theirs).unwrap());
    let field = |text: &str, name: &str| {
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(String::from))
    };
    for line in ours.lines().filter(|line| line.contains(':')) {
        let name = line.split(':').next().unwrap();
        let (ours, theirs) = (field(&ours, name), field(&theirs, name));
        assert!(theirs.is_some(), "Redis has no {name}");
        if name != "rdb_last_save_time" {
            assert_eq!(ours, theirs, "{name}");
        }
    }
    // The replies to a snapshot in the background, which Redis has not finished when it answers.
    for command in ["bgsave", "lastsave x"] {
        let command = words(command);
        assert_eq!(engine.ask(&command, &mut output), redis.ask(&command), "{command:?}");
    }
    let again = engine.ask(&words("bgsave"), &mut output);
    assert_eq!(again, b"-ERR Background save already in progress\r\n", "Redis' text");
    assert_eq!(engine.ask(&words("save"), &mut output), again);
}
