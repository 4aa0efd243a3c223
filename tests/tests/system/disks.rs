// SPDX-License-Identifier: GPL-3.0-or-later
//! Disks on the host's side: what cannot be a disk, who may use one, storage that fails, and the pool.

use std::env;
use std::fs::{self, File};
use std::os::fd::AsFd;

use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use system_tests::{
    Bed, Chaosd, Guest, LoopDevice, chaos, noxsd_pid, restart_noxsd, run, wait_for_file,
};

/// Creates an empty image and returns its path.
fn image(bed: &Bed, name: &str, size: u64) -> String {
    let path = bed.file(name, "");
    let file = File::options().write(true).open(&path).expect("the image exists");
    file.set_len(size).expect("the image can be extended");
    path
}

/// Returns the arguments that give a guest of blkbench these disks.
fn disks<P: AsRef<str>>(name: &str, disks: &[(P, &str)], cmdline: &str) -> [String; 3] {
    let disk = |(number, (path, access)): (usize, &(P, &str))| {
        format!("'{},raw,xvda{},{access}'", path.as_ref(), number + 1)
    };
    let all: Vec<String> = disks.iter().enumerate().map(disk).collect();
    [format!("name='{name}'"), format!("disk=[{}]", all.join(",")), format!("cmdline='{cmdline}'")]
}

fn create(arguments: &[String; 3]) -> Guest {
    Guest::create("blkbench.cfg", &arguments.each_ref().map(String::as_str))
}

fn refused(arguments: &[String; 3], code: i32, words: &[&str]) {
    let [name, disk, cmdline] = arguments;
    chaos(&["create", "blkbench.cfg", name, disk, cmdline]).refused(code, words);
}

/// Returns the names of a guest's broken devices, and the reasons.
fn broken(guest: &Guest) -> Vec<(String, String)> {
    let listed = guest.listed().expect("the guest is listed");
    let devices = listed["broken_devices"].as_array().expect("there is a list").iter();
    let text = |value: &serde_json::Value| value.as_str().expect("it is text").to_owned();
    devices.map(|device| (text(&device["device"]), text(&device["reason"]))).collect()
}

/// Locks a file as another program may, and returns what holds the lock.
fn lock(path: &str) -> File {
    let file = File::options().read(true).write(true).open(path).expect("the image exists");
    let kind = i16::try_from(libc::F_WRLCK).expect("a small number");
    let whence = i16::try_from(libc::SEEK_SET).expect("a small number");
    let lock = libc::flock { l_type: kind, l_whence: whence, l_start: 0, l_len: 0, l_pid: 0 };
    fcntl(file.as_fd(), FcntlArg::F_OFD_SETLK(&lock)).expect("the image is free");
    file
}

#[test]
fn what_cannot_be_a_disk_is_refused_and_leaves_nothing() {
    let bed = Bed::new();
    let folder = bed.file("folder", "");
    fs::remove_file(&folder).expect("it exists");
    fs::create_dir(&folder).expect("it can be created");
    let missing = bed.file("missing", "");
    fs::remove_file(&missing).expect("it exists");
    let good = image(&bed, "good", 1 << 20);
    let read_only = LoopDevice::read_only(&image(&bed, "read-only", 1 << 20));
    for (path, words) in [
        (missing.as_str(), &["does not exist", "create it: truncate -s 64M"][..]),
        (&folder, &["is a folder: must be a file or a block device"]),
        ("/dev/null", &["is a character device"]),
        (&read_only.path, &["is read-only in dom0", "access=r"]),
        (&bed.file("empty", ""), &["has 0 bytes: must be at least one sector of 512"]),
        (&image(&bed, "short", 511), &["has 511 bytes"]),
        (&image(&bed, "ragged", 5000), &["has 5000 bytes: must be a multiple", "512 bytes"]),
    ] {
        // The other disk is opened first, and closed again.
        refused(&disks("bad", &[(good.as_str(), "w"), (path, "w")], "read"), 2, words);
        bed.assert_empty(path);
    }
    create(&disks("good", &[(&good, "w"), (&read_only.path, "r")], "read count=1")).destroy();
}

#[test]
fn a_relative_disk_is_in_the_working_directory_if_it_is_not_in_dev() {
    let bed = Bed::new();
    // The path that blkbench.cfg names.
    let image = env::current_dir().expect("there is a working directory").join("blkbench.img");
    let create = ["create", "blkbench.cfg", "cmdline='read count=1'"];
    chaos(&create).refused(2, &["/dev/blkbench.img", &image.display().to_string()]);
    File::create(&image).expect("it can be created").set_len(1 << 20).expect("it has holes");
    chaos(&create).ok();
    let listed = chaos(&["block-list", "--json", "blkbench"]).json();
    assert_eq!(listed[0]["target"], image.display().to_string());
    chaos(&["destroy", "blkbench"]).ok();
    fs::remove_file(image).expect("it exists");
    bed.assert_empty("after a guest with a relative disk");
}

