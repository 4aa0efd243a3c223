// SPDX-License-Identifier: GPL-3.0-or-later
//! Kills `chaos`, `chaosd` and `noxsd` at random times, under load, a thousand times each.
//!
//! The tests in `kill` and `kill_daemon` kill one process at each system call. This one kills all
//! three, in turn, while creates and destroys of several guests overlap.

use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use system_tests::{Bed, Chaosd, SMALL_POOL, Witness, chaos, restart_noxsd};

const KILLS: u32 = 1_000;

/// After how many kills of each process all guests are checked. The load runs between two checks.
const ROUND: u32 = 20;

/// The longest time from the start of a command, or from a restart of a daemon, to its kill: a
/// create takes less.
const LONGEST: Duration = Duration::from_millis(40);

/// How long a guest may take to answer, and how often it is asked.
const ANSWER: Duration = Duration::from_secs(10);
const ATTEMPTS: u32 = 6;

/// By how many pages Xen's free memory may differ between two rounds. If kills lost memory, it would
/// be more in each round: a domain has a thousand pages.
const NOISE: u64 = 16;

/// The seed of the random times. It is fixed, so that two runs differ by the machine alone.
const SEED: u64 = 0x9e37_79b9_7f4a_7c15;

#[test]
#[ignore = "takes many minutes; scripts/test --long runs it"]
fn nothing_is_lost_or_left_after_a_thousand_kills_of_each_process() {
    let bed = Bed::new();
    let mut witness = Witness::new(&["--no-daemon"]);
    let mut random = Random(SEED);
    let mut before = None;
    let visits = AtomicU32::new(0);
    for round in 1..=KILLS / ROUND {
        let done = AtomicBool::new(false);
        let mut chaosd = Chaosd::start(SMALL_POOL);
        thread::scope(|scope| {
            for (address, options) in [(10, &[][..]), (11, &["--no-daemon"])] {
                let (done, visits) = (&done, &visits);
                scope.spawn(move || {
                    while !done.load(Ordering::Relaxed) {
                        visits.fetch_add(u32::from(visit(address, options)), Ordering::Relaxed);
                    }
                });
            }
            let _end = SetAtEnd(&done);
            for _ in 0..ROUND {
                kill_a_create(random.up_to(LONGEST));
                thread::sleep(random.up_to(LONGEST));
                chaosd.kill_and_restart();
                thread::sleep(random.up_to(LONGEST));
                restart_noxsd();
                witness.answers();
            }
        });
        // Its shells are memory, too.
        assert!(chaosd.stop(), "chaosd failed");
        eprintln!("{} kills of each, {} visits", round * ROUND, visits.load(Ordering::Relaxed));
        check(&bed, &mut witness, &format!("after {} kills of each", round * ROUND));
        // In its first round Xen allocates memory for dom0's ports and grants, which it keeps.
        let free = bed.free_pages();
        let before = *before.get_or_insert(free);
        assert!(free + NOISE >= before, "{} pages are lost, round {round}", before - free);
    }
    let visits = visits.into_inner();
    assert!(visits > KILLS / 10, "only {visits} guests came and went between the kills");
    witness.destroy();
}

/// Sets a flag when dropped, also if the test fails: the scope waits for the threads that read it.
struct SetAtEnd<'a>(&'a AtomicBool);

impl Drop for SetAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Creates a guest at `10.0.0.ADDRESS`, asks it, and destroys it. Returns whether the create
/// succeeded: it may fail, because a daemon is killed meanwhile, but must not claim that a guest
/// exists that does not.
fn visit(address: u8, options: &[&str]) -> bool {
    let name = format!("visitor-{address}");
    let settings = [
        format!("name='{name}'"),
        format!("vif=['bridge=xenbr0,ip=10.0.0.{address}/24 10.0.0.1']"),
    ];
    let mut args = vec!["create", "daytime.cfg"];
    args.extend(settings.iter().map(String::as_str));
    args.extend(options);
    let created = chaos(&args).code == Some(0);
    if created {
        assert!(
            (0..ATTEMPTS).any(|_| answers(address)),
            "{name} does not answer: {}",
            chaos(&["list", "--all"]).stdout
        );
    }
    // If the create failed, there may be nothing to destroy.
    let _ = chaos(&["destroy", &name]);
    created
}

/// Asks a daytime guest once, and returns whether it answers in time. Without `noxsd` frames are
/// lost, and TCP doubles the time to the next attempt each time, so a client asks again.
fn answers(address: u8) -> bool {
    let address = SocketAddr::from(([10, 0, 0, address], 13));
    let Ok(mut stream) = TcpStream::connect_timeout(&address, ANSWER) else { return false };
    stream.set_read_timeout(Some(ANSWER)).expect("the socket takes a timeout");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).is_ok() && answer.ends_with('\n')
}

/// Starts to create a guest, and kills the command.
fn kill_a_create(after: Duration) {
    let mut child = Command::new("chaos")
        .args(["create", "daytime.cfg", "name='victim'"])
        .arg("vif=['bridge=xenbr0,ip=10.0.0.12/24 10.0.0.1']")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("chaos can be started");
    thread::sleep(after);
    child.kill().expect("chaos can be killed");
    child.wait().expect("chaos can be waited for");
    let _ = chaos(&["destroy", "victim"]);
}

/// Checks, while no command runs, that all that exists is the witness and the shells, and what
/// killed commands left can be removed.
fn check(bed: &Bed, witness: &mut Witness, when: &str) {
    witness.answers();
    let listed = || {
        let listed = chaos(&["list", "--all", "--json"]).json();
        listed.as_array().expect("list prints an array").clone()
    };
    let is_guest = |one: &&Value| one["domid"] != 0 && one["state"] != "shell";
    for guest in listed().iter().filter(is_guest).filter(|one| one["name"] != "redis") {
        // These can only be what a killed command had begun.
        let name = guest["name"].as_str().unwrap_or_default();
        let known = ["victim", "visitor-10", "visitor-11", ""].contains(&name);
        assert!(known, "{guest} {when}");
        let domid = guest["domid"].as_u64().expect("it has a domid").to_string();
        let _ = chaos(&["destroy", &domid]);
    }
    let left = listed();
    let guests: Vec<&Value> = left.iter().filter(is_guest).collect();
    assert!(guests.len() == 1 && guests[0]["name"] == "redis", "{guests:?} {when}");
    let faults = guests[0]["broken_devices"].as_array().map(Vec::len);
    assert_eq!(faults, Some(0), "{guests:?} {when}");
    let known = left.iter().filter(|one| one["domid"] != 0).count();
    assert_eq!(bed.domains().len(), known, "{left:?} {when}");
}

/// Pseudo-random numbers (Marsaglia's xorshift64).
struct Random(u64);

impl Random {
    fn up_to(&mut self, longest: Duration) -> Duration {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let micros = u64::try_from(longest.as_micros()).expect("it is short");
        Duration::from_micros(self.0 % micros)
    }
}
