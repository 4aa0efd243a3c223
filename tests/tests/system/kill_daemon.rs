// SPDX-License-Identifier: GPL-3.0-or-later
//! Kills `chaosd` at every stage of its work, under load. The next `chaosd` must find a consistent
//! system.
//!
//! A kill matters only between system calls, because each change that another process can see, in
//! Xen, in `noxsd` or in a file, is a system call. Each call of either thread has two stops, its
//! entry and its exit. The load is the same in each round, and round N kills `chaosd` at stop
//! N * [`STRIDE`], until `chaosd` exits before that. The stride is prime, so that rounds hit
//! different steps of repeated work, such as preparing a shell. It is also odd, so that rounds
//! alternate between entries and exits. The order of the two threads varies, so another run of this
//! test hits other points.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::thread;
use std::time::Instant;

use serde_json::Value;
use system_tests::{Bed, Chaosd, Death, DoomedChaosd, Guest, Ran, Witness, chaos, restart_noxsd};

/// The stops from one kill to the next. With this number the test takes about a minute on an
/// emulated machine.
const STRIDE: usize = 53;

/// How many shells a pool has that is full, and one that is not refilled yet.
const SHELLS: RangeInclusive<u64> = 2..=3;

const SETTINGS: &str = "memory = '16M'
[[flavour]]
name = 'daytime'
memory = '4M'
bridges = ['xenbr0']
low = 2
high = 3
";

#[test]
fn a_killed_chaosd_leaves_guests_and_shells_and_nothing_incomplete() {
    let bed = Bed::new();
    // Xen keeps the memory that it once allocated for dom0's ports and grants. Create more guests
    // and shells than exist at any time later, so that it allocates no more after this.
    let chaosd = Chaosd::start(SETTINGS);
    chaosd.wait_until_full("daytime");
    chaos(&["create", "-n", "12", "daytime.cfg"]).ok();
    let names: Vec<String> = (1..=12).map(|number| format!("daytime-{number}")).collect();
    let destroy: Vec<&str> =
        ["destroy"].into_iter().chain(names.iter().map(String::as_str)).collect();
    chaos(&destroy).ok();
    assert!(chaosd.stop());
    let before = bed.free_pages();

    let mut witness = Witness::new(&[]);
    // How many kills hit each part of the work.
    let mut kills: BTreeMap<&str, u32> = BTreeMap::new();
    for round in 0.. {
        let stop = round * STRIDE;
        let began = Instant::now();
        let doomed = DoomedChaosd::start(SETTINGS, stop);
        let (created, rebooted) = load(&doomed, &mut witness);
        let (death, log) = doomed.death();

        let chaosd = Chaosd::start(SETTINGS);
        chaosd.wait_until_full("daytime");
        // A guest that takes its time to reboot is restarted later, from a shell.
        if domid("g1").is_none_or(|domid| domid == rebooted) {
            chaosd.wait_for_log("g1 rebooted and is domain");
        }
        check(&bed, &chaosd, &created, &mut witness, &format!("stop {stop}, {death:?}, {log}"));
        println!("stop {stop}: {death:?}, g{created:?}, {} ms", began.elapsed().as_millis());
        match death {
            Death::AtStop { first_thread: false, .. } => *kills.entry("refill").or_default() += 1,
            Death::AtStop { .. } if !log.contains("ready on") => {
                *kills.entry("start").or_default() += 1;
            }
            Death::AtStop { .. } => *kills.entry("service").or_default() += 1,
            Death::Before { stops } => {
                println!("{stops} stops, killed at every {STRIDE}th: {kills:?}");
                assert!(chaosd.stop());
                break;
            }
        }
        chaosd.kill();
    }
    for part in ["start", "refill", "service"] {
        assert!(kills.get(part).is_some_and(|count| *count >= 3), "kills in {part}: {kills:?}");
    }
    witness.destroy();
    bed.assert_empty("after the last chaosd has exited");
    assert_eq!(bed.free_pages(), before, "memory is lost");
}

