// SPDX-License-Identifier: GPL-3.0-or-later
//! Disk images that are not raw, which qemu-nbd and the kernel's driver `nbd` serve.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, symlink};

use serde_json::Value;
use system_tests::{
    Bed, Chaosd, Ended, Guest, chaos, connected_nbds as connected, qemu_nbds as servers,
    restart_noxsd, run, run_to_syscall, wait_for_change,
};

/// A bed. Checks that no device is connected and that qemu-nbd does not run.
struct ImageBed(Bed);

impl ImageBed {
    fn new() -> Self {
        let bed = Bed::new();
        let bed = Self(bed);
        bed.assert_nothing_connected("at the start");
        bed
    }

    /// Creates an image with a format of QEMU's and returns its path.
    fn image(&self, name: &str, format: &str) -> String {
        let path = self.0.file(name, "");
        run("qemu-img", &["create", "-q", "-f", format, &path, "4M"]).ok();
        path
    }

    #[track_caller]
    fn assert_nothing_connected(&self, when: &str) {
        // The kernel and the server notice by themselves that they have no user any more, and `chaos
        // destroy` waits for the server only.
        wait_for_change(&[], &format!("no device is connected {when}"), || connected().is_empty());
        if when.contains("kill") {
            wait_for_change(&[], &format!("no server runs {when}"), || servers().is_empty());
        }
        assert_eq!(servers(), Vec::<String>::new(), "qemu-nbd {when}");
    }

    #[track_caller]
    fn assert_empty(&self, when: &str) {
        self.assert_nothing_connected(when);
        self.0.assert_empty(when);
    }
}

/// Returns the arguments that give a guest of blkbench a disk.
fn disk(name: &str, disk: &str, cmdline: &str) -> [String; 3] {
    [format!("name='{name}'"), format!("disk=['{disk}']"), format!("cmdline='{cmdline}'")]
}

#[track_caller]
fn create(arguments: &[String; 3]) -> Guest {
    Guest::create("blkbench.cfg", &arguments.each_ref().map(String::as_str))
}

#[track_caller]
fn refused(arguments: &[String; 3], code: i32, words: &[&str]) {
    let [name, disk, cmdline] = arguments;
    chaos(&["create", "blkbench.cfg", name, disk, cmdline]).refused(code, words);
}

const WRITE: &str = "verify count=512 flush=64 run=5";
const CHECK: &str = "check count=512 run=5";
const INTACT: &str = "lost=0 torn=0 newest=512";

#[test]
fn a_guest_writes_an_image_and_another_one_reads_it() {
    let bed = ImageBed::new();
    for (number, (format, name)) in
        [("qcow2", "qcow2"), ("qcow", "qcow"), ("vpc", "vhd"), ("qed", "qed")].iter().enumerate()
    {
        let path = bed.image(name, format);
        let first = create(&disk("first", &format!("{path},{name},xvda,w"), WRITE));
        let log = first.wait_for_log("check: blocks=");
        assert!(log.contains(INTACT), "{name}: {log}");
        assert_eq!((connected().len(), servers().len()), (1, 1), "{name}");
        // The server is a daemon of its own: not of the command's session, and without its files.
        let server = servers().remove(0);
        let stat = fs::read_to_string(format!("/proc/{server}/stat")).expect("it runs");
        let fields: Vec<&str> =
            stat.rsplit(')').next().expect("fields").split_whitespace().collect();
        assert_eq!((fields[1], fields[3]), ("1", server.as_str()), "parent and session");
        first.destroy();
        bed.assert_empty(name);
        // The file begins with what the format has there, and QEMU finds nothing wrong with it.
        let begin = fs::read(&path).expect("it can be read");
        assert!(!begin.starts_with(&[0; 512]), "{name}: metadata");
        if number == 0 {
            run("qemu-img", &["check", "-q", "-f", format, &path]).ok();
        }
        // With the old prefix, too, but QED has none.
        let prefixed = match *name {
            "qed" => format!("{path},qed,xvda,r"),
            _ => format!("tap:{name}:{path},xvda,r"),
        };
        let second = create(&disk("second", &prefixed, CHECK));
        let log = second.wait_for_log("check: blocks=");
        assert!(log.contains("lost=0 torn=0"), "{name}: {log}");
        second.destroy();
        bed.assert_empty(name);
    }
}

