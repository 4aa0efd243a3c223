// SPDX-License-Identifier: GPL-3.0-or-later
//! Many frames from guest to guest, for which `noxsd` keeps the guests' pages mapped.

use std::fs;

use system_tests::{Bed, Guest, noxsd_pid, restart_noxsd};

/// What the sender does, and its vif.
const SEND: &str = "cmdline='send size=1500 mac=00:16:3e:00:00:08 address=10.0.0.8'";
const VIF: &str = "vif=['bridge=xenbr0,mac=00:16:3e:00:00:07,ip=10.0.0.7/24']";

/// Creates a guest that counts frames, and one that sends them.
fn pair(count: u32) -> (Guest, Guest) {
    let receive = format!("cmdline='receive skip=0 count={count}'");
    let receiver = Guest::create("netbench.cfg", &[&receive]);
    receiver.wait_for_log("netbench: ready");
    let sender = Guest::create("netbench.cfg", &["name='sender'", SEND, VIF]);
    (receiver, sender)
}

/// Returns how many mappings of guests' pages `noxsd` has.
fn mappings() -> usize {
    let maps = fs::read_to_string(format!("/proc/{}/maps", noxsd_pid())).expect("maps can be read");
    maps.lines().filter(|line| line.contains("/dev/xen/gntdev")).count()
}

#[test]
fn the_pages_of_busy_guests_are_mapped_until_the_guests_are_gone() {
    let bed = Bed::new();
    let before = mappings();
    let (receiver, sender) = pair(20_000);
    let line = receiver.wait_for_log("nanoseconds=");
    println!("{line}");
    // Their rings, and pages of both directions.
    assert!(mappings() >= before + 2 + 4, "{} after {before}", mappings());
    receiver.destroy();
    sender.destroy();
    assert_eq!(mappings(), before);
    bed.assert_empty("after destroy");
}

#[test]
fn frames_go_on_when_noxsd_is_restarted() {
    let bed = Bed::new();
    let (receiver, sender) = pair(1_000_000);
    for _ in 0..3 {
        restart_noxsd();
        let log = fs::read_to_string(receiver.log_path()).expect("the guest has a log");
        assert!(!log.contains("nanoseconds="), "it has counted all frames already");
    }
    receiver.wait_for_log("nanoseconds=");
    assert!(mappings() >= 2 + 4, "{}", mappings());
    sender.destroy();
    receiver.destroy();
    bed.assert_empty("after destroy");
}