/// Makes `chaosd` do everything that it can do, until it is dead. Returns the numbers of the guests
/// that must exist afterwards, and the domid that the first of them had before it rebooted.
fn load(doomed: &DoomedChaosd, witness: &mut Witness) -> (Vec<u8>, u64) {
    // The first create usually arrives while chaosd starts. The others arrive while it prepares
    // shells, and there are more of them than shells.
    create(1);
    let _ = doomed.wait_for_log("ready on");
    thread::scope(|scope| {
        let two = |first| move || [first, first + 1].into_iter().for_each(create);
        let threads = [scope.spawn(two(2)), scope.spawn(two(4))];
        witness.answers();
        witness.is_recorded();
        for thread in threads {
            thread.join().expect("creates return");
        }
    });
    let rebooted = domid("g1").expect("g1 exists");
    chaos(&["reboot", "g1"]).ok();
    let _ = doomed.wait_for_log("g1 rebooted and is domain");
    chaos(&["destroy", "g2"]).ok();
    if doomed.wait_for_log("flavour daytime is full") {
        chaosd_was_dead(&chaos(&["pool", "resize", "daytime", "1", "1"]));
    }
    witness.answers();
    witness.is_recorded();
    doomed.terminate();
    (vec![1, 3, 4, 5], rebooted)
}

/// Returns the domid of the guest with this name.
fn domid(name: &str) -> Option<u64> {
    let guests = chaos(&["list", "--json"]).json();
    let guests = guests.as_array().expect("an array");
    guests.iter().find(|guest| guest["name"] == name)?["domid"].as_u64()
}

/// Creates a guest. That succeeds whether `chaosd` is alive, is killed meanwhile, or is dead: then
/// the command creates the guest itself, unless `chaosd` has done so.
fn create(number: u8) {
    let name = format!("name='g{number}'");
    let vif = format!("vif=['bridge=xenbr0,ip=10.0.0.{}/24']", 10 + number);
    chaos(&["create", "daytime.cfg", &name, &vif]).ok();
}

/// Returns whether a command failed because `chaosd` was dead.
///
/// # Panics
/// The command failed for another reason.
#[track_caller]
fn chaosd_was_dead(ran: &Ran) -> bool {
    let gone = ["chaosd closed the connection", "chaosd is not running"];
    let expected = ran.code == Some(0) || gone.iter().any(|text| ran.stderr.contains(text));
    assert!(expected, "{}: {}{}", ran.command, ran.stdout, ran.stderr);
    ran.code != Some(0)
}

/// Checks the shells and all guests, and destroys the guests of this round. Those that
/// `created` names must exist.
fn check(bed: &Bed, chaosd: &Chaosd, created: &[u8], witness: &mut Witness, when: &str) {
    // A new noxsd knows of each guest only what its records say.
    restart_noxsd();
    witness.answers();
    witness.is_recorded();
    let all = chaos(&["list", "--all", "--json"]).json();
    let all: Vec<&Value> = all.as_array().expect("an array").iter().collect();
    let (shells, others): (Vec<&Value>, Vec<&Value>) =
        all.into_iter().filter(|one| one["domid"] != 0).partition(|one| one["state"] == "shell");
    assert_eq!(bed.domains().len(), shells.len() + others.len(), "{others:?} {when}");
    assert!(SHELLS.contains(&(shells.len() as u64)), "{shells:?} {when}");
    assert_eq!(chaosd.pool("daytime", "ready"), shells.len() as u64, "{when}");
    for guest in &others {
        let sound = guest["fault"].is_null()
            && ["running", "runnable", "blocked"].iter().any(|state| guest["state"] == *state);
        assert!(sound, "{guest:?} {when}");
        let name = guest["name"].as_str().unwrap_or_else(|| panic!("{guest:?} {when}"));
        if let Some(number) = name.strip_prefix('g') {
            let number: u8 = number.parse().expect("the name is one of this test's");
            let answer = Guest::ask(&format!("10.0.0.{}:13", 10 + number), b"", b"\n");
            assert!(answer.ends_with(b"\n"), "{answer:?} {when}");
        }
    }
    for number in created {
        let name = format!("g{number}");
        assert!(others.iter().any(|guest| guest["name"] == name), "{name} is lost, {when}");
    }
    let names = others.iter().filter_map(|guest| guest["name"].as_str());
    let mut destroy = vec!["destroy"];
    destroy.extend(names.filter(|name| *name != witness.guest().name));
    if destroy.len() > 1 {
        chaos(&destroy).ok();
    }
}