#[test]
fn noxsd_is_restarted_while_a_guest_uses_an_image() {
    let bed = ImageBed::new();
    let path = bed.image("image", "qcow2");
    let cmdline = "verify count=4000 flush=64 run=3";
    let guest = create(&disk("first", &format!("{path},qcow2,xvda,w"), cmdline));
    for flushed in [64, 1024, 2048] {
        guest.wait_for_log(&format!("blkbench: flushed {flushed}\n"));
        restart_noxsd();
        assert_eq!((connected().len(), servers().len()), (1, 1));
    }
    let log = guest.wait_for_log("blkbench: check:");
    assert!(log.contains("lost=0 torn=0 newest=4000"), "{log}");
    guest.destroy();
    bed.assert_empty("after destroy");
}

#[test]
fn an_image_is_only_what_its_config_says_and_has_one_writer() {
    let bed = ImageBed::new();
    let path = bed.image("image", "qcow2");
    let raw = bed.0.file("raw", vec![0; 1 << 20]);
    let missing = format!("{path}-none");
    for (path, format, words) in [
        (
            &raw,
            "qcow2",
            &["cannot open disk", "format is qcow2: qemu-nbd: ", "not in qcow2 format"][..],
        ),
        (&raw, "vhd", &["format is vhd: qemu-nbd: "]),
        (&path, "qcow", &["format is qcow: qemu-nbd: "]),
        (&missing, "qcow2", &["format is qcow2: qemu-nbd: ", "No such file"]),
    ] {
        refused(&disk("bad", &format!("{path},{format},xvda,w"), "read"), 2, words);
        bed.assert_empty(format);
    }
    let first = create(&disk("first", &format!("{path},qcow2,xvda,w"), "read count=1"));
    for access in ["r", "w"] {
        let second = disk("second", &format!("{path},qcow2,xvda,{access}"), "read");
        refused(&second, 2, &["format is qcow2: qemu-nbd: ", "lock", &path]);
        assert_eq!((connected().len(), servers().len()), (1, 1));
    }
    // The file itself is locked, too. A raw disk is whole sectors, which QEMU does not mind.
    let file = File::options().write(true).open(&path).expect("it exists");
    let length = file.metadata().expect("it has a size").len();
    file.set_len(length.next_multiple_of(512)).expect("it can be extended");
    let second = disk("second", &format!("{path},raw,xvda,w"), "read");
    refused(&second, 1, &["is in use by another program in dom0"]);
    first.destroy();
    bed.assert_empty("after destroy");
    // The other way round.
    let raw_first = create(&disk("first", &format!("{path},raw,xvda,w"), "read count=1"));
    let second = disk("second", &format!("{path},qcow2,xvda,w"), "read");
    refused(&second, 2, &["format is qcow2: qemu-nbd: ", "lock"]);
    raw_first.destroy();
    let twice = format!("{path},qcow2,xvda,w', '{path},qcow2,xvdb,w");
    refused(&disk("twice", &twice, "read"), 2, &["lock"]);
    bed.assert_empty("a guest with the same image twice");
    let twice = format!("{path},qcow2,xvda,r', '{path},qcow2,xvdb,r");
    let reader = create(&disk("reader", &twice, "write count=1"));
    reader.wait_for_log("blkbench: write: the disk is read-only");
    let other = create(&disk("other", &format!("{path},qcow2,xvda,r"), "read count=1"));
    other.wait_for_log("errors=0");
    assert_eq!((connected().len(), servers().len()), (3, 3));
    reader.destroy();
    assert_eq!((connected().len(), servers().len()), (1, 1));
    other.destroy();
    bed.assert_empty("after the readers");
}

