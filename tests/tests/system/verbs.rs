// SPDX-License-Identifier: GPL-3.0-or-later
//! Commands with the names and arguments of xl.

use system_tests::{Bed, Chaosd, Guest, chaos, ping};

#[test]
fn a_running_guest_is_renamed_and_its_restart_keeps_the_name() {
    let bed = Bed::new();
    let chaosd = Chaosd::start("memory = '32M'\n");
    let guest = Guest::create("redis.cfg", &["on_reboot='restart'"]);
    let mut stream = Guest::connect("10.0.0.2:6379");
    ping(&mut stream);
    chaos(&["rename", "redis", "cache"]).ok();
    ping(&mut stream);
    assert_eq!(chaos(&["domid", "cache"]).ok(), format!("{}\n", guest.domid));
    assert_eq!(chaos(&["domname", &guest.domid.to_string()]).ok(), "cache\n");
    chaos(&["domid", "redis"]).refused(3, &["no guest redis"]);
    assert!(chaos(&["log", "cache"]).ok().contains("redis: ready"));
    chaos(&["rename", "cache", "17"]).refused(2, &["must not be a number"]);
    let other = Guest::create("daytime.cfg", &[]);
    chaos(&["rename", "daytime", "cache"]).refused(1, &["cache is in use"]);
    chaos(&["reboot", "-w", "cache"]).ok();
    chaosd.wait_for_log("cache rebooted and is domain");
    ping(&mut Guest::connect("10.0.0.2:6379"));
    other.destroy();
    chaos(&["destroy", "-f", "cache"]).ok();
    guest.forget();
    assert!(chaosd.stop());
    bed.assert_empty("after the guests");
}

#[test]
fn all_guests_are_asked_to_shut_down_at_the_same_time() {
    let bed = Bed::new();
    let guests = [Guest::create("redis.cfg", &[]), Guest::create("daytime.cfg", &[])];
    for guest in &guests {
        guest.wait_for_log("ready");
    }
    let paused = Guest::create("noop.cfg", &["--paused"]);
    let asked = chaos(&["shutdown", "-a", "-w", "-F", "--timeout", "5"]);
    assert_eq!(asked.code, Some(5), "{}", asked.stderr);
    assert!(asked.stderr.contains("guest noop has not answered within 5 s"), "{}", asked.stderr);
    let listed = chaos(&["list", "--json"]).json();
    assert_eq!(listed.as_array().map(Vec::len), Some(1), "{listed}");
    guests.into_iter().for_each(Guest::forget);
    paused.destroy();
    assert_eq!(chaos(&["shutdown", "-a", "-w"]).ok(), "");
    chaos(&["shutdown", "-a", "redis"]).refused_arguments(&["--all"]);
    chaos(&["shutdown"]).refused_arguments(&["GUEST"]);
    bed.assert_empty("after the guests");
}

#[test]
fn uptimes_and_lists_are_those_of_the_guests_that_are_named() {
    let bed = Bed::new();
    let guests = [Guest::create("redis.cfg", &[]), Guest::create("daytime.cfg", &[])];
    let uptime = chaos(&["uptime"]).ok();
    let names: Vec<_> = uptime.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(names, ["Name", "Domain-0", "redis", "daytime"], "{uptime}");
    let short = chaos(&["uptime", "-s", "redis"]).ok();
    assert!(short.contains(&format!(" up  0:00, redis ({})", guests[0].domid)), "{short}");
    let listed = chaos(&["list", "daytime", &guests[0].domid.to_string()]).ok();
    let names: Vec<_> = listed.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(names, ["NAME", "daytime", "redis"], "{listed}");
    chaos(&["list", "nothing"]).refused(3, &["no guest nothing"]);
    chaos(&["uptime", "nothing"]).refused(3, &["no guest nothing"]);
    for (args, words) in [
        (&["console", "-n", "1", "redis"][..], "possible values: 0"),
        (&["vncviewer", "redis"], "a PVH guest has no display"),
    ] {
        let refused = chaos(args);
        assert_eq!(refused.code, Some(2));
        assert!(refused.stderr.contains(words), "{}", refused.stderr);
    }
    guests.into_iter().for_each(Guest::destroy);
    bed.assert_empty("after the guests");
}
