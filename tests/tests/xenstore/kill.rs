// SPDX-License-Identifier: GPL-3.0-or-later
//! Kills `chaos` during a create or a destroy. The next command must remove what is incomplete, and
//! list the rest.

use system_tests::{Ended, XenStoreBed, chaos, run_to_syscall};

use crate::DEVICES;

/// The stops from one kill to the next. With 1 the tests would take half an hour.
const STRIDE: usize = 7;

#[test]
fn what_a_killed_create_leaves_is_removed_or_listed() {
    let bed = XenStoreBed::new();
    let disk = bed.bed.file("a.img", vec![0; 1 << 20]);
    let disk = format!("disk=['{disk},raw,xvda']");
    let create = [&["create", "noop.cfg", &disk], DEVICES.as_slice()].concat();
    let mut incomplete = 0;
    for stop in (0..).step_by(STRIDE) {
        let ended = run_to_syscall("/usr/local/bin/chaos", &create, stop);
        let left = bed.bed.living_domains().len();
        let listed = chaos(&["list", "--json"]).json();
        let listed = listed.as_array().expect("list prints an array");
        let domains = bed.bed.living_domains();
        incomplete += left - domains.len();
        for domid in domains {
            let guest = listed.iter().find(|guest| guest["domid"] == domid.0);
            let guest = guest.unwrap_or_else(|| panic!("stop {stop}: {domid} is not listed"));
            assert_ne!(guest["state"], "incomplete", "stop {stop}");
        }
        for guest in listed {
            chaos(&["destroy", &guest["domid"].to_string()]).ok();
        }
        if ended != Ended::Killed {
            assert_eq!(ended, Ended::Exited(0), "the create that is not killed succeeds");
            break;
        }
        bed.assert_nothing_left(&format!("after the kill at stop {stop}"));
    }
    assert!(incomplete > 5, "only {incomplete} kills left an incomplete guest");
}

#[test]
fn a_killed_destroy_can_be_repeated() {
    let bed = XenStoreBed::new();
    let create = [&["create", "noop.cfg"], DEVICES.as_slice()].concat();
    for stop in (0..).step_by(STRIDE) {
        chaos(&create).ok();
        let ended = run_to_syscall("/usr/local/bin/chaos", &["destroy", "noop"], stop);
        if ended != Ended::Killed {
            assert_eq!(ended, Ended::Exited(0), "the destroy that is not killed succeeds");
            break;
        }
        for guest in chaos(&["list", "--json"]).json().as_array().expect("an array") {
            chaos(&["destroy", &guest["domid"].to_string()]).ok();
        }
        bed.assert_nothing_left(&format!("after the kill at stop {stop}"));
    }
}
