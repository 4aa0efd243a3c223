// SPDX-License-Identifier: GPL-3.0-or-later
//! Guests with a device page that end where xenstored runs. xenstored has the interrupt for that and
//! reports only its own domains, so no event says so.

use std::fs;
use std::thread;

use system_tests::{Chaosd, Guest, XenStoreBed, chaos, wait_for_change};

/// Checks that the daytime guest answers.
#[track_caller]
fn answers() {
    let answer = Guest::ask("10.0.0.3:13", b"", b"\n");
    assert!(answer.ends_with(b"\n"), "{answer:?}");
}

#[test]
fn a_guest_with_a_device_page_is_restarted_or_destroyed() {
    let bed = XenStoreBed::new();
    for args in [&["on_reboot='restart'"][..], &["on_reboot='restart'", "--no-daemon"]] {
        let chaosd = Chaosd::start("memory = '8M'");
        let guest = Guest::create("daytime.cfg", args);
        answers();
        chaos(&["reboot", "daytime"]).ok();
        chaosd.wait_for_log("daytime rebooted and is domain");
        answers();
        chaos(&["shutdown", "daytime"]).ok();
        guest.forget();
        chaosd.wait_for_log("daytime powered off and is destroyed");
        assert!(chaosd.stop());
        bed.assert_nothing_left("after it has powered off");
    }
}

#[test]
fn a_command_that_waits_notices_that_the_guest_has_ended() {
    let _bed = XenStoreBed::new();
    for config in ["noop.cfg", "daytime.cfg"] {
        let guest = Guest::create(config, &[]);
        let outcome = chaos(&["shutdown", "--wait", "--json", &guest.name]).json();
        assert_eq!(outcome["state"], "powered-off");
        guest.forget();
    }
    // A guest that is paused never answers. Another command destroys it while the first one waits.
    let guest = Guest::create("noop.cfg", &[]);
    guest.wait_for_log("noop: ready");
    chaos(&["pause", "noop"]).ok();
    let record = format!("/run/chaos/domains/{}/record", guest.domid);
    let before = fs::read(&record).expect("it has a record");
    let wait = thread::spawn(|| chaos(&["shutdown", "--wait", "--timeout=600", "noop"]).ok());
    wait_for_change(&[&record], "the request is numbered", || {
        fs::read(&record).expect("it has a record") != before
    });
    guest.destroy();
    wait.join().expect("the command notices it long before its time is over");
}
