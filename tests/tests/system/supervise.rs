// SPDX-License-Identifier: GPL-3.0-or-later
//! `chaosd` carries out `on_poweroff`, `on_reboot` and `on_crash`.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::Value;
use system_tests::{Bed, Chaosd, Guest, SMALL_POOL, chaos, chaos_as};

/// Checks that the daytime guest answers.
#[track_caller]
fn answers() {
    let answer = Guest::ask("10.0.0.3:13", b"", b"\n");
    assert!(answer.ends_with(b"\n"), "{answer:?}");
}

/// Returns the list entry with this name. A domain that Xen has not freed yet is listed without a
/// name.
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
        assert!(chaosd.stop());
        bed.assert_empty("after it has powered off");
    }
}

#[test]
fn a_guest_that_reboots_is_restarted_with_its_name_and_its_addresses() {
    let _bed = Bed::new();
    let chaosd = Chaosd::start(SMALL_POOL);
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
fn chaosd_alone_deals_with_guests_that_are_waited_for() {
    let bed = Bed::new();
    let chaosd = Chaosd::start("memory = '8M'");
    let guest = Guest::create("daytime.cfg", &[]);
    for _ in 0..4 {
        let before = listed("daytime").expect("it is listed")["domid"].clone();
        let outcome = chaos(&["reboot", "-w", "--json", "daytime"]).json();
        assert_eq!((&outcome["domid"], &outcome["destroyed"]), (&before, &false.into()));
        chaosd.wait_for_log(&format!("daytime rebooted and is domain {}", next(&before)));
        answers();
    }
    // Its name and its address are free when the command returns.
    for _ in 0..4 {
        chaos(&["shutdown", "-w", "daytime"]).ok();
        chaos(&["create", "daytime.cfg"]).ok();
    }
    chaos(&["destroy", "daytime"]).ok();
    let kept = Guest::create("noop.cfg", &["on_poweroff='preserve'"]);
    let outcome = chaos(&["shutdown", "-w", "--json", "noop"]).json();
    assert_eq!((&outcome["state"], &outcome["destroyed"]), (&"powered-off".into(), &false.into()));
    assert_eq!(state_of("noop").as_deref(), Some("powered-off"));
    kept.destroy();
    guest.forget();
    assert!(chaosd.stop());
    bed.assert_empty("after all guests");
}

/// Returns the domid that Xen gives to the next domain.
fn next(domid: &Value) -> u64 {
    domid.as_u64().expect("a domid is a number") + 1
}

#[test]
fn a_guest_that_powered_off_while_no_chaosd_ran_is_restarted() {
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
    let chaosd = Chaosd::start(SMALL_POOL);
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
fn a_guest_that_always_crashes_is_not_restarted_for_ever() {
    let _bed = Bed::new();
    let chaosd = Chaosd::start("memory = '8M'");
    let guest = Guest::create("hostile.cfg", &["cmdline='panic'", "on_crash='restart'"]);
    chaosd.wait_for_log("it was restarted 5 times in 60 s and is kept now");
    assert_eq!(state_of(&guest.name).as_deref(), Some("crashed"));
    guest.destroy();
    drop(chaosd);
}

#[test]
fn a_guest_that_always_crashes_is_kept_twice_under_other_names() {
    let _bed = Bed::new();
    let chaosd = Chaosd::start("memory = '8M'");
    let guest = Guest::create("hostile.cfg", &["cmdline='panic'", "on_crash='rename-restart'"]);
    chaosd.wait_for_log("it was restarted 5 times in 60 s and is kept now");
    // Five were renamed, and the three oldest of them destroyed.
    for domid in guest.domid..guest.domid + 3 {
        chaosd.wait_for_log(&format!("domain {domid} is destroyed"));
    }
    let listed = chaos(&["list", "--json"]).json();
    // Xen frees the last pages of a destroyed domain a little later.
    let all = listed.as_array().expect("an array").iter();
    let rest: Vec<_> = all.filter(|one| one["state"] != "dying").collect();
    let mut names: Vec<_> = rest.iter().filter_map(|one| one["name"].as_str()).collect();
    assert_eq!((names.len(), rest.len()), (3, 3), "{listed}");
    names.insert(0, "destroy");
    chaos(&names).ok();
    guest.forget();
    drop(chaosd);
}

/// Creates two guests that leave less free memory than a guest needs. The first takes almost all
/// of it. The second takes the rest, and is so small that Xen's own memory for it hardly matters.
fn hogs(bed: &Bed) -> [Guest; 2] {
    ["hog", "piglet"].map(|name| {
        let free_mib = bed.free_pages() / 256;
        let memory = if name == "hog" { free_mib - 64 } else { free_mib - 3 };
        let text =
            format!("name='{name}'\ntype='pvh'\nkernel='noop'\nmemory={memory}\nconsole=0\n");
        Guest::create(&bed.file(&format!("{name}.cfg"), text), &["--paused", "--no-daemon"])
    })
}

/// Reboots the guest, which keeps the ended domain under another name, while there is too little
/// memory to restart it, and calls `meanwhile`. Then checks that it is restarted when memory is free.
fn restarted_late(bed: &Bed, chaosd: Chaosd, guest: Guest, meanwhile: impl FnOnce()) {
    let [hog, piglet] = hogs(bed);
    chaos(&["reboot", "daytime"]).ok();
    chaosd.wait_for_log("cannot restart daytime");
    meanwhile();
    piglet.destroy();
    chaosd.wait_for_log("daytime, which had ended, is domain");
    answers();
    hog.destroy();
    chaos(&["destroy", "daytime", "daytime-1"]).ok();
    guest.forget();
    assert!(chaosd.stop());
}

#[test]
fn a_pending_restart_happens_when_memory_is_free_again() {
    let bed = Bed::new();
    let chaosd = Chaosd::start("memory = '8M'");
    let guest = Guest::create("daytime.cfg", &["on_reboot='rename-restart'"]);
    answers();
    restarted_late(&bed, chaosd, guest, || {
        assert_eq!(state_of("daytime").as_deref(), Some("pending-restart"));
        assert_eq!(state_of("daytime-1").as_deref(), Some("rebooted"));
    });
}

#[test]
fn a_member_gets_no_address_of_a_guest_that_is_restarted() {
    let bed = Bed::new();
    let chaosd = Chaosd::start("memory = '8M'");
    let guest = Guest::create("daytime.cfg", &["on_reboot='rename-restart'"]);
    answers();
    let kernel = bed.file("kernel", fs::read("daytime").expect("the guest is there"));
    let folder = Path::new(&kernel).parent().expect("it is in a folder");
    fs::set_permissions(folder, Permissions::from_mode(0o755)).expect("the mode can be changed");
    let config = |ip: &str| {
        let text =
            format!("name='member'\ntype='pvh'\nkernel='{kernel}'\nmemory=4\nvif=['ip={ip}']\n");
        bed.file("member.cfg", text)
    };
    restarted_late(&bed, chaosd, guest, || {
        // The second one would be given the MAC address that is derived from the guest's.
        for (ip, address) in [
            ("10.0.0.3/24", "IPv4 address 10.0.0.3"),
            ("11.0.0.3/24", "MAC address 00:16:3e:00:00:03"),
        ] {
            let reserved = format!("{address} is that of guest daytime, which is to be restarted");
            chaos_as(1234, &["create", &config(ip)]).refused(2, &[&reserved]);
        }
    });
}

#[test]
fn a_pending_restart_survives_chaosd_and_can_be_cancelled() {
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
    assert!(chaosd.stop());
}

#[test]
fn wait_reports_how_the_guest_ended_though_chaosd_destroys_it_first() {
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
    assert!(chaosd.stop());
    bed.assert_empty("after all have powered off or rebooted");
}
