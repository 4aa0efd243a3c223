// SPDX-License-Identifier: GPL-3.0-or-later
//! Vifs and disks that running guests get and lose.

use std::fs::{self, File};

use serde_json::Value;
use system_tests::{Bed, Chaosd, Ended, Guest, chaos, ping, restart_noxsd, run_to_syscall};

const FIRST: &str = "10.0.0.2:6379";
const SECOND: &str = "10.0.0.9:6379";

fn ask(address: &str, command: &str) -> String {
    let answer = Guest::ask(address, format!("{command}\r\n").as_bytes(), b"\r\n");
    String::from_utf8(answer).expect("an answer in ASCII")
}

#[track_caller]
fn vifs(guest: &str) -> Vec<Value> {
    let listed = chaos(&["network-list", "--json", guest]).json();
    listed.as_array().expect("a list of vifs").clone()
}

#[track_caller]
fn disks(guest: &str) -> Vec<Value> {
    let listed = chaos(&["block-list", "--json", guest]).json();
    listed.as_array().expect("a list of disks").clone()
}

fn attach_second(guest: &str) {
    chaos(&["network-attach", guest, "bridge=xenbr0", "ip=10.0.0.9/24"]).ok();
}

/// Creates an empty image and returns its path.
fn image(bed: &Bed, name: &str) -> String {
    let path = bed.file(name, "");
    let file = File::options().write(true).open(&path).expect("the image exists");
    file.set_len(4 << 20).expect("the image can be extended");
    path
}

#[test]
fn a_guest_answers_on_a_vif_that_is_added_until_it_is_removed() {
    let bed = Bed::new();
    let guest = Guest::create("redis.cfg", &[]);
    let mut first = Guest::connect(FIRST);
    for round in 0..3 {
        attach_second("redis");
        let mut second = Guest::connect(SECOND);
        ping(&mut second);
        ping(&mut first);
        assert_eq!(vifs("redis").len(), 2);
        let text = chaos(&["network-list", "redis"]).ok();
        assert!(text.starts_with("Idx BE MAC") && text.contains("00:16:3e:00:00:09"), "{text}");
        if round == 1 {
            restart_noxsd();
            ping(&mut second);
            ping(&mut first);
        }
        let which = ["1", "00:16:3e:00:00:09", "1"][round];
        chaos(&["network-detach", "redis", which]).ok();
        assert_eq!(vifs("redis").len(), 1);
        ping(&mut first);
        // Another guest may have the address now, and no other would answer.
        let other = "vif=['ip=10.0.0.9/24']";
        let other = Guest::create("daytime.cfg", &["name='other'", other]);
        assert!(Guest::ask("10.0.0.9:13", b"", b"\n").ends_with(b"\n"));
        other.destroy();
    }
    let log = fs::read_to_string(guest.log_path()).expect("there is a log");
    assert_eq!(log.matches("vif: 10.0.0.9 is served, too").count(), 3, "{log}");
    assert_eq!(log.matches("vif: 10.0.0.9 is not served any more").count(), 3, "{log}");
    guest.destroy();
    bed.assert_empty("after the guest is destroyed");
}

#[test]
fn a_guest_gets_as_many_vifs_as_it_could_have_had_from_the_start() {
    let bed = Bed::new();
    let before = bed.free_pages();
    let guest = Guest::create("redis.cfg", &[]);
    for number in 21..28 {
        chaos(&["network-attach", "redis", &format!("ip=10.0.0.{number}")]).ok();
    }
    chaos(&["network-attach", "redis"]).refused(2, &["redis has 8 vifs", "detach one first"]);
    for number in 21..28 {
        assert_eq!(ask(&format!("10.0.0.{number}:6379"), "PING"), "+PONG\r\n");
    }
    assert_eq!(ask(FIRST, "PING"), "+PONG\r\n");
    guest.destroy();
    bed.assert_empty("after the guest is destroyed");
    assert_eq!(bed.free_pages(), before, "memory is lost");
}