#[test]
fn several_guests_of_one_config_share_no_disk_and_a_failure_says_which_exist() {
    let bed = Bed::new();
    let path = image(&bed, "disk", 1 << 20);
    let create = |access| {
        let [name, disk, cmdline] = disks("many", &[(&path, access)], "read count=1");
        chaos(&["create", "--quiet", "-n", "3", "blkbench.cfg", &name, &disk, &cmdline])
    };
    create("w").refused(2, &["cannot create 3 guests", &path, "access=r"]);
    bed.assert_empty("after the refusal");
    let third = Guest::create("noop.cfg", &["name='many-3'"]);
    create("r").refused(1, &["created only 2 of 3 guests, many-1 to many-2", "many-3"]);
    chaos(&["destroy", "many-1", "many-2"]).ok();
    third.destroy();
}

#[test]
fn a_disk_has_one_writer_and_the_error_names_it() {
    let bed = Bed::new();
    let path = image(&bed, "disk", 1 << 20);
    let first = create(&disks("first", &[(&path, "w")], "read count=1"));
    first.wait_for_log("errors=0");
    chaos(&["block-attach", "first", &format!("{path},raw,xvdz,w")])
        .refused(2, &["guest first has disk", "already, as xvda1"]);
    let same = disks("same", &[(&path, "w"), (&path, "r")], "read");
    refused(&same, 2, &["disks xvda1 and xvda2 of the guest are the same"]);
    let second = |access| disks("second", &[(&path, access)], "read count=1");
    for _ in 0..2 {
        for access in ["w", "r"] {
            let words = ["is in use by guest first (domain", "destroy that guest", "access=r"];
            refused(&second(access), 1, &words);
        }
        // Once more with a noxsd that has found the guest in the records.
        restart_noxsd();
    }
    assert_eq!(broken(&first), []);
    first.destroy();
    let reads = create(&second("r"));
    let also = create(&disks("third", &[(&path, "r")], "read count=1"));
    also.wait_for_log("errors=0");
    refused(&disks("fourth", &[(&path, "w")], "read"), 1, &["is in use by guest"]);
    reads.destroy();
    also.destroy();
    let program = lock(&path);
    refused(&second("w"), 1, &["is in use by another program in dom0"]);
    drop(program);
    create(&second("w")).destroy();
}

#[test]
fn a_disk_that_another_program_has_taken_while_noxsd_was_down_is_broken() {
    let bed = Bed::new();
    let [taken, kept] = ["taken", "kept"].map(|name| image(&bed, name, 1 << 20));
    let guest = create(&disks("guest", &[(&kept, "w"), (&taken, "w")], "read count=1"));
    guest.wait_for_log("errors=0");
    assert_eq!(broken(&guest), []);
    // Another file at the path is not the guest's disk, either.
    fs::remove_file(&taken).expect("the image exists");
    let _ = image(&bed, "taken", 1 << 20);
    restart_noxsd();
    let lost = broken(&guest);
    let [(device, reason)] = &lost[..] else { panic!("one device is to be broken: {lost:?}") };
    assert_eq!(device, "vbd1");
    assert!(reason.contains("is not the file that the guest had"), "{reason}");
    guest.destroy();
}

#[test]
fn a_guest_has_as_many_devices_as_its_page_has_room_for() {
    let bed = Bed::new();
    let path = image(&bed, "disk", 1 << 20);
    let many = vec![(path.as_str(), "r"); 30];
    let guest = create(&disks("many", &many, "read count=10"));
    guest.wait_for_log("errors=0");
    restart_noxsd();
    assert_eq!(broken(&guest), []);
    guest.destroy();
    let many = vec![(path.as_str(), "r"); 31];
    let [name, disk, _] = disks("many", &many, "read");
    chaos(&["create", "blkbench.cfg", &name, &disk])
        .refused_config(&["a guest can have at most 31 devices, so 30 disks beside its 1 other"]);
}

