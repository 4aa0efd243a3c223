// SPDX-License-Identifier: GPL-3.0-or-later
//! Compares what the commands for CPUs, cpupools and the machine print with what xl prints.

use system_tests::{Guest, XenStoreBed, chaos, run};

use crate::DEVICES;

pub(crate) fn xl(args: &[&str]) -> String {
    run("xl", args).ok()
}

/// Checks that chaos and xl print the same.
#[track_caller]
pub(crate) fn assert_same(args: &[&str]) -> String {
    let ours = chaos(args).ok();
    assert_eq!(ours, xl(args), "{args:?}");
    ours
}

/// Returns the lines about dom0's vCPUs without their CPU, state and time, which change.
fn dom0_lines(text: &str) -> Vec<String> {
    let lines = text.lines().filter(|line| line.starts_with("Domain-0"));
    let fixed = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        [&words[..3], &words[6..]].concat().join(" ")
    };
    lines.map(fixed).collect()
}

#[test]
fn vcpus_are_listed_and_pinned_as_by_xl() {
    let _bed = XenStoreBed::new();
    let guest = Guest::create("noop.cfg", &DEVICES);
    let number = guest.domid.to_string();
    let listed = assert_same(&["vcpu-list", "noop"]);
    assert_eq!(assert_same(&["vcpu-list", &number]), listed);
    assert_same(&["vcpu-list", "noop", &number]);
    assert_eq!(chaos(&["vcpu-list", "--xl", "noop"]).ok(), listed);
    let (ours, theirs) = (chaos(&["vcpu-list"]).ok(), xl(&["vcpu-list"]));
    assert_eq!(ours.lines().count(), theirs.lines().count(), "{ours}{theirs}");
    assert_eq!(dom0_lines(&ours), dom0_lines(&theirs));
    assert!(!dom0_lines(&ours).is_empty(), "{ours}");

    for pinned in [
        &["noop", "0", "0"][..],
        &["noop", "all", "-", "node:0"],
        &["-f", "noop", "0", "all,^1-0", "all"],
        &["Domain-0", "all", "0"],
        &["0", "0", "all", "all"],
    ] {
        let pinned = [&["vcpu-pin"], pinned].concat();
        let ran = chaos(&pinned);
        if pinned.contains(&"all,^1-0") {
            ran.refused(2, &["\"^1-0\"", "must be CPUs such as"]);
        } else {
            ran.ok();
        }
        assert_same(&["vcpu-list", "noop"]);
        let (ours, theirs) = (chaos(&["vcpu-list", "0"]).ok(), xl(&["vcpu-list", "0"]));
        assert_eq!(dom0_lines(&ours), dom0_lines(&theirs), "after {pinned:?}");
    }
    chaos(&["vcpu-pin", "noop", "0", "4095"]).refused(2, &["there is no CPU 4095"]);
    chaos(&["vcpu-pin", "noop", "0", "^0"]).refused(2, &["at least one CPU"]);
    chaos(&["vcpu-pin", "noop", "1", "0"]).refused(2, &["no vCPU 1"]);
    chaos(&["vcpu-pin", "-f", "noop", "all", "0"]).refused(2, &["--force"]);
    chaos(&["vcpu-pin", "nothing", "0", "0"]).refused(3, &["no guest nothing"]);
    chaos(&["vcpu-list", "nothing"]).refused(3, &["no guest nothing"]);
    guest.destroy();
}

