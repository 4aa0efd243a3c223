// SPDX-License-Identifier: GPL-3.0-or-later
//! `chaos config-update`: a guest is restarted with another config.

use std::fs;

use serde_json::Value;
use system_tests::{Bed, Chaosd, Guest, chaos};

/// Returns the config that `chaos list -l` shows of a guest.
#[track_caller]
fn config_of(name: &str) -> Value {
    let listed = chaos(&["list", "-l", name]).json();
    listed[0]["config"].clone()
}

/// Checks that the daytime guest answers.
#[track_caller]
fn answers() {
    let answer = Guest::ask("10.0.0.3:13", b"", b"\n");
    assert!(answer.ends_with(b"\n"), "{answer:?}");
}

#[test]
fn a_guest_restarts_with_the_config_of_the_last_update() {
    let bed = Bed::new();
    let chaosd = Chaosd::start("memory = '8M'");
    let guest = Guest::create("daytime.cfg", &[]);
    answers();
    let before = config_of("daytime");
    let kernel = bed.file("kernel", fs::read("daytime").expect("the guest is there"));
    // Another memory, another kernel, and another action; the second update replaces the first one.
    let wanted = format!("kernel={kernel}");
    chaos(&["config-update", "daytime", "daytime.cfg", "memory=16"]).ok();
    let updated = chaos(&["config-update", "daytime", "-f", "daytime.cfg", "memory=8", &wanted]);
    assert!(updated.stderr.contains("chaosd restarts it with the new one"), "{}", updated.stderr);
    updated.ok();

    // A config that cannot be used changes nothing.
    for wrong in [&["kernel=/no/kernel"][..], &["name=other"], &["ramdisk=/no/ramdisk"]] {
        let all = [&["config-update", "daytime", "daytime.cfg"], wrong].concat();
        chaos(&all).refused(2, &[]);
    }
    chaos(&["config-update", "daytime", "daytime.cfg", "memory=0"]).refused_config(&["memory"]);
    chaos(&["config-update", "daytime", "memory=4"]).refused(2, &["a config file is missing"]);
    chaos(&["config-update", "nothing", "daytime.cfg"]).refused(3, &["no guest nothing"]);
    assert_eq!(config_of("daytime"), before, "the running guest is as it was");
    answers();

    chaos(&["reboot", "daytime"]).ok();
    chaosd.wait_for_log("daytime rebooted and is domain");
    answers();
    let after = config_of("daytime");
    assert_eq!((&after["memory_kib"], &after["kernel"]), (&8192.into(), &kernel.as_str().into()));
    assert_eq!(after["vifs"], before["vifs"], "it keeps its addresses");

    // Its successor keeps this config, and the next one is only the next one's.
    let quiet = chaos(&["config-update", "-q", "daytime", "daytime.cfg", "on_reboot=destroy"]);
    assert!(quiet.stderr.contains("none of its actions does"), "{}", quiet.stderr);
    quiet.ok();
    chaos(&["reboot", "-w", "daytime"]).ok();
    guest.forget();
    assert!(chaosd.stop());
    bed.assert_empty("after it was destroyed instead of restarted");
}

#[test]
fn a_config_is_kept_for_a_chaosd_that_starts_later() {
    let bed = Bed::new();
    let guest = Guest::create("daytime.cfg", &[]);
    answers();
    let updated = chaos(&["config-update", "daytime", "daytime.cfg", "memory=8"]);
    assert!(updated.stderr.contains("chaosd does not run"), "{}", updated.stderr);
    updated.ok();
    chaos(&["rename", "daytime", "renamed"]).ok();
    chaos(&["reboot", "renamed"]).ok();
    let chaosd = Chaosd::start("memory = '8M'");
    chaosd.wait_for_log("renamed rebooted and is domain");
    answers();
    assert_eq!(config_of("renamed")["memory_kib"], 8192);
    chaos(&["destroy", "renamed"]).ok();
    guest.forget();
    assert!(chaosd.stop());
    bed.assert_empty("after the guest");
}
