//! `chaos` killed on its way: what it leaves is listed, or cleared away.

use system_tests::{Ended, XenStoreBed, chaos, run_to_syscall};

use crate::DEVICES;

/// Every so many stops one is tried: all of them take half an hour.
const STRIDE: usize = 7;

#[test]
fn a_create_that_is_killed_leaves_nothing_that_is_not_removed() {
    let bed = XenStoreBed::new();
    let disk = bed.bed.file("a.img", vec![0; 1 << 20]);
    let disk = format!("disk=['{disk},raw,xvda']");
    let create = [&["create", "noop.cfg", &disk], DEVICES.as_slice()].concat();
    let mut incomplete = 0;
    for stop in (0..).step_by(STRIDE) {
        let ended = run_to_syscall("/usr/local/bin/chaos", &create, stop);
        let listed = chaos(&["list", "--json"]).json();
        let listed = listed.as_array().expect("list prints an array");
        for domid in bed.bed.domains() {
            let known = listed.iter().find(|guest| guest["domid"] == domid.0);
            let known = known.unwrap_or_else(|| panic!("stop {stop}: {domid} is not listed"));
            incomplete += usize::from(known["state"] == "incomplete");
        }
        for guest in listed {
            chaos(&["destroy", &guest["domid"].to_string()]).ok();
        }
        if ended != Ended::Killed {
            assert_eq!(ended, Ended::ByItself(0), "the create that is not killed succeeds");
            break;
        }
        bed.assert_nothing_left(&format!("after the kill at stop {stop}"));
    }
    assert!(incomplete > 5, "only {incomplete} kills met an incomplete guest");
}

#[test]
fn a_destroy_that_is_killed_can_be_repeated() {
    let bed = XenStoreBed::new();
    let create = [&["create", "noop.cfg"], DEVICES.as_slice()].concat();
    for stop in (0..).step_by(STRIDE) {
        chaos(&create).ok();
        let ended = run_to_syscall("/usr/local/bin/chaos", &["destroy", "noop"], stop);
        if ended != Ended::Killed {
            assert_eq!(ended, Ended::ByItself(0), "the destroy that is not killed succeeds");
            break;
        }
        for guest in chaos(&["list", "--json"]).json().as_array().expect("an array") {
            chaos(&["destroy", &guest["domid"].to_string()]).ok();
        }
        bed.assert_nothing_left(&format!("after the kill at stop {stop}"));
    }
}