#[test]
fn shares_and_parameters_are_those_of_xl() {
    let _bed = XenStoreBed::new();
    let guest = Guest::create("noop.cfg", &DEVICES);
    let number = guest.domid.to_string();
    assert_same(&["sched-credit2"]);
    // No cpupool has this scheduler.
    assert_eq!(assert_same(&["sched-credit"]), "");
    for set in [&["-w", "512"][..], &["-c", "40"], &["-w", "100", "-c", "0"]] {
        chaos(&[&["sched-credit2", "-d", "noop"], set].concat()).ok();
        let listed = assert_same(&["sched-credit2", "-d", &number]);
        assert!(set.chunks(2).all(|pair| listed.contains(pair[1])), "{set:?}: {listed}");
    }
    chaos(&["sched-credit2", "-d", "0", "-w", "300"]).ok();
    assert!(assert_same(&["sched-credit2", "-d", "Domain-0"]).contains("300"));
    chaos(&["sched-credit2", "-d", "Domain-0", "-w", "256"]).ok();
    assert_same(&["sched-credit2", "-p", "Pool-0"]);

    let before = assert_same(&["sched-credit2", "-s"]);
    chaos(&["sched-credit2", "-s", "-r", "1234"]).ok();
    assert!(assert_same(&["sched-credit2", "-s", "-p", "0"]).contains("ratelimit=1234us"));
    let old = before.split_once("ratelimit=").and_then(|(_, rest)| rest.split_once("us"));
    chaos(&["sched-credit2", "-s", "-r", old.expect("a rate limit").0]).ok();
    assert_eq!(assert_same(&["sched-credit2", "-s"]), before);

    chaos(&["sched-credit", "-d", "noop"]).refused(1, &["whose scheduler is credit2"]);
    chaos(&["sched-credit", "-s", "-t", "10"]).refused(1, &["use chaos sched-credit2"]);
    chaos(&["sched-credit2", "-d", "noop", "-c", "101"]).refused(2, &["must be at most 100"]);
    chaos(&["sched-credit2", "-p", "nothing"]).refused(2, &["no cpupool nothing"]);
    guest.destroy();
}

#[test]
fn cpupools_have_the_names_that_xl_knows() {
    let _bed = XenStoreBed::new();
    let guest = Guest::create("noop.cfg", &DEVICES);
    let both = |args: &[&str]| {
        assert_same(&["cpupool-list"]);
        assert_same(&["cpupool-list", "-c"]);
        assert_same(args)
    };
    both(&["cpupool-list", "Pool-0"]);
    let report = chaos(&["cpupool-create", "-n", "name=batch", "sched=credit"]).ok();
    let theirs = xl(&["cpupool-create", "-n", "name=\"batch\"", "sched=\"credit\""]);
    assert_eq!(report, theirs);
    assert_eq!(chaos(&["cpupool-create", "name=batch", "sched=credit"]).ok(), report);
    assert!(both(&["cpupool-list", "batch"]).contains("credit"));
    chaos(&["sched-credit", "-s", "-p", "batch", "-t", "10", "-r", "500", "-m", "7"]).ok();
    let line = "Cpupool batch: tslice=10ms ratelimit=500us migration-delay=7us\n";
    assert_eq!(assert_same(&["sched-credit", "-s", "-p", "batch"]), line);
    assert_same(&["sched-credit"]);

    chaos(&["cpupool-rename", "batch", "other"]).ok();
    both(&["cpupool-list", "other"]);
    chaos(&["cpupool-create", "name=other"]).refused(2, &["other is in use"]);
    chaos(&["cpupool-create", "name=17"]).refused(2, &["must not be a number"]);
    chaos(&["cpupool-create", "name=x", "cpus=0"]).refused(1, &["CPU 0 is in cpupool Pool-0"]);
    chaos(&["cpupool-create", "cpus=0"]).refused(2, &["needs a name"]);
    chaos(&["cpupool-create", "name=x", "sched=fair"]).refused_config(&["must be credit"]);
    chaos(&["cpupool-migrate", "noop", "other"]).refused(1, &["other has no CPUs"]);
    chaos(&["cpupool-cpu-add", "other", "0"]).refused(1, &["CPU 0 is in cpupool Pool-0"]);
    chaos(&["cpupool-cpu-remove", "other", "0"]).refused(1, &["CPU 0 is not in cpupool other"]);
    chaos(&["cpupool-cpu-remove", "Pool-0", "0"]).refused(1, &["remove CPU 0 from cpupool Pool-0"]);
    chaos(&["cpupool-destroy", "Pool-0"]).refused(1, &["dom0 stays in it"]);
    chaos(&["cpupool-numa-split"]).refused(1, &["more than one cpupool"]);
    chaos(&["cpupool-cpu-add", "other", "all"]).ok();
    chaos(&["cpupool-destroy", "other"]).ok();
    both(&["cpupool-list"]);
    assert_eq!(run("xenstore-list", &["/local/pool"]).ok(), "0\n", "its nodes are gone");

    // A pool of xl's, by its number.
    xl(&["cpupool-create", "name=\"theirs\""]);
    let listed = both(&["cpupool-list", "theirs"]);
    assert!(listed.contains("credit2"), "{listed}");
    chaos(&["cpupool-destroy", "theirs"]).ok();
    both(&["cpupool-list"]);

    chaos(&["cpupool-numa-split"]).ok();
    both(&["cpupool-list", "Pool-node0"]);
    chaos(&["cpupool-rename", "0", "Pool-0"]).ok();
    both(&["cpupool-list", "Pool-0"]);
    chaos(&["cpupool-migrate", "noop", "Pool-0"]).ok();
    guest.destroy();
}

