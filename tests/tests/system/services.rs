// SPDX-License-Identifier: GPL-3.0-or-later
//! The services of the shipped guests, as their users see them.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use system_tests::{Bed, Chaosd, Guest, chaos, kill_noxsd, restart_noxsd, run};

const REDIS: &str = "10.0.0.2:6379";
const DAYTIME: &str = "10.0.0.3:13";

#[test]
fn redis_answers() {
    let _bed = Bed::new();
    let _redis = Guest::create("redis.cfg", &[]);
    let redis = |args: &[&str]| {
        let mut all = vec!["-h", "10.0.0.2"];
        all.extend(args);
        run("redis-cli", &all).ok()
    };
    assert_eq!(redis(&["ping"]), "PONG\n");
    assert_eq!(redis(&["set", "key", "value"]), "OK\n");
    assert_eq!(redis(&["get", "key"]), "value\n");
    assert_eq!(redis(&["-3", "hset", "hash", "a", "1", "b", "2"]), "2\n");
    assert!(redis(&["-3", "hgetall", "hash"]).contains('a'));
    assert!(redis(&["info"]).contains("redis_version:"));
}

#[test]
fn redis_benchmark_finishes_without_an_error() {
    let _bed = Bed::new();
    let _redis = Guest::create("redis.cfg", &[]);
    // Name the tests, because newer versions of redis-benchmark also run XADD by default.
    let tests = "ping_inline,ping_mbulk,set,get,incr,lpush,rpush,lpop,rpop,sadd,hset,spop,zadd,\
                 zpopmin,lrange,mset";
    let ran = run("redis-benchmark", &["-h", "10.0.0.2", "-n", "1000", "--csv", "-t", tests]);
    let (stdout, stderr) = (ran.stdout.clone(), ran.stderr.clone());
    ran.ok();
    for test in [
        "PING_INLINE",
        "PING_MBULK",
        "SET",
        "GET",
        "INCR",
        "LPUSH",
        "RPUSH",
        "LPOP",
        "RPOP",
        "SADD",
        "HSET",
        "SPOP",
        "ZADD",
        "ZPOPMIN",
        "LRANGE_600",
        "MSET (10 keys)",
    ] {
        assert!(stdout.contains(test), "{test} is missing:\n{stdout}\n{stderr}");
    }
    assert!(!stdout.contains("ERR") && !stderr.contains("Error"), "{stdout}\n{stderr}");
}

