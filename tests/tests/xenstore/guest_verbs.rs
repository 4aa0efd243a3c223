// SPDX-License-Identifier: GPL-3.0-or-later
//! The commands that look into guests and change their memory and vCPUs, in XenStore mode and next to
//! xl.

use std::fs;
use std::time::{Duration, Instant};

use system_tests::{ConsoleLog, CoreFile, Guest, PATIENCE, XenStoreBed, chaos, run};
use xen::Xen;
use xen::units::DomId;

use crate::xl_verbs::{ByXl, assert_same, xl};
use crate::{DEVICES, LINUX};

/// The pause before asking again for what no event announces.
const PAUSE: Duration = Duration::from_millis(50);

/// Returns the pages that a domain has and may have.
fn pages(domid: &str) -> [u64; 2] {
    let domid = DomId(domid.parse().expect("a number"));
    let info = Xen::open().expect("dom0 can open Xen").domain_info(domid).expect("an answer");
    let info = info.expect("the domain exists");
    [info.tot_pages.0, info.max_pages.0]
}

/// Returns a node of a domain.
fn node(domid: &str, path: &str) -> String {
    run("xenstore-read", &[&format!("/local/domain/{domid}/{path}")]).ok()
}

#[test]
fn a_linux_is_dumped_gives_memory_back_and_gets_keys() {
    let bed = XenStoreBed::new();
    let config = bed.bed.file("linux.cfg", LINUX);
    let console = ConsoleLog::of("linux");
    let guest = Guest::create(&config, &[]);
    console.wait_for("linux: ready");
    let domid = guest.domid.to_string();

    // The root of dom0 has no room for it.
    let folder = bed.bed.file("cores", "");
    fs::remove_file(&folder).expect("it exists");
    fs::create_dir(&folder).expect("a folder can be created");
    run("mount", &["-t", "tmpfs", "-o", "size=192m", "tmpfs", &folder]).ok();
    let path = format!("{folder}/linux.core");
    // An idle kernel waits behind a `hlt`, and its addresses are virtual. It may be at work first.
    let is_idle = (0..50).any(|_| {
        // There is no room for two.
        let _ = fs::remove_file(&path);
        chaos(&["dump-core", "linux", &path]).ok();
        let core = CoreFile::open(&path);
        let [rip] = core.instruction_pointers()[..] else { panic!("it has one vCPU") };
        rip >> 63 == 1 && core.at(rip - 1, 1) == [0xf4]
    });
    assert!(is_idle, "its kernel is found at virtual addresses");
    assert!(CoreFile::open(&path).contains("Linux version "));
    run("umount", &[&folder]).ok();
    assert_eq!(Guest::ask("10.0.0.5:7", b"echoed\n", b"\n"), b"echoed\n");

    chaos(&["sysrq", "linux", "h"]).ok();
    console.wait_for("HELP");

    let before = pages(&domid)[0];
    chaos(&["mem-set", "linux", "128"]).ok();
    assert_eq!(node(&domid, "memory/target"), "131072\n");
    let deadline = Instant::now() + PATIENCE;
    while pages(&domid)[0] > before - 31 * 256 {
        assert!(Instant::now() < deadline, "it has {} pages", pages(&domid)[0]);
        std::thread::sleep(PAUSE);
    }
    chaos(&["mem-set", "linux", "512"]).refused(2, &["163840 KiB", "chaos mem-max"]);
    guest.destroy();
    bed.assert_nothing_left("after the guest");
}

/// Linux compares what it has with `memory/static-max` when it starts.
#[test]
fn a_linux_that_may_have_more_memory_later_keeps_what_it_has() {
    let bed = XenStoreBed::new();
    let config = bed.bed.file("linux.cfg", LINUX);
    let console = ConsoleLog::of("linux");
    let guest = Guest::create(&config, &["maxmem=256"]);
    console.wait_for("linux: ready");
    let domid = guest.domid.to_string();
    assert!(pages(&domid)[0] >= 160 * 256, "it has {} pages", pages(&domid)[0]);
    chaos(&["mem-set", "linux", "192"]).ok();
    assert_eq!(node(&domid, "memory/target"), "196608\n");
    chaos(&["mem-set", "linux", "257"]).refused(2, &["262144 KiB", "chaos mem-max"]);
    guest.destroy();
    bed.assert_nothing_left("after the guest");
}

