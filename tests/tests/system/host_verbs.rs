// SPDX-License-Identifier: GPL-3.0-or-later
//! Commands of xl for CPUs and cpupools, where no XenStore runs.

use system_tests::{Bed, Guest, chaos};
use xen::Xen;
use xen::cpupool::Cpupool;

/// Returns the cpupools.
fn cpupools() -> Vec<Cpupool> {
    Xen::open().expect("dom0 can open Xen").cpupools().expect("a list")
}

/// Returns the lines of a command's output, without the header, as words.
fn rows(args: &[&str]) -> Vec<Vec<String>> {
    let text = chaos(args).ok();
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect();
    text.lines().skip(1).map(words).collect()
}

#[test]
fn a_guest_with_a_device_page_is_listed_and_pinned() {
    let bed = Bed::new();
    let guest = Guest::create("redis.cfg", &["name='cache'"]);
    let listed = rows(&["vcpu-list", "cache"]);
    assert_eq!(listed.len(), 1, "{listed:?}");
    assert_eq!(listed[0][..3], ["cache", &guest.domid.to_string(), "0"], "{listed:?}");
    assert_eq!(listed[0][6..], ["all", "/", "all"], "{listed:?}");
    let all = rows(&["vcpu-list"]);
    assert!(all.iter().any(|row| row[0] == "Domain-0" && row[1] == "0"), "{all:?}");
    assert!(all.contains(&listed[0]) || all.iter().any(|row| row[0] == "cache"), "{all:?}");

    let last = cpupools()[0].cpus.iter().last().expect("a CPU").to_string();
    chaos(&["vcpu-pin", "cache", "0", &last]).ok();
    let pinned = rows(&["vcpu-list", "cache"]);
    let shown = if last == "0" { "all" } else { &last };
    assert_eq!(pinned[0][6..], [shown, "/", "all"], "{pinned:?}");
    chaos(&["vcpu-pin", "cache", "all", "all", "-"]).ok();
    assert_eq!(rows(&["vcpu-list", "cache"])[0][6..], ["all", "/", "all"]);

    chaos(&["sched-credit2", "-d", "cache", "-w", "400", "-c", "50"]).ok();
    let share = rows(&["sched-credit2", "-d", "cache"]);
    assert_eq!(share[0][2..], ["400", "50"], "{share:?}");
    guest.destroy();
    bed.assert_empty("after the guest");
}

#[test]
fn cpupools_have_numbers_and_no_other_names() {
    let bed = Bed::new();
    let guest = Guest::create("redis.cfg", &[]);
    chaos(&["cpupool-rename", "0", "base"]).refused(4, &["kept in XenStore", "xenstored"]);
    let created = chaos(&["cpupool-create", "name=batch", "sched=credit"]);
    assert!(created.stderr.contains("cannot get the name batch"), "{}", created.stderr);
    let report = created.ok();
    let pools = cpupools();
    let name = format!("Pool-{}", pools.last().expect("the new one").id);
    assert!(pools.len() == 2 && report.contains(&format!("cpupool name:   {name}\n")), "{report}");
    assert_eq!(rows(&["cpupool-list", &name])[0], [name.as_str(), "0", "credit", "y", "0"]);

    let last = pools[0].cpus.iter().last().expect("a CPU");
    if last == 0 {
        // The machine has one CPU, which stays in the first cpupool.
        chaos(&["cpupool-migrate", "redis", &name]).refused(1, &["has no CPUs"]);
    } else {
        let cpu = last.to_string();
        chaos(&["cpupool-cpu-remove", "Pool-0", &cpu]).ok();
        chaos(&["cpupool-cpu-add", &name, "all"]).ok();
        chaos(&["cpupool-migrate", "redis", &name]).ok();
        assert_eq!(rows(&["cpupool-list", "-c", &name])[0], [name.as_str(), &cpu]);
        assert_eq!(rows(&["vcpu-list", "redis"])[0][3], cpu);
        let members = chaos(&["sched-credit"]).ok();
        assert!(members.contains(&name) && members.contains("redis"), "{members}");
        chaos(&["vcpu-pin", "redis", "0", "0"]).refused(1, &["none is in its cpupool"]);
        chaos(&["cpupool-cpu-remove", &name, &cpu]).refused(1, &["the last CPU"]);
        chaos(&["cpupool-destroy", &name]).refused(1, &["has 1 domains; move them first"]);
        chaos(&["cpupool-migrate", "Domain-0", &name]).refused(1, &["Domain-0"]);
        chaos(&["cpupool-migrate", "redis", "0"]).ok();
    }
    chaos(&["cpupool-destroy", &name]).ok();
    chaos(&["cpupool-cpu-add", "0", "all"]).ok();
    let left = cpupools();
    assert_eq!((left.len(), &left[0].cpus), (1, &pools[0].cpus));
    guest.destroy();
    bed.assert_empty("after the guest");
}