/// Returns the lines of `xl info -n` without the free memory, which may change. The PCI devices, which xl
/// does not sort, come last.
fn fixed_lines(text: &str) -> Vec<String> {
    let (mut lines, mut devices) = (Vec::new(), Vec::new());
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if line.starts_with("free_memory") {
            continue;
        }
        // `0000:00:1f.3      0`
        match line.as_bytes() {
            [_, _, _, _, b':', _, _, b':', _, _, b'.', ..] => devices.push(line.to_owned()),
            [b' ', ..] if words.len() == 4 => {
                lines.push([&words[..2], &words[3..]].concat().join(" "));
            }
            _ => lines.push(line.trim_end().to_owned()),
        }
    }
    devices.sort();
    [lines, devices].concat()
}

#[test]
fn the_machine_is_described_as_by_xl() {
    let _bed = XenStoreBed::new();
    for args in [&["info"][..], &["info", "-n"]] {
        let (ours, theirs) = (chaos(args).ok(), xl(args));
        assert_eq!(fixed_lines(&ours), fixed_lines(&theirs), "{args:?}");
        assert!(fixed_lines(&ours).len() > 30, "{ours}");
    }
    let ours = chaos(&["info", "--xl", "-n"]).ok();
    assert_eq!(fixed_lines(&ours), fixed_lines(&xl(&["info", "-n"])));
    assert!(ours.contains("device topology        :\n"), "{ours}");
    for name in ["nr_cpus", "xen_m", "total_memory", "virt_caps", "nothing"] {
        assert_same(&["info", name]);
    }
}

#[test]
fn xens_log_is_printed_and_cleared_and_keys_are_sent() {
    let _bed = XenStoreBed::new();
    let answer = "showing installed handlers";
    assert_eq!(chaos(&["debug-keys", "h"]).ok(), "");
    let ours = chaos(&["dmesg"]).ok();
    assert!(ours.contains(answer), "{ours}");
    let theirs = xl(&["dmesg"]);
    let end: Vec<&str> = ours.lines().rev().take(20).collect();
    assert!(end.iter().all(|line| theirs.contains(line)), "{end:#?} in {theirs}");
    assert!(chaos(&["dmesg", "-c"]).ok().contains(answer));
    assert!(!chaos(&["dmesg"]).ok().contains(answer));
    assert!(!xl(&["dmesg"]).contains(answer));
}