#[test]
fn memory_and_vcpus_are_set_as_by_xl() {
    let bed = XenStoreBed::new();
    let text = "name='by-xl'\ntype='pvh'\nkernel='/root/noop'\nmemory=64\n";
    let config = bed.bed.file("by-xl.cfg", text);
    xl(&["create", "-p", &config]);
    let theirs = ByXl(xl(&["domid", "by-xl"]).trim().to_owned());
    let guest = Guest::create("noop.cfg", &[&DEVICES[..], &["memory=64", "vcpus=2"]].concat());
    let ours = guest.domid.to_string();
    for (verb, memory) in
        [("mem-max", "128"), ("mem-set", "100"), ("mem-set", "49152k"), ("mem-max", "1g")]
    {
        chaos(&[verb, "noop", memory]).ok();
        xl(&[verb, "by-xl", memory]);
        assert_eq!(pages(&ours)[1], pages(&theirs.0)[1], "{verb} {memory}");
        let target = "memory/target";
        assert_eq!(node(&ours, target), node(&theirs.0, target), "{verb} {memory}");
        // What Linux sees as its memory does not change; xl's guest sees maxmem.
        assert_eq!(node(&ours, "memory/static-max"), "65536\n", "{verb} {memory}");
    }
    chaos(&["mem-max", "noop", "10"]).refused(2, &["to 10240 KiB", "it has 49152 KiB"]);
    let states = || [0, 1].map(|vcpu| node(&ours, &format!("cpu/{vcpu}/availability")));
    chaos(&["vcpu-set", "noop", "1"]).ok();
    assert_eq!(states(), ["online\n", "offline\n"]);
    chaos(&["vcpu-set", "noop", "2"]).refused(2, &["the machine has 1 CPUs", "--ignore-host"]);
    chaos(&["vcpu-set", "-i", "noop", "2"]).ok();
    assert_eq!(states(), ["online\n", "online\n"]);
    chaos(&["vcpu-set", "-i", "noop", "3"]).refused(2, &["has 2 vCPUs"]);
    for verb in ["mem-max", "mem-set", "vcpu-set"] {
        chaos(&[verb, &theirs.0, "1"]).refused(1, &["was not created by chaos"]);
    }
    chaos(&["sysrq", "noop", "s"]).ok();
    assert_eq!(node(&ours, "control/sysrq"), "s\n");
    guest.destroy();
    drop(theirs);
    bed.assert_nothing_left("after the guests");
}

/// Returns the lines about domains that do not run, and the first line.
fn still(text: &str) -> Vec<String> {
    let lines = text.lines().enumerate();
    let is_still = |(at, line): &(usize, &str)| *at == 0 || !line.starts_with("Domain-0");
    lines.filter(is_still).map(|(_, line)| line.trim_end().to_owned()).collect()
}

#[test]
fn lists_have_the_columns_of_xl() {
    let bed = XenStoreBed::new();
    let guest = Guest::create("noop.cfg", &DEVICES);
    let text = "name='by-xl'\ntype='pvh'\nkernel='/root/noop'\nmemory=64\n";
    let config = bed.bed.file("by-xl.cfg", text);
    xl(&["create", "-p", &config]);
    let theirs = ByXl(xl(&["domid", "by-xl"]).trim().to_owned());
    for option in ["-v", "-Z", "-c", "-n", "-vcn", "-cZ"] {
        let (ours, xls) = (chaos(&["list", option]).ok(), xl(&["list", option]));
        assert_eq!(still(&ours), still(&xls), "{option}");
        assert!(still(&ours).iter().any(|line| line.starts_with("by-xl ")), "{ours}");
        assert_eq!(ours.lines().count(), 4, "{ours}");
    }
    assert_same(&["list", "-v", "noop"]);
    assert_same(&["vm-list"]);
    let all = chaos(&["list", "-a"]).ok();
    assert!(all.contains("by-xl "), "{all}");
    let long = chaos(&["list", "-l"]).json();
    assert_eq!(long.as_array().map(Vec::len), Some(1), "{long}");
    assert_eq!(long[0]["domid"], guest.domid);
    let config = chaos(&["config", "noop.cfg", "store=xenstore"]).json();
    for key in ["name", "kernel", "memory_kib", "store"] {
        assert!(key == "kernel" || long[0]["config"][key] == config[key], "{key}: {long}");
    }
    guest.destroy();
    drop(theirs);
    bed.assert_nothing_left("after the guests");
}
