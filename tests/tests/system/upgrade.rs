// SPDX-License-Identifier: GPL-3.0-or-later
//! Replaces both daemons by builds that speak a newer version of their protocols, as an upgrade
//! does.

use system_tests::{
    Bed, Chaosd, Guest, NewerNoxsd, chaos, newer, newer_chaos, ping, wait_for_file,
};

const SETTINGS: &str = "memory = '16M'
[[flavour]]
name = 'daytime'
memory = '4M'
bridges = ['xenbr0']
low = 1
high = 1
";

#[test]
fn guests_go_on_when_both_daemons_are_replaced_by_a_newer_release() {
    let bed = Bed::new();
    let chaosd = Chaosd::start(SETTINGS);
    chaosd.wait_until_full("daytime");
    let redis = Guest::create("redis.cfg", &[]);
    let mut stream = Guest::connect("10.0.0.2:6379");
    let printing = Guest::create("hostile.cfg", &["cmdline='flood'"]);
    printing.wait_for_log("of a flood");
    ping(&mut stream);

    chaosd.kill();
    let upgraded = NewerNoxsd::replace();
    let chaosd = Chaosd::start_program(&newer("chaosd"), SETTINGS);
    // The new chaosd refuses the old command, so it is indeed newer.
    chaos(&["create", "noop.cfg"]).refused(1, &["closed the connection"]);

    // The connection survives, and so does the console.
    ping(&mut stream);
    let last = last_line(&printing.wait_for_log("of a flood"));
    let what = format!("a line with a number above {}", last + 100);
    wait_for_file(&printing.log_path(), &what, |log| last_line(log) > last + 100);

    // The newer command lists the guests, and the newer chaosd creates new ones from new shells.
    let listed = newer_chaos(&["list", "--json"]).json();
    for guest in [&redis, &printing] {
        let found = listed
            .as_array()
            .and_then(|all| all.iter().find(|one| one["domid"].as_u64() == Some(guest.domid)));
        let found = found.unwrap_or_else(|| panic!("{} is not listed: {listed}", guest.name));
        assert_eq!(found["handle"], guest.created["handle"]);
        assert_eq!(found["broken_devices"].as_array().map(Vec::len), Some(0), "{found}");
    }
    chaosd.wait_until_full("daytime");
    let created = newer_chaos(&["create", "--json", "daytime.cfg"]).json();
    assert_eq!(created["shell"], "pool", "{created}");
    assert!(!Guest::ask("10.0.0.3:13", b"", b"").is_empty());
    ping(&mut stream);
    newer_chaos(&["destroy", &redis.name, &printing.name, "daytime"]).ok();
    redis.forget();
    printing.forget();
    assert!(chaosd.stop());
    bed.assert_empty("after all guests are destroyed");
    drop(upgraded);
}

/// Returns the number of the last line of its flood that the guest `hostile` has printed.
fn last_line(log: &str) -> u64 {
    let numbers = log.rsplit("hostile: line ").filter_map(|rest| {
        rest.split_once(" of a flood").and_then(|(number, _)| number.parse().ok())
    });
    numbers.max().unwrap_or(0)
}
