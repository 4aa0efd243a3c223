// SPDX-License-Identifier: GPL-3.0-or-later
//! Creates, lists and destroys guests.

use system_tests::{Bed, Guest, chaos, run};

#[test]
fn a_guest_without_devices_comes_and_goes() {
    let bed = Bed::new();
    let guest = Guest::create(&bed.bare_config("bare"), &[]);
    let listed = guest.listed().expect("the guest is listed");
    assert_eq!(listed["name"], "bare");
    // The guest's own memory, and the boot, device and answer pages.
    assert_eq!(listed["memory_kib"], 4096 + 12);
    assert_eq!(listed["vcpus"], 1);
    guest.destroy();
}

#[test]
fn destroy_returns_every_page() {
    let bed = Bed::new();
    let config = bed.bare_config("returned");
    // For the first guest after boot Xen may allocate memory that it keeps, such as a larger heap.
    Guest::create(&config, &[]).destroy();
    let before = bed.free_pages();
    for _ in 0..20 {
        Guest::create(&config, &[]).destroy();
    }
    assert_eq!(bed.free_pages(), before);
}

#[test]
fn guests_start_from_1_mib_and_have_kib_precision() {
    let bed = Bed::new();
    for memory in ["memory='1024K'", "memory='1100K'", "memory=2", "memory='3340K'", "memory=64"] {
        let guest = Guest::create("noop.cfg", &[memory]);
        guest.wait_for_log("noop: ready");
        guest.destroy();
    }
    drop(bed);
}

#[test]
fn a_guest_exists_if_its_config_was_piped_and_its_result_could_not_be_printed() {
    let bed = Bed::new();
    let config = bed.bare_config("full");
    let ran = run("sh", &["-c", &format!("cat {config} | chaos create - > /dev/full")]);
    ran.refused(6, &["the command was carried out", "No space left"]);
    assert!(chaos(&["list"]).ok().contains("full"));
    chaos(&["destroy", "full"]).ok();
}

#[test]
fn the_stages_of_a_create_are_reported() {
    let _bed = Bed::new();
    let guest = Guest::create("redis.cfg", &[]);
    let stages = guest.created["stages"].as_array().expect("stages are an array");
    let names: Vec<&str> = stages.iter().filter_map(|stage| stage["name"].as_str()).collect();
    for expected in ["config", "createdomain", "populate", "image", "seal", "unpause"] {
        assert!(names.contains(&expected), "{expected} is not among {names:?}");
    }
    let sum: u64 = stages.iter().filter_map(|stage| stage["ns"].as_u64()).sum();
    assert_eq!(guest.created["total_ns"].as_u64(), Some(sum));
}

#[test]
fn a_paused_guest_runs_when_it_is_unpaused() {
    let bed = Bed::new();
    let guest = Guest::create("noop.cfg", &["--paused"]);
    assert_eq!(guest.state(), "paused");
    chaos(&["unpause", &guest.name]).ok();
    guest.wait_for_log("noop: ready");
    // One that runs keeps running.
    chaos(&["unpause", &guest.name]).ok();
    chaos(&["pause", &guest.name]).ok();
    assert_eq!(guest.state(), "paused");
    let command = ["shutdown", "--timeout=1", &guest.name];
    chaos(&command).refused(5, &["because it is paused", "chaos unpause noop"]);
    guest.destroy();
    drop(bed);
}

#[test]
fn overrides_on_the_command_line_win() {
    let _bed = Bed::new();
    let guest = Guest::create("noop.cfg", &["name='other'", "memory=2"]);
    assert_eq!(guest.name, "other");
    let listed = guest.listed().expect("the guest is listed");
    assert!(listed["memory_kib"].as_u64().is_some_and(|kib| kib < 3072), "{listed}");
}

#[test]
fn a_name_is_free_again_after_destroy() {
    let bed = Bed::new();
    let config = bed.bare_config("again");
    let first = Guest::create(&config, &[]);
    let domid = first.domid;
    first.destroy();
    let second = Guest::create(&config, &[]);
    assert_ne!(second.domid, domid, "Xen assigns the next domid");
}

#[test]
fn a_hundred_guests_live_side_by_side() {
    let bed = Bed::new();
    let guests: Vec<Guest> = (0..100)
        .map(|n| Guest::create("noop.cfg", &["memory=2", &format!("name='noop-{n}'")]))
        .collect();
    for guest in &guests {
        guest.wait_for_log("noop: ready");
    }
    let listed = chaos(&["list", "--json"]).json();
    assert_eq!(listed.as_array().map(Vec::len), Some(100));
    drop(guests);
    drop(bed);
}

#[test]
fn the_table_names_each_guest() {
    let bed = Bed::new();
    let guest = Guest::create(&bed.bare_config("shown"), &[]);
    let table = chaos(&["list"]).ok();
    let mut lines = table.lines();
    let header: Vec<&str> = lines.next().expect("a header").split_whitespace().collect();
    assert_eq!(header, ["NAME", "ID", "MEM(MiB)", "VCPUS", "STATE", "CPU(s)", "AGE"]);
    let row = lines.next().expect("a row");
    assert!(row.starts_with("shown") && row.contains(&guest.domid.to_string()), "{row}");
    let all = chaos(&["list", "--all"]).ok();
    assert!(all.contains("Domain-0"), "{all}");
}
