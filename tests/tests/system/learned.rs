// SPDX-License-Identifier: GPL-3.0-or-later
//! The pool of a `chaosd` whose configuration names no flavour.

use std::fs;

use system_tests::{Bed, Chaosd, Guest, chaos, ping};

/// Returns an entry of `chaos pool --json`.
fn flavour(name: &str) -> Option<serde_json::Value> {
    let pool = chaos(&["pool", "--json"]).json();
    pool.as_array().expect("an array").iter().find(|entry| entry["name"] == name).cloned()
}

#[test]
fn what_was_asked_for_is_kept_ready_without_a_flavour() {
    let bed = Bed::new();
    let chaosd = Chaosd::start("learn = true\n");
    assert_eq!(chaos(&["pool", "--json"]).json().as_array().map(Vec::len), Some(0));
    let first = Guest::create("redis.cfg", &[]);
    assert_eq!(first.created["shell"], "cold");
    chaosd.wait_until_full("redis");
    let second = Guest::create("redis.cfg", &["name='second'", "vif=['ip=10.0.0.9/24']"]);
    assert_eq!(second.created["shell"], "warm", "{}", second.created);
    for address in ["10.0.0.2:6379", "10.0.0.9:6379"] {
        ping(&mut Guest::connect(address));
    }
    // Another kind has shells of its own, as many as were asked for in a burst.
    chaos(&["create", "-n", "4", "daytime.cfg", "vif=['ip=10.0.0.20/24']"]).ok();
    chaosd.wait_for_log("flavour daytime is full: 4 shells");
    let learned = flavour("daytime").expect("it is listed");
    assert_eq!(learned["learned"], true, "{learned}");
    let table = chaos(&["pool"]).ok();
    assert!(table.contains("learned, console, vif on xenbr0"), "{table}");
    // One that is resized is kept, whatever is asked for.
    chaos(&["pool", "resize", "daytime", "1", "2"]).ok();
    let pinned = flavour("daytime").expect("it is listed");
    assert_eq!((&pinned["learned"], &pinned["high"]), (&false.into(), &2.into()), "{pinned}");
    // Nothing is kept after drain.
    chaos(&["pool", "drain"]).ok();
    for _ in 0..2 {
        let third = Guest::create("redis.cfg", &["name='third'", "vif=['ip=10.0.0.10/24']"]);
        assert_eq!(third.created["shell"], "cold");
        third.destroy();
    }
    for number in 1..=4 {
        chaos(&["destroy", &format!("daytime-{number}")]).ok();
    }
    first.destroy();
    second.destroy();
    assert!(chaosd.stop());
    bed.assert_empty("after chaosd has exited");
}

#[test]
fn what_is_kept_ready_has_the_memory_that_flavours_leave() {
    let bed = Bed::new();
    let mut chaosd = Chaosd::start(
        "learn = true\nmemory = '20M'\n[[flavour]]\nname = 'small'\nmemory = '4M'\n\
         bridges = ['xenbr0']\nlow = 2\nhigh = 2\n",
    );
    chaosd.wait_until_full("small");
    for _ in 0..3 {
        Guest::create("redis.cfg", &[]).destroy();
    }
    chaosd.wait_until_full("redis");
    assert_eq!(chaosd.pool("redis", "high"), 1, "12 MiB are left for shells of 8 MiB");
    // What a flavour names is not learned, and what is larger than all that is left neither.
    Guest::create("daytime.cfg", &[]).destroy();
    Guest::create("daytime.cfg", &["memory=16"]).destroy();
    assert!(flavour("daytime").is_none());
    assert_eq!(chaosd.pool("small", "hits"), 1);
    // The next chaosd has nothing learned yet, and removes what was kept.
    chaosd.kill_and_restart();
    assert!(flavour("redis").is_none());
    assert!(chaosd.stop());
    bed.assert_empty("after chaosd has exited");
}

#[test]
fn a_kernel_that_is_another_one_each_time_gets_shells_without_a_kernel() {
    let bed = Bed::new();
    let chaosd = Chaosd::start("learn = true\n");
    let redis = fs::read("redis").expect("the guest is there");
    let kernel = bed.file("kernel", &redis);
    let create = |shell: &str| {
        // Another file has another key.
        fs::remove_file(&kernel).expect("it can be removed");
        fs::write(&kernel, &redis).expect("it can be written");
        let guest = Guest::create("redis.cfg", &[&format!("kernel='{kernel}'")]);
        assert_eq!(guest.created["shell"], shell, "{}", guest.created);
        ping(&mut Guest::connect("10.0.0.2:6379"));
        guest.destroy();
    };
    create("cold");
    chaosd.wait_until_full("kernel");
    create("cold");
    chaosd.wait_until_full("learned");
    create("pool");
    let pool = chaos(&["pool", "--json"]).json();
    assert_eq!(pool.as_array().map(Vec::len), Some(1), "{pool}");
    assert!(pool[0]["kernel"].is_null(), "{pool}");
    assert!(chaosd.stop());
    bed.assert_empty("after chaosd has exited");
}