#[test]
fn a_full_redis_refuses_writes_and_goes_on() {
    let _bed = Bed::new();
    let redis = Guest::create("redis.cfg", &[]);
    let mut stream = Guest::connect(REDIS);
    let value = vec![b'x'; 64 * 1024];
    let mut refused = false;
    for key in 0..400 {
        let mut request =
            format!("*3\r\n$3\r\nSET\r\n$6\r\n{key:06}\r\n${}\r\n", value.len()).into_bytes();
        request.extend(&value);
        request.extend(b"\r\n");
        stream.write_all(&request).expect("the guest takes the request");
        let mut answer = Vec::new();
        let mut byte = [0];
        while !answer.ends_with(b"\r\n") {
            stream.read_exact(&mut byte).expect("the guest answers");
            answer.push(byte[0]);
        }
        if answer.starts_with(b"-OOM") {
            refused = true;
            break;
        }
        assert_eq!(answer, b"+OK\r\n");
    }
    assert!(refused, "25 MiB fit in a guest of 8 MiB");
    assert_eq!(Guest::ask(REDIS, b"*1\r\n$4\r\nPING\r\n", b"\r\n"), b"+PONG\r\n");
    assert_eq!(Guest::ask(REDIS, b"*1\r\n$8\r\nFLUSHALL\r\n", b"\r\n"), b"+OK\r\n");
    assert_eq!(
        Guest::ask(REDIS, b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\nb\r\n", b"\r\n"),
        b"+OK\r\n"
    );
    assert!(redis.listed().is_some());
}

/// Clients that send half a command must not keep others out, and get Redis's answer when they all
/// are served.
#[test]
fn redis_admits_new_clients_while_others_send_half_a_command() {
    let _bed = Bed::new();
    let _redis = Guest::create("redis.cfg", &[]);
    // More clients than the guest has places for, within the 5 s for which they can keep them.
    let mut crowd: Vec<_> = (0..160).map(|_| Guest::connect(REDIS)).collect();
    for stream in &mut crowd {
        // The guest may have closed the connection already.
        let _ = stream.write_all(b"*2\r\n$3\r\nGET\r\n");
    }
    // The last one came when all places were taken.
    let mut refused = Vec::new();
    let _ = crowd[159].read_to_end(&mut refused);
    assert_eq!(refused, b"-ERR max number of clients reached\r\n");
    // This one gets the place of a client that has sent half a command for 5 s.
    let deadline = Instant::now() + Duration::from_secs(60);
    while Guest::ask(REDIS, b"PING\r\n", b"\r\n") != b"+PONG\r\n" {
        assert!(Instant::now() < deadline, "half commands keep new clients out");
    }
}

/// Clients that announce large commands and send nothing of them must not fill the guest's memory.
#[test]
fn redis_serves_large_commands_while_others_announce_some() {
    let _bed = Bed::new();
    let redis = Guest::create("redis.cfg", &[]);
    let mut crowd: Vec<_> = (0..20).map(|_| Guest::connect(REDIS)).collect();
    for stream in &mut crowd {
        // The guest closes those with the largest commands.
        let _ = stream.write_all(b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$700000\r\n");
    }
    let value = "v".repeat(400_000);
    let set = format!("*3\r\n$3\r\nSET\r\n$1\r\nb\r\n$400000\r\n{value}\r\n");
    assert_eq!(Guest::ask(REDIS, set.as_bytes(), b"\r\n"), b"+OK\r\n");
    // The clients that were closed were reset, or their connections ended.
    let is_closed = |stream: &mut TcpStream| {
        let _ = stream.set_read_timeout(Some(Duration::from_millis(100)));
        !matches!(stream.read(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock)
    };
    let closed: usize = crowd.iter_mut().map(|stream| usize::from(is_closed(stream))).sum();
    assert!(closed >= 10, "{closed} clients were closed");
    let log = chaos(&["log", "redis"]).ok();
    assert!(log.contains("incomplete requests"), "{log}");
    assert!(redis.listed().is_some());
}

/// A guest's clock must agree with dom0's from the start: a new guest's first stamps are from
/// before its counter began.
#[test]
fn the_clock_of_a_guest_runs_in_its_first_second() {
    let _bed = Bed::new();
    let _redis = Guest::create("redis.cfg", &[]);
    let mut stream = BufReader::new(Guest::connect(REDIS));
    let mut pttl = |request: &str| {
        stream.get_mut().write_all(request.as_bytes()).expect("the guest takes the request");
        let mut line = String::new();
        stream.read_line(&mut line).expect("the guest answers");
        line
    };
    assert_eq!(pttl("SET key value PX 100000\r\n"), "+OK\r\n");
    let started = Instant::now();
    let mut least = 100_000;
    while started.elapsed() < Duration::from_secs(3) {
        let before = started.elapsed();
        let left = pttl("PTTL key\r\n");
        let left: u128 = left.trim().trim_start_matches(':').parse().expect("milliseconds");
        let passed = 100_000 - left;
        // The key was set a little before `started`.
        let (least_ms, most_ms) = (before.as_millis(), started.elapsed().as_millis() + 100);
        assert!(
            passed + 2 >= least_ms && passed <= most_ms,
            "{passed} ms have passed in the guest, and {least_ms} to {most_ms} ms in dom0"
        );
        assert!(left <= least, "the clock went backwards");
        least = left;
    }
}

#[test]
fn daytime_answers_with_the_time() {
    let _bed = Bed::new();
    let _daytime = Guest::create("daytime.cfg", &[]);
    let answer = Guest::ask(DAYTIME, b"", b"");
    let text = String::from_utf8(answer).expect("the answer is text");
    let year = run("date", &["-u", "+%Y"]).ok();
    assert!(text.contains(year.trim()), "{text:?} is not in {year}");
}

#[test]
fn guests_reach_each_other_through_the_switch_only_with_their_own_addresses() {
    let _bed = Bed::new();
    let _redis = Guest::create("redis.cfg", &[]);
    let _daytime = Guest::create("daytime.cfg", &[]);
    // Both answer while the other one runs: the switch keeps them apart by address.
    assert_eq!(run("redis-cli", &["-h", "10.0.0.2", "ping"]).ok(), "PONG\n");
    assert!(!Guest::ask(DAYTIME, b"", b"").is_empty());
    // A MAC address in use is refused.
    let mac = chaos(&["list", "--json"]).json()[0]["vifs"][0]["mac"].clone();
    let mac = mac.as_str().expect("a vif has a MAC address");
    let vif = format!("vif=['mac={mac},ip=10.0.0.9/24']");
    chaos(&["create", "redis.cfg", "name='thief'", &vif]).refused(1, &["thief", mac]);
}

#[test]
fn addresses_of_dom0_and_of_other_guests_are_refused() {
    let _bed = Bed::new();
    let _redis = Guest::create("redis.cfg", &[]);
    let create = |ip: &str| {
        chaos(&["create", "daytime.cfg", "name='thief'", &format!("vif=['ip={ip}/24']")])
    };
    let domid = chaos(&["list", "--json"]).json()[0]["domid"].to_string();
    let owner = format!("guest redis (domain {domid})");
    create("10.0.0.2").refused(1, &["10.0.0.2 of vif0", "bridge xenbr0", &owner]);
    create("10.0.0.1").refused(1, &["10.0.0.1 of vif0", "dom0's interface xenbr0"]);
    // noxsd learns of addresses that dom0 gets while it runs.
    run("ip", &["addr", "add", "10.0.0.77/24", "dev", "xenbr0"]).ok();
    create("10.0.0.77").refused(1, &["10.0.0.77", "dom0's interface xenbr0"]);
    run("ip", &["addr", "del", "10.0.0.77/24", "dev", "xenbr0"]).ok();
    create("10.0.0.77").ok();
    chaos(&["destroy", "thief"]).ok();
}

#[test]
fn addresses_from_which_the_same_mac_address_is_derived_get_different_ones() {
    let bed = Bed::new();
    let create = |name: &str, ip: &str, options: &[&str]| {
        let (name, vif) = (format!("name='{name}'"), format!("vif=['ip={ip}/24']"));
        Guest::create("daytime.cfg", &[options, &[&name, &vif]].concat())
    };
    let mac = |guest: &Guest| {
        let listed = guest.listed().expect("the guest is listed");
        listed["vifs"][0]["mac"].as_str().expect("a vif has a MAC address").to_owned()
    };
    let settings = "memory='16M'\n[[flavour]]\nname='f'\nmemory='4M'\nbridges=['xenbr0']\n\
                    low=1\nhigh=1\n";
    run("ip", &["addr", "add", "12.0.0.1/24", "dev", "xenbr0"]).ok();
    {
        let first = create("first", "10.0.0.9", &[]);
        let second = create("second", "11.0.0.9", &[]);
        let chaosd = Chaosd::start(settings);
        chaosd.wait_until_full("f");
        // The guest of a shell runs before noxsd knows its address.
        let third = create("third", "12.0.0.9", &[]);
        assert_eq!(mac(&first), "00:16:3e:00:00:09");
        assert!(mac(&first) != mac(&second) && mac(&second) != mac(&third));
        assert!(!Guest::ask("12.0.0.9:13", b"", b"").is_empty(), "the guest uses its address");
        third.destroy();
        assert!(chaosd.stop());
    }
    run("ip", &["addr", "del", "12.0.0.1/24", "dev", "xenbr0"]).ok();
    bed.assert_empty("after the guests");
}

#[test]
fn guests_do_not_notice_that_noxsd_was_killed() {
    let _bed = Bed::new();
    let redis = Guest::create("redis.cfg", &[]);
    let mut stream = Guest::connect(REDIS);
    let ping = |stream: &mut std::net::TcpStream| {
        stream.write_all(b"PING\r\n").expect("the guest takes the request");
        let mut answer = [0; 7];
        stream.read_exact(&mut answer).expect("the guest answers");
        assert_eq!(&answer, b"+PONG\r\n");
    };
    ping(&mut stream);
    kill_noxsd();
    let listed = chaos(&["list"]);
    restart_noxsd();
    // A noxsd that is being killed closes the connection; then there is none.
    let warning = "warning: the guests' consoles, networks and disks stand still: noxsd ";
    assert!(listed.stderr.contains(warning), "{}", listed.stderr);
    assert!(listed.ok().contains("redis"));
    assert_eq!(chaos(&["list"]).stderr, "");
    // The connection survives: TCP retransmits what was lost.
    ping(&mut stream);
    assert!(redis.listed().is_some());
    assert!(chaos(&["log", "redis"]).ok().contains("redis: ready"));
}

#[test]
fn a_console_has_several_viewers_and_begins_with_what_none_of_them_has_seen() {
    let _bed = Bed::new();
    let guest = Guest::create("noop.cfg", &[]);
    guest.wait_for_log("noop: ready");
    let view = |args: &[&str]| {
        let mut command = Command::new("chaos");
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("chaos can be started")
    };
    let until = |output: &mut dyn Read, text: &str| {
        let mut seen = Vec::new();
        while !String::from_utf8_lossy(&seen).contains(text) {
            let mut byte = [0];
            assert_eq!(output.read(&mut byte).expect("it can be read"), 1, "no {text:?}");
            seen.extend(byte);
        }
        String::from_utf8_lossy(&seen).into_owned()
    };
    let mut writer = view(&["console", "noop"]);
    let mut output = writer.stdout.take().expect("a pipe");
    until(&mut output, "noop: ready");
    let mut reader = view(&["console", "noop"]);
    let mut note = reader.stderr.take().expect("a pipe");
    until(&mut note, "another client types at the console of guest noop");
    let mut log = view(&["log", "--follow", "noop"]);
    let mut logged = log.stdout.take().expect("a pipe");
    until(&mut logged, "noop: ready");

    // Ctrl-] detaches.
    writer.stdin.take().expect("a pipe").write_all(b"\x1d").expect("it reads");
    assert!(writer.wait().expect("it ends").success());
    let mut output = reader.stdout.take().expect("a pipe");
    until(&mut output, "your input goes to the guest now");
    guest.destroy();
    for mut viewer in [reader, log] {
        assert!(viewer.wait().expect("it ends").success(), "as the guest is destroyed");
    }
}

#[test]
fn the_console_shows_what_the_guest_prints() {
    let _bed = Bed::new();
    let guest = Guest::create("noop.cfg", &[]);
    guest.wait_for_log("noop: ready");
    assert!(chaos(&["log", "noop"]).ok().contains("noop: ready"));
}
