// SPDX-License-Identifier: GPL-3.0-or-later
//! Requests that XenStore mode refuses: one clear error, and nothing left behind.

use system_tests::{Guest, XenStoreBed, chaos, run};

use crate::DEVICES;

#[test]
fn without_xenstored_there_is_one_clear_error() {
    let bed = XenStoreBed::new();
    let args = ["XENSTORED_PATH=/nowhere", "chaos", "create", "noop.cfg", "--store=xenstore"];
    run("env", &args).refused(4, &["xenstored is not running", "/nowhere"]);
    bed.assert_nothing_left("after the refusal");
}

#[test]
fn a_bridge_that_is_missing_is_named() {
    let bed = XenStoreBed::new();
    let args = ["create", "noop.cfg", "--store=xenstore", "vif=['bridge=nowhere']"];
    chaos(&args).refused(2, &["nowhere"]);
    bed.assert_nothing_left("after the refusal");
}

#[test]
fn a_disk_that_cannot_be_used_is_named() {
    let bed = XenStoreBed::new();
    let create = |disk: &str| {
        let disk = format!("disk=['{disk}']");
        chaos(&["create", "noop.cfg", "--store=xenstore", &disk])
    };
    create("/nowhere/a.img,raw,xvda")
        .refused(2, &["cannot open disk /nowhere/a.img", "No such file"]);
    bed.assert_nothing_left("after the refusal");
    create("/dev/null,raw,xvda").refused(2, &["/dev/null", "block device"]);
    bed.assert_nothing_left("after the refusal");
    create("/a.img,qcow2,xvda").refused_config(&["qcow2", "raw"]);
    bed.assert_nothing_left("after the refusal");
    let disk = "disk=['/a.img,raw,xvda']";
    chaos(&["create", "noop.cfg", disk]).refused_config(&["disk", "xenstore"]);
}

#[test]
fn a_name_in_use_is_refused() {
    let bed = XenStoreBed::new();
    let guest = Guest::create("noop.cfg", &DEVICES);
    let args = [&["create", "noop.cfg"], DEVICES.as_slice()].concat();
    chaos(&args).refused(1, &["noop", &guest.domid.to_string()]);
    assert_eq!(bed.bed.domains().len(), 1);
    guest.destroy();
}

#[test]
fn a_guest_that_never_announced_power_off_cannot_be_shut_down() {
    let _bed = XenStoreBed::new();
    let guest = Guest::create("noop.cfg", &DEVICES);
    chaos(&["shutdown", "noop"]).refused(1, &["noop", "power-off"]);
    guest.destroy();
}
