//! `chaosd` killed at every stage of its work, under load: what its successor finds is in order.
//!
//! The stages are told by the system calls of both threads: each change that others can see, be it
//! in Xen, in `noxsd` or in a file, is one. The load is the same each time, and `chaosd` is killed at
//! every [`STRIDE`]-th of its stops from its start to its end; each call has two, before and after,
//! and rounds take turns between these. The stride is prime, so that each round meets another part
//! of what is done again and again, such as the making of a shell. What one run leaves out, another
//! one may meet: which thread comes first is not the same each time.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Instant;

use serde_json::Value;
use system_tests::{Bed, Chaosd, Death, DoomedChaosd, Guest, Ran, chaos};

/// See above. Chosen so that the test takes a minute or so on an emulated machine.
const STRIDE: usize = 53;

/// Shells that are there when nothing is asked for.
const SHELLS: u64 = 3;

const SETTINGS: &str = "memory = '16M'
[[flavour]]
name = 'daytime'
memory = '4M'
bridges = ['xenbr0']
low = 2
high = 3
";

#[test]
fn a_chaosd_that_is_killed_leaves_guests_and_shells_and_nothing_half_made() {
    let bed = Bed::new();
    // Xen keeps what it has needed for dom0's ports and grants; so that comes before: more guests
    // and shells than there are at any time later.
    let chaosd = Chaosd::start(SETTINGS);
    chaosd.wait_until_full("daytime");
    chaos(&["create", "-n", "12", "daytime.cfg"]).ok();
    let names: Vec<String> = (1..=12).map(|number| format!("daytime-{number}")).collect();
    let destroy: Vec<&str> =
        ["destroy"].into_iter().chain(names.iter().map(String::as_str)).collect();
    chaos(&destroy).ok();
    assert!(chaosd.end());
    let before = bed.free_pages();

    let mut witness = Witness::new();
    // How many kills met which part of the work.
    let mut met: BTreeMap<&str, u32> = BTreeMap::new();
    for round in 0.. {
        let stop = round * STRIDE;
        let began = Instant::now();
        let doomed = DoomedChaosd::start(SETTINGS, stop);
        let promised = load(&doomed, &mut witness);
        let (death, log) = doomed.death();

        let chaosd = Chaosd::start(SETTINGS);
        chaosd.wait_until_full("daytime");
        check(&bed, &chaosd, &promised, &mut witness, &format!("stop {stop}, {death:?}, {log}"));
        println!("stop {stop}: {death:?}, g{promised:?}, {} ms", began.elapsed().as_millis());
        match death {
            Death::AtStop { first_thread: false, .. } => *met.entry("refill").or_default() += 1,
            Death::AtStop { .. } if !log.contains("ready on") => {
                *met.entry("start").or_default() += 1;
            }
            Death::AtStop { .. } => *met.entry("service").or_default() += 1,
            Death::Before { stops } => {
                println!("{stops} stops, killed at every {STRIDE}th: {met:?}");
                assert!(chaosd.end());
                break;
            }
        }
        chaosd.kill();
    }
    for part in ["start", "refill", "service"] {
        assert!(met.get(part).is_some_and(|kills| *kills >= 3), "kills in {part}: {met:?}");
    }
    witness.guest.destroy();
    bed.assert_empty("after the last chaosd has ended");
    assert_eq!(bed.free_pages(), before, "memory is lost");
}

