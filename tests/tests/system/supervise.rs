//! `chaosd` carries out what is to happen when a guest ends.

use serde_json::Value;
use system_tests::{Bed, Chaosd, Guest, chaos};

const SETTINGS: &str = "memory = '32M'
[[flavour]]
name = 'daytime'
memory = '4M'
bridges = ['xenbr0']
low = 1
high = 2
";

fn answers() {
    let answer = Guest::ask("10.0.0.3:13", b"", b"\n");
    assert!(answer.ends_with(b"\n"), "{answer:?}");
}

/// Who has a name. Domains that Xen has not let go of yet are listed without one.
fn listed(name: &str) -> Option<Value> {
    let guests = chaos(&["list", "--json"]).json();
    let guests = guests.as_array().expect("list prints an array").clone();
    guests.into_iter().find(|one| one["name"] == name)
}

fn state_of(name: &str) -> Option<String> {
    listed(name)?["state"].as_str().map(str::to_owned)
}

#[test]
fn a_guest_that_powers_off_is_destroyed() {
    let bed = Bed::new();
    for args in [&[][..], &["--no-daemon"]] {
        let chaosd = Chaosd::start("memory = '8M'");
        let guest = Guest::create("daytime.cfg", args);
        answers();
        chaos(&["shutdown", "daytime"]).ok();
        chaosd.wait_for_log("daytime powered off and is destroyed");
        guest.forget();
        assert!(chaosd.end());
        bed.assert_empty("after it has powered off");
    }
}

#[test]
fn a_guest_that_reboots_is_made_again_with_its_name_and_its_addresses() {
    let _bed = Bed::new();
    let chaosd = Chaosd::start(SETTINGS);
    chaosd.wait_until_full("daytime");
    let guest = Guest::create("daytime.cfg", &[]);
    answers();
    let before = guest.listed().expect("it is listed");
    chaos(&["reboot", "daytime"]).ok();
    chaosd.wait_for_log("daytime rebooted and is domain");
    answers();
    let after = listed("daytime").expect("it is listed again");
    assert_ne!(before["handle"], after["handle"]);
    assert_eq!(before["name"], after["name"]);
    assert_eq!(before["vifs"], after["vifs"]);
    chaos(&["destroy", "daytime"]).ok();
    guest.forget();
    drop(chaosd);
}

#[test]
fn a_guest_that_ended_while_no_chaosd_ran_is_dealt_with() {
    let _bed = Bed::new();
    let guest = Guest::create("daytime.cfg", &["on_poweroff='restart'"]);
    answers();
    chaos(&["shutdown", "daytime"]).ok();
    let chaosd = Chaosd::start("memory = '8M'");
    chaosd.wait_for_log("daytime powered off and is domain");
    answers();
    chaos(&["destroy", "daytime"]).ok();
    guest.forget();
    drop(chaosd);
}

#[test]
fn a_guest_can_be_kept_under_another_name_or_as_it_is() {
    let _bed = Bed::new();
    let chaosd = Chaosd::start(SETTINGS);
    let guest = Guest::create("daytime.cfg", &["on_reboot='rename-restart'"]);
    answers();
    chaos(&["reboot", "daytime"]).ok();
    chaosd.wait_for_log("daytime rebooted, is kept as daytime-1, and is domain");
    answers();
    assert_eq!(state_of("daytime-1").as_deref(), Some("rebooted"));
    assert_ne!(state_of("daytime").as_deref(), Some("rebooted"));
    chaos(&["destroy", "daytime", "daytime-1"]).ok();
    guest.forget();

    let guest = Guest::create("daytime.cfg", &["on_poweroff='preserve'"]);
    answers();
    chaos(&["shutdown", "daytime"]).ok();
    chaosd.wait_for_log("daytime powered off and is kept");
    assert_eq!(state_of("daytime").as_deref(), Some("powered-off"));
    guest.destroy();
    drop(chaosd);
}

#[test]
fn a_guest_that_crashes_at_once_is_not_made_again_for_ever() {
    let _bed = Bed::new();
    let chaosd = Chaosd::start("memory = '8M'");
    let guest = Guest::create("hostile.cfg", &["cmdline='panic'", "on_crash='restart'"]);
    chaosd.wait_for_log("it was restarted 5 times in 60 s and is kept now");
    assert_eq!(state_of(&guest.name).as_deref(), Some("crashed"));
    guest.destroy();
    drop(chaosd);
}

/// Guests that take the memory that is free, but for less than a guest needs. The second is small,
/// so that what Xen needs beside is known well enough.
fn hogs(bed: &Bed) -> [Guest; 2] {
    ["hog", "piglet"].map(|name| {
        let free_mib = bed.free_pages() / 256;
        let memory = if name == "hog" { free_mib - 64 } else { free_mib - 3 };
        let text =
            format!("name='{name}'\ntype='pvh'\nkernel='noop'\nmemory={memory}\nconsole=0\n");
        Guest::create(&bed.file(&format!("{name}.cfg"), text), &["--paused", "--no-daemon"])
    })
}

#[test]
fn a_guest_that_cannot_be_made_again_now_is_when_there_is_memory() {
    let bed = Bed::new();
    let chaosd = Chaosd::start("memory = '8M'");
    let guest = Guest::create("daytime.cfg", &["on_reboot='rename-restart'"]);
    answers();
    let [hog, piglet] = hogs(&bed);
    chaos(&["reboot", "daytime"]).ok();
    chaosd.wait_for_log("cannot restart daytime");
    assert_eq!(state_of("daytime").as_deref(), Some("pending-restart"));
    assert_eq!(state_of("daytime-1").as_deref(), Some("rebooted"));
    piglet.destroy();
    chaosd.wait_for_log("daytime, which had ended, is domain");
    answers();
    hog.destroy();
    chaos(&["destroy", "daytime", "daytime-1"]).ok();
    guest.forget();
    assert!(chaosd.end());
}

#[test]
fn a_guest_that_is_to_be_made_again_can_be_destroyed_or_outlive_chaosd() {
    let bed = Bed::new();
    let mut chaosd = Chaosd::start("memory = '8M'");
    let guest = Guest::create("daytime.cfg", &["on_reboot='rename-restart'"]);
    answers();
    let [hog, piglet] = hogs(&bed);
    chaos(&["reboot", "daytime"]).ok();
    chaosd.wait_for_log("cannot restart daytime");
    chaosd.kill_and_restart();
    chaosd.wait_for_log("cannot restart daytime");
    chaos(&["destroy", "daytime"]).ok();
    chaosd.wait_for_log("daytime is not restarted: it was destroyed");
    piglet.destroy();
    hog.destroy();
    assert_eq!(state_of("daytime"), None);
    chaos(&["destroy", "daytime-1"]).ok();
    guest.forget();
    assert!(chaosd.end());
}

#[test]
fn whoever_waits_for_an_end_is_told_the_true_one_though_chaosd_is_faster() {
    let bed = Bed::new();
    let chaosd = Chaosd::start("memory = '8M'");
    for _ in 0..5 {
        for (command, end) in [("shutdown", "powered-off"), ("reboot", "rebooted")] {
            let guest = Guest::create("daytime.cfg", &["on_reboot='destroy'"]);
            let outcome = chaos(&[command, "--wait", "--json", "daytime"]).json();
            assert_eq!(outcome["state"], end);
            assert_eq!(outcome["destroyed"], true);
            guest.forget();
        }
    }
    assert!(chaosd.end());
    bed.assert_empty("after their ends");
}