#[test]
fn a_device_that_cannot_be_had_is_refused_and_nothing_is_left() {
    let bed = Bed::new();
    let guest = Guest::create("redis.cfg", &[]);
    let other = Guest::create("daytime.cfg", &[]);
    let (path, busy) = (image(&bed, "disk"), image(&bed, "busy"));
    let disk = |name: &str| format!("{path},raw,{name},w");
    chaos(&["network-attach", "daytime", "ip=10.0.0.9"])
        .refused(1, &["attach a vif to guest daytime", "does not support that its vif1 is added"]);
    chaos(&["block-attach", "daytime", &disk("xvda")])
        .refused(1, &["does not support that its vbd0 is added"]);
    chaos(&["network-attach", "redis", "ip=10.0.0.3"])
        .refused(1, &["10.0.0.3 of vif1 is in use", "guest daytime"]);
    chaos(&["network-attach", "redis", "bridge=nowhere"]).refused(2, &["nowhere"]);
    chaos(&["network-attach", "missing"]).refused(3, &["there is no guest missing"]);
    chaos(&["network-detach", "redis", "1"]).refused(2, &["has no vif 1", "network-list"]);
    chaos(&["block-detach", "redis", "xvda"]).refused(2, &["has no disk xvda", "block-list"]);
    chaos(&["block-attach", "redis", "/nowhere,raw,xvda,w"]).refused(2, &["/nowhere"]);
    let owner = format!("disk=['{busy},raw,xvda,w']");
    let owner = Guest::create("blkbench.cfg", &["name='owner'", &owner, "cmdline='read count=1'"]);
    chaos(&["block-attach", "redis", &format!("{busy},raw,xvda,w")])
        .refused(1, &["in use by guest owner"]);
    owner.destroy();
    chaos(&["pause", "redis"]).ok();
    chaos(&["network-attach", "redis"]).refused(1, &["redis is paused", "chaos unpause redis"]);
    chaos(&["network-detach", "redis", "0"]).refused(1, &["redis is paused"]);
    chaos(&["unpause", "redis"]).ok();
    assert_eq!((vifs("redis").len(), disks("redis").len()), (1, 0));
    assert_eq!((vifs("daytime").len(), disks("daytime").len()), (1, 0));
    assert_eq!(ask(FIRST, "PING"), "+PONG\r\n");
    // Nothing is left: all of it can be had.
    attach_second("redis");
    chaos(&["block-attach", "redis", &disk("xvda")]).ok();
    assert_eq!(ask(SECOND, "PING"), "+PONG\r\n");
    for guest in [guest, other] {
        guest.destroy();
    }
    bed.assert_empty("after the refusals");
}

#[test]
fn a_disk_that_is_added_keeps_what_was_written_when_it_is_removed() {
    let bed = Bed::new();
    let (first, second) = (image(&bed, "first"), image(&bed, "second"));
    let cmdline = "cmdline='verify hot=1 count=500 run=5'";
    let guest = Guest::create("blkbench.cfg", &["disk=[]", cmdline]);
    guest.wait_for_log("blkbench: waiting for a disk");
    for (round, path) in [&first, &second, &first].into_iter().enumerate() {
        chaos(&["block-attach", "blkbench", path, "raw", "xvdb", "w"]).ok();
        assert_eq!(disks("blkbench")[0]["vdev"], "xvdb");
        let checked = "blkbench: check: blocks=500 lost=0 torn=0";
        let count = |log: &str| log.matches(checked).count() == round + 1;
        system_tests::wait_for_file(&guest.log_path(), checked, count);
        if round == 1 {
            restart_noxsd();
        }
        chaos(&["block-detach", "blkbench", "xvdb"]).ok();
        assert_eq!(disks("blkbench").len(), 0);
        // Another guest finds what was written; the file is free.
        let disk = format!("disk=['{path},raw,xvda,w']");
        let check = "cmdline='check count=500 run=5'";
        let other = Guest::create("blkbench.cfg", &["name='other'", &disk, check]);
        other.wait_for_log(checked);
        other.destroy();
    }
    guest.destroy();
    bed.assert_empty("after the guest is destroyed");
}

#[test]
fn a_guest_that_does_not_answer_is_named_and_nothing_is_left() {
    let bed = Bed::new();
    let (first, second) = (image(&bed, "first"), image(&bed, "second"));
    // The guest looks at changes only after all blocks.
    let cmdline = "cmdline='verify hot=1 count=100000000'";
    let guest = Guest::create("blkbench.cfg", &["disk=[]", cmdline]);
    chaos(&["block-attach", "blkbench", &format!("{first},raw,xvda,w")]).ok();
    guest.wait_for_log("blkbench: flushed");
    chaos(&["block-attach", "--timeout", "1", "blkbench", &format!("{second},raw,xvdb,w")])
        .refused(5, &["guest blkbench has not taken vbd1 within 1 s"]);
    assert_eq!(disks("blkbench").len(), 1);
    let detach = ["block-detach", "--timeout", "1", "blkbench", "xvda"];
    chaos(&detach).refused(5, &["guest blkbench has not stopped using vbd0 within 1 s", "--force"]);
    assert_eq!(disks("blkbench")[0]["state"], "closing");
    chaos(&["block-detach", "--force", "blkbench", "xvda"]).ok();
    assert_eq!(disks("blkbench").len(), 0);
    // Both files are free.
    let disk = format!("disk=['{first},raw,xvda,w','{second},raw,xvdb,w']");
    Guest::create("blkbench.cfg", &["name='other'", &disk, "cmdline='read count=1'"]).destroy();
    guest.destroy();
    bed.assert_empty("after the guest is destroyed");
}

