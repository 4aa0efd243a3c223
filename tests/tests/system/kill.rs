// SPDX-License-Identifier: GPL-3.0-or-later
//! Kills `chaos` at every system call of a create. The next command must remove what is incomplete,
//! whichever command that is, and list the rest. What it has created completely must go on when
//! `noxsd` is restarted.

use std::fs;

use serde_json::Value;
use system_tests::{Bed, Ended, Guest, chaos, restart_noxsd, run_to_syscall};
use xen::units::DomId;

#[test]
fn what_a_killed_create_leaves_is_removed_or_listed() {
    let bed = Bed::new();
    let before = bed.free_pages();
    let mut stop = 0;
    let (mut incomplete, mut complete) = (0, 0);
    loop {
        let ended = run_to_syscall("/usr/local/bin/chaos", &["create", "redis.cfg"], stop);
        let left = bed.domains().len();
        match stop % 3 {
            0 => drop(chaos(&["list"]).ok()),
            1 => chaos(&["destroy", "nothing"]).refused(3, &["no guest nothing"]),
            _ => Guest::create("noop.cfg", &[]).destroy(),
        }
        let domains = bed.domains();
        incomplete += left - domains.len();
        let listed = chaos(&["list", "--json"]).json();
        let listed = listed.as_array().expect("list prints an array");
        for domid in domains {
            let guest = listed.iter().find(|guest| guest["domid"] == domid.0);
            let guest = guest.unwrap_or_else(|| panic!("stop {stop}: {domid} is not listed"));
            assert_ne!(guest["state"], "incomplete", "stop {stop}");
        }
        if listed.iter().any(is_running) {
            complete += 1;
            restart_noxsd();
            let answer = Guest::ask("10.0.0.2:6379", b"PING\r\n", b"\r\n");
            assert_eq!(answer, b"+PONG\r\n", "stop {stop}, after a restart of noxsd");
        }
        if let Ended::Exited(code) = ended {
            assert_eq!(code, 0, "the create that is not killed succeeds");
            break;
        }
        if stop % 2 == 0 && !listed.iter().any(|guest| guest["name"] == "redis") {
            Guest::create("redis.cfg", &[]).destroy();
        }
        for domid in bed.domains() {
            chaos(&["destroy", &domid.0.to_string()]).ok();
        }
        for guest in chaos(&["list", "--json"]).json().as_array().expect("an array") {
            chaos(&["destroy", &guest["domid"].to_string()]).ok();
        }
        bed.assert_empty(&format!("after the kill at stop {stop}"));
        stop += 1;
    }
    chaos(&["destroy", "redis"]).ok();
    assert!(incomplete > 10, "only {incomplete} of {stop} kills left an incomplete guest");
    assert!(complete > 3, "only {complete} of {stop} kills left a complete guest");
    assert_eq!(bed.free_pages(), before, "memory is lost");
}

/// A create writes the addresses of its guest to the device file before `noxsd` has accepted them.
#[test]
fn a_killed_create_takes_no_address_of_a_guest_when_noxsd_restarts() {
    let bed = Bed::new();
    let owner = Guest::create("redis.cfg", &[]);
    let (mut stop, mut with_file) = (0, 0);
    loop {
        let ended =
            run_to_syscall("/usr/local/bin/chaos", &["create", "redis.cfg", "name='b'"], stop);
        let mut domains = bed.domains();
        domains.retain(|domid| u64::from(domid.0) != owner.domid);
        let device_file = |domid: &DomId| format!("/run/chaos/domains/{domid}/devices");
        if domains
            .iter()
            .any(|domid| fs::exists(device_file(domid)).expect("the folder is readable"))
        {
            with_file += 1;
            restart_noxsd();
            let answer = Guest::ask("10.0.0.2:6379", b"PING\r\n", b"\r\n");
            assert_eq!(answer, b"+PONG\r\n", "stop {stop}, after a restart of noxsd");
        }
        for domid in domains {
            chaos(&["destroy", &domid.0.to_string()]).ok();
        }
        if let Ended::Exited(code) = ended {
            assert_eq!(code, 1, "the address is in use");
            break;
        }
        stop += 1;
    }
    // Kills while a refused create cleaned up have left folders of domains that are gone.
    for folder in fs::read_dir("/run/chaos/domains").expect("the folder is readable") {
        let name = folder.expect("the folder is readable").file_name();
        let name = name.to_str().expect("a number");
        if name != owner.domid.to_string() {
            chaos(&["destroy", name]).ok();
        }
    }
    assert!(with_file > 3, "only {with_file} of {stop} kills left a device file");
    owner.destroy();
    bed.assert_empty("after the kills");
}

fn is_running(guest: &Value) -> bool {
    ["running", "runnable", "blocked"].iter().any(|state| guest["state"] == *state)
}
