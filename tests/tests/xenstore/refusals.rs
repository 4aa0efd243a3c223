// SPDX-License-Identifier: GPL-3.0-or-later
//! Requests that XenStore mode refuses: one clear error, and nothing left behind.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use system_tests::{Chaosd, Guest, LoopDevice, XenStoreBed, chaos, chaos_as, run};

use crate::DEVICES;

/// Its name and its console's log would be shared with a guest of xl, and dom0's kernel checks no address.
#[test]
fn a_member_has_no_guest_in_xenstore_mode() {
    let bed = XenStoreBed::new();
    let chaosd = Chaosd::start("memory = '8M'\n");
    let kernel = bed.bed.file("kernel", fs::read("noop").expect("the guest is there"));
    let folder = Path::new(&kernel).parent().expect("it is in a folder");
    fs::set_permissions(folder, Permissions::from_mode(0o755)).expect("the mode can be changed");
    let config = bed.bed.file(
        "member.cfg",
        format!("name='member'\ntype='pvh'\nkernel='{kernel}'\nmemory=4\nstore='xenstore'\n"),
    );
    for vif in ["vif=[]", "vif=['']"] {
        chaos_as(1234, &["create", &config, vif])
            .refused(2, &["a guest of user 1234 must have a kernel that reads the device page"]);
    }
    chaos_as(1234, &["create", &config, "--store=noxs"]).ok();
    chaos(&["destroy", "member"]).ok();
    assert!(chaosd.stop());
}

#[test]
fn without_xenstored_there_is_one_clear_error() {
    let bed = XenStoreBed::new();
    let args = ["XENSTORED_PATH=/nowhere", "chaos", "create", "noop.cfg", "--store=xenstore"];
    run("env", &args).refused(4, &["xenstored is not running", "/nowhere"]);
    bed.assert_nothing_left("after the refusal");
}

/// As with xl, the kernel's device is used where no socket is found, in whole transactions.
#[test]
fn without_the_socket_the_kernels_device_is_used() {
    let bed = XenStoreBed::new();
    let create = [&["chaos", "create", "noop.cfg"], DEVICES.as_slice()].concat();
    let through = [&["XENSTORED_PATH=/dev/xen/xenbus"], create.as_slice()].concat();
    for _ in 0..2 {
        run("env", &through).ok();
        run("env", &["XENSTORED_PATH=/dev/xen/xenbus", "chaos", "destroy", "noop"]).ok();
        bed.assert_nothing_left("after a create through the device");
    }
    // The socket of a running xenstored is moved away. Its pid file says that it runs.
    let (socket, moved) = ("/run/xenstored/socket", "/run/xenstored/moved");
    std::fs::rename(socket, moved).expect("the socket can be moved");
    let created = chaos(&create[1..]);
    let destroyed = chaos(&["destroy", "noop"]);
    std::fs::rename(moved, socket).expect("the socket can be moved back");
    created.ok();
    destroyed.ok();
    bed.assert_nothing_left("after a create without the socket");
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
        .refused(2, &["disk /nowhere/a.img does not exist", "create it"]);
    bed.assert_nothing_left("after the refusal");
    create("/dev/null,raw,xvda").refused(2, &["/dev/null", "block device"]);
    bed.assert_nothing_left("after the refusal");
    create("/a.img,vmdk,xvda").refused_config(&["vmdk", "raw"]);
    bed.assert_nothing_left("after the refusal");
    // The same without XenStore.
    let disk = "disk=['/a.img,raw,xvda']";
    chaos(&["create", "noop.cfg", disk]).refused(2, &["disk /a.img does not exist", "create it"]);
    bed.assert_nothing_left("after the refusal");
}

#[test]
fn a_block_device_of_a_guest_has_no_other_writer() {
    let bed = XenStoreBed::new();
    let device = LoopDevice::of(&bed.bed.file("a.img", vec![0; 1 << 20]));
    let disk = |access| format!("disk=['{},raw,xvda,{access}']", device.path);
    let create = |name: &str, store, access| {
        let name = format!("name='{name}'");
        chaos(&["create", "noop.cfg", &name, store, "--paused", &disk(access)])
    };
    let stores = ["--store=xenstore", "--store=noxs"];
    for (own, others) in [("w", &["w", "r"][..]), ("r", &["w"])] {
        let guest = Guest::create("noop.cfg", &[stores[0], "--paused", &disk(own)]);
        for store in stores {
            for access in others {
                let domid = format!("domain {} has it", guest.domid);
                create("other", store, access).refused(2, &[&device.path, &domid]);
            }
        }
        guest.destroy();
    }
    let guest = Guest::create("noop.cfg", &[stores[1], "--paused", &disk("w")]);
    create("other", stores[0], "w").refused(2, &[&device.path, "in use"]);
    guest.destroy();
    drop(device);
    bed.assert_nothing_left("after the refusals");
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