#[test]
fn a_guest_that_waits_for_a_lost_disk_gets_an_error_when_the_disk_is_removed() {
    let bed = Bed::new();
    let path = image(&bed, "disk");
    let cmdline = "cmdline='verify hot=1 count=100000000'";
    let guest = Guest::create("blkbench.cfg", &["disk=[]", cmdline]);
    chaos(&["block-attach", "blkbench", &format!("{path},raw,xvda,w")]).ok();
    guest.wait_for_log("blkbench: flushed");
    // A restarted noxsd finds another file, and answers none of the requests in flight.
    fs::rename(&path, format!("{path}.moved")).expect("the image can be moved");
    image(&bed, "disk");
    restart_noxsd();
    assert_eq!(disks("blkbench")[0]["state"], "broken");
    // The guest does not look at changes meanwhile.
    chaos(&["block-detach", "blkbench", "xvda"]).ok();
    assert_eq!(disks("blkbench").len(), 0);
    guest.wait_for_log("or is gone");
    guest.destroy();
    bed.assert_empty("after the guest is destroyed");
}

#[test]
fn redis_saves_to_a_disk_that_is_added() {
    let bed = Bed::new();
    let path = image(&bed, "disk");
    let disk = format!("{path},raw,xvda,w");
    let guest = Guest::create("redis.cfg", &[]);
    assert_eq!(ask(FIRST, "SET a 1"), "+OK\r\n");
    assert!(ask(FIRST, "SAVE").starts_with("-ERR"));
    chaos(&["block-attach", "redis", &disk]).ok();
    assert_eq!(ask(FIRST, "SAVE"), "+OK\r\n");
    chaos(&["block-detach", "redis", "xvda"]).ok();
    assert!(ask(FIRST, "SAVE").starts_with("-ERR"));
    // It has keys already, so it does not take the disk with the snapshot.
    chaos(&["block-attach", "redis", &disk]).refused(1, &["guest redis"]);
    assert_eq!(ask(FIRST, "DEL a"), ":1\r\n");
    chaos(&["block-attach", "redis", &disk]).ok();
    assert_eq!(ask(FIRST, "GET a"), "$1\r\n");
    guest.destroy();
    bed.assert_empty("after the guest is destroyed");
}

#[test]
fn a_guest_that_reboots_has_the_devices_that_it_had_last() {
    let _bed = Bed::new();
    let chaosd = Chaosd::start("memory = '8M'");
    let guest = Guest::create("redis.cfg", &[]);
    attach_second("redis");
    chaos(&["network-detach", "redis", "0"]).ok();
    assert_eq!(ask(SECOND, "PING"), "+PONG\r\n");
    chaos(&["reboot", "redis"]).ok();
    chaosd.wait_for_log("redis rebooted and is domain");
    guest.forget();
    assert_eq!(ask(SECOND, "PING"), "+PONG\r\n");
    let listed = vifs("redis");
    assert_eq!((listed.len(), &listed[0]["devid"]), (1, &Value::from(0)), "{listed:?}");
    chaos(&["destroy", "redis"]).ok();
    assert!(chaosd.stop());
}

#[test]
fn a_killed_command_leaves_the_device_complete_or_gone() {
    let bed = Bed::new();
    let guest = Guest::create("redis.cfg", &[]);
    let attach = ["network-attach", "redis", "ip=10.0.0.9/24"];
    let detach = ["network-detach", "redis", "1"];
    let (mut stop, mut gone, mut complete, mut over) = (0, 0, 0, [false; 2]);
    while over != [true; 2] {
        for (number, command) in [&attach[..], &detach].into_iter().enumerate() {
            if number == 1 && vifs("redis").len() == 1 {
                chaos(&attach).ok();
            }
            let ended = run_to_syscall("/usr/local/bin/chaos", command, stop);
            over[number] |= matches!(ended, Ended::Exited(0));
            if stop % 2 == 0 {
                chaos(&["list"]).ok();
            }
            if stop % 4 == 0 {
                restart_noxsd();
            }
            let mut listed = vifs("redis");
            if listed.get(1).is_some_and(|vif| vif["state"] == "closing") {
                // The guest may have released it.
                chaos(&detach).ok();
                listed = vifs("redis");
            }
            let count = listed.len();
            match count {
                1 => {
                    gone += 1;
                    // The address is free.
                    let other = ["name='other'", "vif=['ip=10.0.0.9/24']"];
                    Guest::create("daytime.cfg", &other).destroy();
                }
                _ => {
                    complete += 1;
                    assert_eq!(ask(SECOND, "PING"), "+PONG\r\n", "stop {stop}: {command:?}");
                }
            }
            assert_eq!(ask(FIRST, "PING"), "+PONG\r\n", "stop {stop}: {command:?}");
            if count == 2 && number == 0 {
                chaos(&detach).ok();
            }
        }
        // Each system call has two stops, so this comes to the beginning of some and to the end of others.
        stop += 3;
    }
    assert!(gone > 10 && complete > 3, "{gone} kills left nothing, {complete} a device");
    guest.destroy();
    bed.assert_empty("after the guest is destroyed");
}