/// Everything that `chaosd` does, as long as it lives. Gives the guests that are to be there then:
/// their makers were told so.
fn load(doomed: &DoomedChaosd, witness: &mut Witness) -> Vec<u8> {
    // This one comes while it starts, mostly; the others when it makes shells, more than there are.
    let mut there: Vec<u8> = [1].into_iter().filter(|number| create(*number)).collect();
    let _ = doomed.wait_for_log("ready on");
    there.extend(thread::scope(|scope| {
        let two = |first| move || [first, first + 1].into_iter().filter(|n| create(*n)).collect();
        let threads = [scope.spawn(two(2)), scope.spawn(two(4))];
        witness.answers();
        let made: [Vec<u8>; 2] = threads.map(|thread| thread.join().expect("creates end"));
        made.concat()
    }));
    if there.contains(&1) {
        chaos(&["reboot", "g1"]).ok();
        let _ = doomed.wait_for_log("g1 rebooted and is domain");
        there.retain(|number| *number != 1);
    }
    if there.contains(&2) {
        chaos(&["destroy", "g2"]).ok();
        there.retain(|number| *number != 2);
    }
    if doomed.wait_for_log("flavour daytime is full") {
        refused_by_death(&chaos(&["pool", "resize", "daytime", "1", "1"]));
    }
    witness.answers();
    doomed.terminate();
    there
}

/// Asks for a guest. `false` if it was not heard that it is made.
fn create(number: u8) -> bool {
    let name = format!("name='g{number}'");
    let vif = format!("vif=['bridge=xenbr0,ip=10.0.0.{}/24']", 10 + number);
    let ran = chaos(&["create", "daytime.cfg", &name, &vif]);
    !refused_by_death(&ran)
}

/// Whether a command failed because `chaosd` died. It may fail for no other reason.
fn refused_by_death(ran: &Ran) -> bool {
    let gone = ["chaosd closed the connection", "chaosd is not running"];
    let told = ran.code == Some(0) || gone.iter().any(|text| ran.stderr.contains(text));
    assert!(told, "{}: {}{}", ran.command, ran.stdout, ran.stderr);
    ran.code != Some(0)
}

/// Looks at everything that is there, and takes the guests of this round away.
fn check(bed: &Bed, chaosd: &Chaosd, promised: &[u8], witness: &mut Witness, when: &str) {
    witness.answers();
    let all = chaos(&["list", "--all", "--json"]).json();
    let all: Vec<&Value> = all.as_array().expect("an array").iter().collect();
    let (shells, others): (Vec<&Value>, Vec<&Value>) =
        all.into_iter().filter(|one| one["domid"] != 0).partition(|one| one["state"] == "shell");
    assert_eq!(bed.domains().len(), shells.len() + others.len(), "{others:?} {when}");
    assert_eq!(shells.len() as u64, SHELLS, "{when}");
    assert_eq!(chaosd.pool("daytime", "ready"), SHELLS, "{when}");
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
    for number in promised {
        let name = format!("g{number}");
        assert!(others.iter().any(|guest| guest["name"] == name), "{name} is lost, {when}");
    }
    let names = others.iter().filter_map(|guest| guest["name"].as_str());
    let mut destroy = vec!["destroy"];
    destroy.extend(names.filter(|name| *name != witness.guest.name));
    if destroy.len() > 1 {
        chaos(&destroy).ok();
    }
}

/// A guest that runs all the time, with a connection that stays.
struct Witness {
    guest: Guest,
    stream: TcpStream,
    record: String,
}

impl Witness {
    fn new() -> Self {
        let guest = Guest::create("redis.cfg", &[]);
        let stream = Guest::connect("10.0.0.2:6379");
        let record = record(&guest);
        Self { guest, stream, record }
    }

    /// It answers over the same connection, and nothing that is remembered of it has changed: domid,
    /// handle and time of its creation among that.
    #[track_caller]
    fn answers(&mut self) {
        let mut answer = [0; 7];
        self.stream.write_all(b"PING\r\n").expect("the guest takes the request");
        self.stream.read_exact(&mut answer).expect("the guest answers");
        assert_eq!(&answer, b"+PONG\r\n");
        assert_eq!(record(&self.guest), self.record);
        let listed = self.guest.listed().expect("it is listed");
        assert_eq!(listed["handle"], self.guest.created["handle"]);
    }
}

fn record(guest: &Guest) -> String {
    fs::read_to_string(format!("/run/chaos/domains/{}/record", guest.domid)).expect("it is there")
}