#[test]
fn a_link_leads_to_the_image_and_an_image_to_its_backing_file() {
    let bed = ImageBed::new();
    let path = bed.image("image", "qcow2");
    let write = create(&disk("first", &format!("{path},qcow2,xvda,w"), WRITE));
    write.wait_for_log(INTACT);
    write.destroy();
    let over = format!("{path}.over");
    let create_over = ["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", &path, &over];
    run("qemu-img", &create_over).ok();
    let link = format!("{path}.link");
    symlink(&over, &link).expect("the folder is root's");
    let guest = create(&disk("second", &format!("{link},qcow2,xvda,w"), CHECK));
    guest.wait_for_log(INTACT);
    // A backing file is locked, too.
    refused(&disk("third", &format!("{path},qcow2,xvda,w"), "read"), 2, &["qemu-nbd: ", "lock"]);
    guest.destroy();
    bed.assert_empty("after destroy");
    fs::remove_file(&path).expect("it is root's");
    let words = ["format is qcow2: qemu-nbd: ", "No such file"];
    refused(&disk("fourth", &format!("{over},qcow2,xvda,w"), "read"), 2, &words);
    bed.assert_empty("after the refusal");
}

#[test]
fn a_server_that_stops_holds_its_own_guest_only() {
    let bed = ImageBed::new();
    let path = bed.image("image", "qcow2");
    let chaosd = Chaosd::start("learn = false\n");
    let guest = Guest::create("daytime.cfg", &[&format!("disk=['{path},qcow2,xvda,w']")]);
    let [server] = &servers()[..] else { panic!("{:?}", servers()) };
    // The last close waits until this is written.
    let node = format!("/dev/{}", connected()[0]);
    let device = File::options().write(true).open(node).expect("it is root's");
    device.write_all_at(&[1; 1 << 20], 0).expect("the kernel caches it");
    run("kill", &["-STOP", server]).ok();
    drop(device);
    chaos(&["shutdown", "daytime"]).ok();
    chaosd.wait_for_log("daytime powered off and is being destroyed");
    for _ in 0..2 {
        Guest::create("noop.cfg", &["name='other'"]).destroy();
    }
    chaosd.wait_for_log("is still connected to qemu-nbd");
    Guest::create("noop.cfg", &["name='other'"]).destroy();
    run("kill", &["-CONT", server]).ok();
    guest.forget();
    bed.assert_nothing_connected("after the kill");
    assert_eq!(
        fs::read(&path).expect("it can be read").iter().filter(|byte| **byte == 1).count() >> 20,
        1
    );

    // One that is killed: the guest has errors, and is destroyed as others are.
    let guest = Guest::create(
        "blkbench.cfg",
        &[&format!("disk=['{path},qcow2,xvda,w']"), "cmdline='read count=1 hot=1'"],
    );
    run("kill", &["-KILL", &servers()[0]]).ok();
    restart_noxsd();
    chaos(&["destroy", "blkbench"]).ok();
    guest.forget();
    assert!(chaosd.stop());
    bed.assert_empty("after the kill of a server");
}

#[test]
fn a_missing_program_is_named_and_a_missing_module_is_loaded() {
    let bed = ImageBed::new();
    let path = bed.image("image", "qcow2");
    let [name, disk, _] = disk("first", &format!("{path},qcow2,xvda,w"), "");
    let create = ["create", "blkbench.cfg", &name, &disk];
    let chaos_with = |path: &str| {
        let path = format!("PATH={path}");
        run("env", &[&[&path, "/usr/local/bin/chaos"][..], &create].concat())
    };
    chaos_with("/none").refused(1, &["there is no program qemu-nbd", "package qemu-utils"]);
    // Without modprobe, whose path the kernel has.
    let _ = run("rmmod", &["nbd"]);
    let modprobe = "/proc/sys/kernel/modprobe";
    let path = fs::read_to_string(modprobe).expect("the kernel loads modules");
    fs::write(modprobe, "/none").expect("it is root's");
    chaos(&create).refused(1, &["no network block devices", "modprobe nbd max_part=0"]);
    fs::write(modprobe, path).expect("it is root's");
    bed.assert_empty("after the refusals");

    let guest = Guest::create("blkbench.cfg", &[&name, &disk]);
    assert_eq!((connected().len(), servers().len()), (1, 1));
    let partitions = fs::read_to_string("/sys/module/nbd/parameters/max_part");
    assert_eq!(partitions.expect("the module is loaded").trim(), "0");
    guest.destroy();
    bed.assert_empty("after destroy");
}