#[test]
fn triggers_that_a_pvh_guest_cannot_get_are_refused() {
    let _bed = XenStoreBed::new();
    let guest = Guest::create("noop.cfg", &DEVICES);
    let number = guest.domid.to_string();
    chaos(&["trigger", "noop", "power"]).refused(1, &["no ACPI buttons", "chaos shutdown"]);
    chaos(&["trigger", "noop", "sleep"]).refused(1, &["no ACPI buttons"]);
    for trigger in ["reset", "init"] {
        chaos(&["trigger", &number, trigger]).refused(1, &[trigger, "does not support it"]);
    }
    chaos(&["trigger", "noop", "s3resume"]).refused(2, &["no sleep states"]);
    chaos(&["trigger", "noop", "nmi", "7"]).refused(1, &["vCPU 7 of noop, which does not exist"]);
    chaos(&["trigger", "noop", "nmi"]).ok();
    chaos(&["trigger", "noop", "nmi", "0"]).ok();
    guest.destroy();
}

/// A domain of xl, which is destroyed when it is dropped, so that a failed test does not fail others.
pub(crate) struct ByXl(pub(crate) String);

impl Drop for ByXl {
    fn drop(&mut self) {
        let destroyed = run("xl", &["destroy", &self.0]);
        if !std::thread::panicking() {
            destroyed.ok();
        }
    }
}

#[test]
fn domains_of_xl_are_listed_and_never_changed() {
    let bed = XenStoreBed::new();
    let text = "name='by-xl'\ntype='pvh'\nkernel='/root/noop'\nmemory=64\n";
    let config = bed.bed.file("by-xl.cfg", text);
    xl(&["create", "-p", &config]);
    let by_xl = ByXl(xl(&["domid", "by-xl"]).trim().to_owned());
    let domid = by_xl.0.clone();
    let before = (xl(&["vcpu-list", "by-xl"]), xl(&["sched-credit2", "-d", "by-xl"]));
    for args in [
        &["vcpu-pin", &domid, "0", "0"][..],
        &["sched-credit2", "-d", &domid, "-w", "300"],
        &["cpupool-migrate", &domid, "Pool-0"],
        &["trigger", &domid, "nmi"],
    ] {
        chaos(args).refused(1, &["was not created by chaos"]);
    }
    let after = (xl(&["vcpu-list", "by-xl"]), xl(&["sched-credit2", "-d", "by-xl"]));
    assert_eq!(before, after);
    // XenStore has its name.
    assert_eq!(chaos(&["vcpu-list", &domid]).ok(), before.0);
    assert_eq!(chaos(&["vcpu-list", "by-xl"]).ok(), before.0);
    assert_eq!(chaos(&["sched-credit2", "-d", &domid]).ok(), before.1);
    for name in ["by-xl", "Domain-0"] {
        assert_same(&["domid", name]);
    }
    for number in [&domid, "0"] {
        assert_same(&["domname", number]);
    }
    // The seconds may be those of the next moment.
    let (ours, theirs) = (chaos(&["uptime", "by-xl"]).ok(), xl(&["uptime", "by-xl"]));
    let words = |text: &str| -> Vec<String> {
        text.lines().flat_map(|line| line.split_whitespace().take(2).map(str::to_owned)).collect()
    };
    assert_eq!(words(&ours), words(&theirs));
    assert!(words(&ours).contains(&domid), "{ours}");
    assert!(words(&chaos(&["uptime"]).ok()).contains(&domid));
    let listed = chaos(&["list", "--json", "by-xl"]).json();
    assert_eq!((&listed[0]["name"], listed.as_array().map(Vec::len)), (&"by-xl".into(), Some(1)));
    assert!(listed[0]["age_ms"].as_u64().is_some_and(|age| age < 3_600_000), "{listed}");
    // A name is enough for a look, and not for a change.
    for args in [&["pause", "by-xl"][..], &["destroy", "by-xl"], &["rename", "by-xl", "other"]] {
        chaos(args).refused(3, &["no guest by-xl"]);
    }
    chaos(&["domid", "nothing"]).refused(3, &["no guest nothing"]);
}