#[test]
fn a_full_file_system_is_an_error_of_the_guest_that_fills_it() {
    let bed = Bed::new();
    let folder = bed.file("small", "");
    fs::remove_file(&folder).expect("it exists");
    fs::create_dir(&folder).expect("it can be created");
    run("mount", &["-t", "tmpfs", "-o", "size=1m", "tmpfs", &folder]).ok();
    let full = format!("{folder}/disk");
    File::create(&full).expect("it can be created").set_len(4 << 20).expect("it has holes");
    let good = image(&bed, "good", 1 << 20);
    let pid = noxsd_pid();
    let one = create(&disks("one", &[(&full, "w")], "write bs=4096 qd=8 count=1024"));
    let log = one.wait_for_log("nanoseconds=");
    assert!(log.contains("errors=") && !log.contains("errors=0"), "{log}");
    let two = create(&disks("two", &[(&good, "w")], "write bs=4096 qd=8 count=256"));
    two.wait_for_log("errors=0");
    assert_eq!((broken(&one), broken(&two)), (vec![], vec![]));
    assert_eq!(noxsd_pid(), pid, "noxsd goes on");
    let log = fs::read_to_string("/var/log/noxsd.log").expect("noxsd has a log");
    let said = log.lines().filter(|line| line.contains(&full) && line.contains("No space left"));
    assert_eq!(said.count(), 1, "the log names the disk, once:\n{log}");
    one.destroy();
    two.destroy();
    run("umount", &[&folder]).ok();
}

#[test]
fn chaosd_opens_no_disk_of_a_create() {
    let bed = Bed::new();
    let chaosd = Chaosd::start("memory='64M'\n");
    let folder = bed.file("folder", "");
    fs::remove_file(&folder).expect("it exists");
    fs::create_dir(&folder).expect("it can be created");
    // Only the command sees the file.
    let [name, disk, cmdline] =
        disks("unseen", &[(format!("{folder}/disk"), "w")], "write bs=4096 qd=4 count=256");
    let create = format!(
        "mount -t tmpfs none {folder} && truncate -s 1M {folder}/disk && \
         chaos create blkbench.cfg \"{name}\" \"{disk}\" \"{cmdline}\""
    );
    run("unshare", &["--mount", "sh", "-c", &create]).ok();
    assert_eq!(fs::read_dir(&folder).expect("the folder exists").count(), 0);
    let listed = chaos(&["list", "--json"]).json();
    let domid = listed[0]["domid"].as_u64().expect("the guest is listed");
    let log = format!("/run/chaos/domains/{domid}/console.log");
    wait_for_file(&log, "the end of the writes", |log| log.contains("errors=0"));
    chaos(&["destroy", "unseen"]).ok();
    assert!(chaosd.stop(), "chaosd failed");
    bed.assert_empty("after chaosd has exited");
}

#[test]
fn a_block_device_goes_from_the_command_to_noxsd_and_has_no_other_user() {
    let bed = Bed::new();
    let chaosd = Chaosd::start("memory='64M'\n");
    let path = image(&bed, "disk", 1 << 20);
    let attached = LoopDevice::of(&path);
    let device = attached.path.as_str();
    let first = disks("first", &[(device, "w")], "write bs=4096 qd=4 count=256");
    let guest = create(&first);
    guest.wait_for_log("errors=0");
    // The command cannot open the device, and chaosd says why it creates no guest.
    refused(&first, 1, &["first", &guest.domid.to_string()]);
    refused(&disks("second", &[(device, "w")], "read"), 2, &[device, "is in use in dom0"]);
    chaos(&["block-attach", "first", &format!("{device},raw,xvdz,w")])
        .refused(2, &["guest first has disk", "already, as xvda1"]);
    guest.destroy();
    // The second open fails, and the error is not that another program has the device.
    let same = disks("same", &[(device, "w"), (device, "w")], "read");
    refused(&same, 2, &["disks xvda1 and xvda2 of the guest are the same"]);
    // It is released.
    create(&disks("second", &[(device, "w")], "read count=1")).destroy();
    assert!(chaosd.stop(), "chaosd failed");
    drop(attached);
    bed.assert_empty("after chaosd has exited");
}

#[test]
fn a_prepared_shell_gets_its_disk_with_the_guest() {
    let bed = Bed::new();
    let chaosd = Chaosd::start(
        "memory='64M'\n[[flavour]]\nname='disk'\nmemory='8M'\ndisks=1\nlow=1\nhigh=2\n",
    );
    chaosd.wait_until_full("disk");
    let [first, second] = ["first", "second"].map(|name| image(&bed, name, 1 << 20));
    let one = create(&disks("one", &[(&first, "w")], "write bs=4096 qd=4 count=256"));
    assert_eq!(one.created["shell"], "pool");
    one.wait_for_log("errors=0");
    assert!(fs::read(&first).expect("the image exists").iter().all(|byte| *byte == 0xb5));
    // The disk is in use: the shell is destroyed, and nothing of its guest is left.
    refused(&disks("two", &[(&first, "w")], "read"), 1, &["in use by guest one"]);
    let cold = create(&disks("cold", &[(&second, "w")], "read count=1"));
    restart_noxsd();
    assert_eq!((broken(&one), broken(&cold)), (vec![], vec![]));
    one.destroy();
    cold.destroy();
    assert!(chaosd.stop(), "chaosd failed");
    bed.assert_empty("after chaosd has exited");
}
