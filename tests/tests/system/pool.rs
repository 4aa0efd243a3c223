// SPDX-License-Identifier: GPL-3.0-or-later
//! `chaosd`'s pool and its clients, also when daemons are killed.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::thread::{self, ScopedJoinHandle};

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, recv, send, socket,
};
use system_tests::{Bed, Chaosd, Guest, chaos, restart_noxsd};

const SETTINGS: &str = "memory = '64M'
[[flavour]]
name = 'daytime'
memory = '4M'
bridges = ['xenbr0']
low = 2
high = 5
";

fn warm() -> String {
    format!(
        "{SETTINGS}[[flavour]]\nname='redis'\nmemory='8M'\nbridges=['xenbr0']\n\
             kernel='/root/redis'\nlow=1\nhigh=2\n"
    )
}

/// Checks that the daytime guest at `10.0.0.ADDRESS` answers.
#[track_caller]
fn answers(address: u8) {
    let answer = Guest::ask(&format!("10.0.0.{address}:13"), b"", b"\n");
    assert!(answer.ends_with(b"\n"), "{answer:?}");
}

/// Destroys the guests of `create -n`.
fn destroy(guests: u32) {
    for number in 1..=guests {
        chaos(&["destroy", &format!("daytime-{number}")]).ok();
    }
}

#[test]
fn guests_come_from_the_pool_and_also_when_it_is_empty() {
    let bed = Bed::new();
    let chaosd = Chaosd::start(SETTINGS);
    chaosd.wait_until_full("daytime");
    assert_eq!(bed.domains().len(), 5);
    assert_eq!(chaos(&["list", "--json"]).json().as_array().map(Vec::len), Some(0));
    let all = chaos(&["list", "--all", "--json"]).json();
    let shells = all.as_array().expect("an array").iter().filter(|one| one["state"] == "shell");
    assert_eq!(shells.count(), 5);

    let created = chaos(&["create", "--json", "-n", "20", "daytime.cfg"]).json();
    let created = created.as_array().expect("an array");
    assert_eq!(created.len(), 20);
    assert_eq!(created[0]["shell"], "pool");
    let from_pool = created.iter().filter(|guest| guest["shell"] == "pool").count();
    assert!(from_pool >= 5, "{from_pool} from the pool");
    assert_eq!(chaosd.pool("daytime", "hits"), from_pool as u64);
    assert_eq!(chaosd.pool("daytime", "misses"), 20 - from_pool as u64);
    for address in 3..23 {
        answers(address);
    }
    destroy(20);
    chaosd.wait_until_refilled("daytime");
    let guest = Guest::create("daytime.cfg", &[]);
    assert_eq!(guest.created["shell"], "pool", "the pool has recovered");
    guest.destroy();
    assert!(chaosd.stop(), "chaosd failed");
    bed.assert_empty("after chaosd has exited");
}

#[test]
fn warm_and_cold_shells_and_no_daemon_yield_the_same_guest() {
    let _bed = Bed::new();
    let facts = |args: &[&str]| {
        let guest = Guest::create("redis.cfg", args);
        // The whole line: with several processors, the log is read while the guest still prints.
        let log = guest.wait_for_log(":6379\n");
        let mut listed = guest.listed().expect("it is listed");
        for changing in ["domid", "handle", "age_ms", "cpu_time_ns", "state"] {
            listed[changing] = serde_json::Value::Null;
        }
        let pong = Guest::ask("10.0.0.2:6379", b"PING\r\n", b"\n");
        assert_eq!(pong, b"+PONG\r\n");
        (guest.created["shell"].clone(), listed, log)
    };
    let chaosd = Chaosd::start(&warm());
    chaosd.wait_until_full("redis");
    let (warm, warm_facts, warm_log) = facts(&[]);
    chaos(&["pool", "drain"]).ok();
    let (cold, cold_facts, cold_log) = facts(&[]);
    let (alone, alone_facts, alone_log) = facts(&["--no-daemon"]);
    assert_eq!((warm, cold, alone), ("warm".into(), "cold".into(), "cold".into()));
    assert_eq!(warm_facts, alone_facts);
    assert_eq!(cold_facts, alone_facts);
    assert_eq!((&warm_log, &cold_log), (&alone_log, &alone_log));
    drop(chaosd);
}

#[test]
fn a_killed_chaosd_does_not_harm_guests_and_the_next_one_replaces_its_shells() {
    let bed = Bed::new();
    let before = bed.free_pages();
    let mut chaosd = Chaosd::start(SETTINGS);
    chaosd.wait_until_full("daytime");
    chaos(&["create", "-n", "2", "daytime.cfg"]).ok();
    chaosd.kill_and_restart();
    chaosd.wait_until_full("daytime");
    assert_eq!(bed.domains().len(), 2 + 5, "two guests, five new shells");
    answers(3);
    answers(4);
    chaos(&["create", "daytime.cfg", "vif=['ip=10.0.0.9/24']", "name='third'"]).ok();
    answers(9);
    chaos(&["destroy", "third"]).ok();
    destroy(2);
    assert!(chaosd.stop());
    bed.assert_empty("after chaosd has exited");
    assert_eq!(bed.free_pages(), before, "memory is lost");
}

