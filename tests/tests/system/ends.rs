// SPDX-License-Identifier: GPL-3.0-or-later
//! Guests that power off or reboot.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use system_tests::{Bed, Guest, chaos};

#[test]
fn a_guest_that_powers_off_stays_listed_until_it_is_destroyed() {
    let _bed = Bed::new();
    let guest = Guest::create("noop.cfg", &[]);
    guest.wait_for_log("noop: ready");
    chaos(&["shutdown", &guest.name]).ok();
    // The guest answers before it has powered off; --wait waits until it has.
    let outcome = chaos(&["shutdown", "--wait", "--json", &guest.name]).json();
    assert_eq!(outcome["state"], "powered-off");
    assert_eq!(outcome["destroyed"], true);
    assert!(guest.listed().is_none());
    guest.forget();
}

#[test]
fn the_console_of_a_guest_that_has_ended_or_is_paused_says_so() {
    let _bed = Bed::new();
    let guest = Guest::create("noop.cfg", &["--paused"]);
    let mut console = Command::new("chaos")
        .args(["console", "noop"])
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("chaos can be started");
    let mut note = String::new();
    let stderr = console.stderr.take().expect("stderr is a pipe");
    BufReader::new(stderr).read_line(&mut note).expect("it prints a line");
    assert!(note.contains("guest noop is paused") && note.contains("chaos unpause noop"), "{note}");
    console.kill().expect("it waits for output");
    console.wait().expect("it was killed");

    chaos(&["unpause", "noop"]).ok();
    guest.wait_for_log("noop: ready");
    chaos(&["shutdown", "noop"]).ok();
    let has_ended = (0..1000).any(|_| guest.state() == "powered-off");
    assert!(has_ended, "the guest powers off after it has agreed to");
    chaos(&["console", "noop"]).refused(1, &["guest noop has powered off", "chaos log noop"]);
}

#[test]
fn shutdown_waits_and_destroys() {
    let bed = Bed::new();
    for config in ["noop.cfg", "daytime.cfg", "redis.cfg"] {
        let guest = Guest::create(config, &[]);
        chaos(&["shutdown", "-w", &guest.name]).ok();
        bed.assert_empty("after shutdown -w");
        guest.forget();
    }
}

#[test]
fn reboot_reports_that_the_guest_rebooted() {
    let _bed = Bed::new();
    let guest = Guest::create("noop.cfg", &[]);
    guest.wait_for_log("noop: ready");
    let outcome = chaos(&["reboot", "-w", "--json", &guest.name]).json();
    assert_eq!((&outcome["state"], &outcome["destroyed"]), (&"rebooted".into(), &false.into()));
    // Nothing restarts it, and nothing more can be asked of it.
    assert_eq!(guest.state(), "rebooted");
    for command in ["shutdown", "reboot", "pause", "unpause"] {
        let words = ["guest noop has rebooted already", "chaos destroy noop"];
        chaos(&[command, &guest.name]).refused(1, &words);
    }
    guest.destroy();
}

#[test]
fn shutdown_times_out_if_the_guest_does_not_answer() {
    let _bed = Bed::new();
    let guest = Guest::create("noop.cfg", &["--paused"]);
    chaos(&["shutdown", "-w", "--timeout", "1", &guest.name]).refused(5, &["noop", "1 s"]);
    guest.destroy();
}

#[test]
fn several_commands_can_wait_at_once() {
    let bed = Bed::new();
    let guests: Vec<Guest> = ["a", "b", "c"]
        .iter()
        .map(|name| Guest::create("noop.cfg", &[&format!("name='{name}'")]))
        .collect();
    let waits: Vec<_> = guests
        .iter()
        .map(|guest| {
            let name = guest.name.clone();
            std::thread::spawn(move || chaos(&["shutdown", "-w", &name]).ok())
        })
        .collect();
    for wait in waits {
        wait.join().expect("the guest powers off");
    }
    bed.assert_empty("after all have powered off");
    guests.into_iter().for_each(Guest::forget);
}