#[test]
fn a_running_guest_gets_an_image_and_loses_it() {
    let bed = ImageBed::new();
    let path = bed.image("image", "qcow2");
    let guest = Guest::create("blkbench.cfg", &["disk=[]", "cmdline='read count=1 hot=1'"]);
    guest.wait_for_log("blkbench: waiting for a disk");
    for round in 0..2 {
        chaos(&["block-attach", "blkbench", &format!("{path},qcow2,xvdb,w")]).ok();
        assert_eq!((connected().len(), servers().len()), (1, 1));
        let again = format!("{path},qcow2,xvdc,w");
        chaos(&["block-attach", "blkbench", &again]).refused(2, &["qemu-nbd: ", "lock"]);
        assert_eq!((connected().len(), servers().len()), (1, 1));
        if round == 1 {
            restart_noxsd();
        }
        chaos(&["block-detach", "blkbench", "xvdb"]).ok();
        bed.assert_nothing_connected("after the disk is removed");
    }
    // A guest that does not take disks.
    let other = Guest::create("noop.cfg", &["name='other'"]);
    let attach = ["block-attach", "other", &format!("{path},qcow2,xvdb,w")];
    chaos(&attach).refused(1, &["other"]);
    other.destroy();
    guest.destroy();
    bed.assert_empty("after destroy");
}

#[test]
fn chaosd_starts_a_guest_with_an_image_and_restarts_it() {
    let bed = ImageBed::new();
    let path = bed.image("image", "qcow2");
    let mut chaosd = Chaosd::start("memory='64M'\n");
    let disk = format!("disk=['{path},qcow2,xvda,w']");
    let guest = Guest::create("daytime.cfg", &[&disk]);
    let before = servers();
    assert_eq!((connected().len(), before.len()), (1, 1));
    chaosd.kill_and_restart();
    assert_eq!(servers(), before, "the guest has its disk without chaosd");
    // chaosd opens the image for the successor when the server of the guest has closed it.
    for _ in 0..3 {
        let earlier = servers();
        let outcome = chaos(&["reboot", "-w", "--json", "daytime"]).json();
        assert_eq!(outcome["destroyed"], false);
        chaosd.wait_for_log(&format!("daytime rebooted and is domain {}", next(&outcome["domid"])));
        assert_eq!((connected().len(), servers().len()), (1, 1));
        assert_ne!(servers(), earlier);
    }
    restart_noxsd();
    assert_eq!((connected().len(), servers().len()), (1, 1));
    chaos(&["destroy", "daytime"]).ok();
    guest.forget();
    // One that is kept while its successor has the image.
    let guest = Guest::create("daytime.cfg", &[&disk, "on_reboot='rename-restart'"]);
    chaos(&["reboot", "-w", "daytime"]).ok();
    chaosd.wait_for_log("daytime rebooted, is kept, and is domain");
    assert_eq!((connected().len(), servers().len()), (1, 1));
    chaos(&["destroy", "daytime-1"]).ok();
    chaos(&["destroy", "daytime"]).ok();
    guest.forget();
    // One that powers off.
    let guest = Guest::create("daytime.cfg", &[&disk]);
    chaos(&["shutdown", "daytime"]).ok();
    chaosd.wait_for_log(&format!("domain {} is destroyed", guest.created["domid"]));
    guest.forget();
    assert!(chaosd.stop());
    bed.assert_empty("after destroy");
}

fn next(domid: &Value) -> u64 {
    domid.as_u64().expect("a number") + 1
}

#[test]
fn a_create_that_is_killed_leaves_no_device_and_no_server() {
    let bed = ImageBed::new();
    let path = bed.image("image", "qcow2");
    let disk = format!("disk=['{path},qcow2,xvda,w']");
    let args = ["create", "--no-daemon", "--paused", "blkbench.cfg", "name='killed'", &disk];
    let mut stop = 40;
    while run_to_syscall("/usr/local/bin/chaos", &args, stop) == Ended::Killed {
        // Removes an incomplete domain, and what no guest has.
        chaos(&["list"]).ok();
        if !bed.0.domains().is_empty() {
            chaos(&["destroy", "killed"]).ok();
        }
        bed.assert_empty(&format!("after a kill at stop {stop}"));
        stop += 11;
    }
    chaos(&["destroy", "killed"]).ok();
    bed.assert_empty("after the last one");
}