#[test]
fn shells_survive_a_killed_noxsd() {
    let _bed = Bed::new();
    let chaosd = Chaosd::start(SETTINGS);
    chaosd.wait_until_full("daytime");
    restart_noxsd();
    let guest = Guest::create("daytime.cfg", &[]);
    assert_eq!(guest.created["shell"], "pool");
    answers(3);
    drop(guest);
    drop(chaosd);
}

#[test]
fn the_pool_can_be_resized_and_drained() {
    let bed = Bed::new();
    let chaosd = Chaosd::start(SETTINGS);
    chaosd.wait_until_full("daytime");
    chaos(&["pool", "resize", "daytime", "1", "3"]).ok();
    assert_eq!(chaosd.pool("daytime", "ready"), 3);
    chaos(&["pool", "resize", "daytime", "4", "1"]).refused(2, &["low = 4", "high, which is 1"]);
    chaos(&["pool", "resize", "none", "0", "1"]).refused(2, &["there is no flavour none"]);
    chaos(&["pool", "drain"]).ok();
    assert_eq!(chaosd.pool("daytime", "ready"), 0);
    assert!(chaosd.stop());
    bed.assert_empty("after chaosd has exited");
    chaos(&["pool"]).refused(4, &["chaosd is not running"]);
}

#[test]
fn a_refused_create_does_not_stop_chaosd() {
    let _bed = Bed::new();
    let chaosd = Chaosd::start(SETTINGS);
    chaosd.wait_until_full("daytime");
    let guest = Guest::create("daytime.cfg", &[]);
    chaos(&["create", "daytime.cfg"]).refused(1, &["daytime is in use"]);
    chaos(&["create", "daytime.cfg", "name='other'", "kernel='/etc/passwd'"])
        .refused(2, &["/etc/passwd", "not a kernel"]);
    answers(3);
    drop(guest);
    assert!(chaosd.stop());
}

#[test]
fn an_invalid_request_costs_only_its_sender_the_connection() {
    let _bed = Bed::new();
    let chaosd = Chaosd::start(SETTINGS);
    let client = || -> OwnedFd {
        let client =
            socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::empty(), None).unwrap();
        let address = UnixAddr::new("/run/chaos/chaosd.sock").unwrap();
        connect(client.as_raw_fd(), &address).unwrap();
        client
    };
    let silent: Vec<OwnedFd> = (0..100).map(|_| client()).collect();
    for packet in [&b"hello"[..], &[1], &[0; 30_000], &[1, 0xff, 0xff]] {
        let client = client();
        let fd = client.as_fd().as_raw_fd();
        send(fd, packet, MsgFlags::MSG_NOSIGNAL).unwrap();
        assert_eq!(recv(fd, &mut [0; 10], MsgFlags::empty()), Ok(0), "{packet:?}");
    }
    let guest = Guest::create("daytime.cfg", &[]);
    answers(3);
    drop((guest, silent));
    assert!(chaosd.stop());
}

#[test]
fn creates_in_flight_survive_restarts_of_chaosd() {
    const GUESTS: u8 = 12;
    let bed = Bed::new();
    let mut chaosd = Chaosd::start(SETTINGS);
    let create = |number: u8| {
        let name = format!("name='g{number}'");
        let vif = format!("vif=['bridge=xenbr0,ip=10.0.0.{}/24']", 10 + number);
        chaos(&["create", "daytime.cfg", &name, &vif]).ok();
    };
    thread::scope(|scope| {
        let halves = [0..GUESTS / 2, GUESTS / 2..GUESTS];
        let creates = halves.map(|numbers| scope.spawn(move || numbers.for_each(create)));
        let mut restarts = 0;
        while !creates.iter().all(ScopedJoinHandle::is_finished) {
            restarts += 1;
            if restarts % 2 == 0 { chaosd.restart() } else { chaosd.kill_and_restart() }
        }
        println!("{restarts} restarts");
    });
    let listed = chaos(&["list", "--json"]).json();
    assert_eq!(listed.as_array().map(Vec::len), Some(usize::from(GUESTS)), "{listed}");
    for number in 0..GUESTS {
        answers(10 + number);
        chaos(&["destroy", &format!("g{number}")]).ok();
    }
    assert!(chaosd.stop());
    bed.assert_empty("after chaosd has exited");
}
