// SPDX-License-Identifier: GPL-3.0-or-later
//! The attacks of the crate `attacks`, one guest for each, next to guests that must not notice.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use attacks::{Case, DISK_SECTORS, Outcome, SCRATCH};
use serde_json::Value;
use system_tests::{Bed, Guest, chaos, noxsd_pid, wait_for_change};

use super::devices::{bridge_knows, broken};

const LOG: &str = "/var/log/noxsd.log";

/// How many lines about guests noxsd writes at least: as many as it does in ten seconds.
const LINES: usize = 20;

/// How much memory noxsd may have at the end beyond what it had before, in KiB: what the C library
/// keeps.
const GROWTH: u64 = 512;

/// Bytes of the still image.
const STILL: usize = 1 << 20;

/// What `noxsd` has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Resources {
    pid: i32,
    descriptors: usize,
    mappings: usize,
}

impl Resources {
    fn now() -> Self {
        let pid = noxsd_pid();
        let open = fs::read_dir(format!("/proc/{pid}/fd")).expect("open files can be listed");
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("maps can be read");
        let mappings = maps.lines().filter(|line| line.contains("/dev/xen/")).count();
        Self { pid, descriptors: open.count(), mappings }
    }
}

/// Returns how much memory `noxsd` has, in KiB.
fn memory() -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", noxsd_pid())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has memory");
    let number = line.split_whitespace().next().and_then(|number| number.parse().ok());
    number.expect("memory is a number")
}

/// Guests that must not notice: one serves keys and saves them to its disk, the other has a disk
/// that it never uses.
struct Neighbours {
    redis: Guest,
    stream: TcpStream,
    saved: String,
    other: Guest,
    still: String,
    round: usize,
}

/// Returns a command of Redis.
fn command(parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", parts.len()).into_bytes();
    for part in parts {
        bytes.extend(string(part));
    }
    bytes
}

/// Returns a string of its protocol.
fn string(part: &[u8]) -> Vec<u8> {
    [format!("${}\r\n", part.len()).as_bytes(), part, b"\r\n"].concat()
}

/// Returns the value of a round: more than fits in a frame, and other bytes in each round.
fn value(round: usize) -> Vec<u8> {
    (0..3000).map(|at| (at * 31 + at / 256 + round * 7).to_le_bytes()[0]).collect()
}

/// Returns the key of a round.
fn key(round: usize) -> Vec<u8> {
    format!("key{}", round % 16).into_bytes()
}

fn redis(image: &str) -> (Guest, TcpStream) {
    let guest = Guest::create("redis.cfg", &[&format!("disk=['{image},raw,xvda,w']")]);
    let stream = Guest::connect("10.0.0.2:6379");
    (guest, stream)
}

/// Returns the bytes of the still image.
fn still() -> Vec<u8> {
    (0..STILL).map(|at| (at / 7 + at / 4096 * 3).to_le_bytes()[0]).collect()
}

/// After so many saves the neighbour's disk is busy, and each of its 16 pages was used since: a save has
/// up to 12.
const SAVES_UNTIL_MAPPED: usize = 40;

impl Neighbours {
    fn new(bed: &Bed) -> Self {
        let saved = bed.file("saved", vec![0; 1 << 20]);
        let still = bed.file("still", still());
        let (redis, stream) = redis(&saved);
        let other = Guest::create("daytime.cfg", &[&format!("disk=['{still},raw,xvda,w']")]);
        Self { redis, stream, saved, other, still, round: 0 }
    }

    /// Sends a command and checks each byte of the reply.
    fn ask(&mut self, parts: &[&[u8]], expected: &[u8]) {
        self.stream.write_all(&command(parts)).expect("redis takes the command");
        let mut reply = vec![0; expected.len()];
        self.stream.read_exact(&mut reply).expect("redis answers");
        assert!(reply == expected, "redis replied {:?}", String::from_utf8_lossy(&reply));
    }

    /// Writes and reads a value over the network, and saves all of them to the disk.
    fn work(&mut self) {
        self.round += 1;
        let (key, value) = (key(self.round), value(self.round));
        self.ask(&[b"SET", &key, &value], b"+OK\r\n");
        self.ask(&[b"GET", &key], &string(&value));
        self.ask(&[b"SAVE"], b"+OK\r\n");
    }

    /// Takes an address, which no guest may have, and releases it.
    fn take_address(&self, address: &str) {
        chaos(&["network-attach", &self.redis.name, address]).ok();
        chaos(&["network-detach", &self.redis.name, "1"]).ok();
    }

    /// Checks that they are as they were, and alone.
    fn check(&self) {
        assert!(fs::read(&self.still).expect("it can be read") == still(), "an image has changed");
        let listed = chaos(&["list", "--json"]).json();
        let listed = listed.as_array().expect("list prints an array");
        let names: Vec<_> = listed.iter().map(|guest| guest["name"].as_str()).collect();
        assert_eq!(names, [&self.redis, &self.other].map(|guest| Some(guest.name.as_str())));
        let is_whole =
            |guest: &Value| guest["broken_devices"].as_array().is_some_and(Vec::is_empty);
        assert!(listed.iter().all(is_whole), "{listed:?}");
    }

    /// Creates the guest that saves its keys again, and checks each of them.
    fn check_saved(mut self) {
        self.redis.destroy();
        let rounds = self.round;
        (self.redis, self.stream) = redis(&self.saved);
        for round in (1..=rounds).rev().take(16) {
            self.ask(&[b"GET", &key(round)], &string(&value(round)));
        }
    }
}

/// The images of the guests that attack.
struct Images {
    paths: [String; 2],
    content: Vec<u8>,
}

impl Images {
    fn new(bed: &Bed) -> Self {
        let content: Vec<u8> = (0..DISK_SECTORS * 512).map(attacks::content).collect();
        let paths = ["first", "second"].map(|name| bed.file(name, &content));
        Self { paths, content }
    }

    /// Checks that only the scratch part of the first has changed, if at all, and restores it.
    fn check(&self) {
        let scratch = usize::try_from(SCRATCH * 512).expect("a small number");
        for (number, path) in self.paths.iter().enumerate() {
            let found = fs::read(path).expect("it can be read");
            let end = if number == 0 { scratch } else { found.len() };
            assert_eq!(found.len(), self.content.len(), "the size of disk {number}");
            let changed = (0..end).find(|at| found[*at] != self.content[*at]);
            assert_eq!(changed, None, "disk {number} has changed");
            if found[end..] != self.content[end..] {
                let file = File::options().write(true).open(path).expect("it can be opened");
                file.write_all_at(&self.content[end..], SCRATCH * 512).expect("it can be written");
            }
        }
    }

    /// Creates the guest of a case.
    fn create(&self, case: &Case) -> Guest {
        let [first, second] = &self.paths;
        let disks = format!("disk=['{first},raw,xvda,w','{second},raw,xvdb,r']");
        Guest::create("hostile.cfg", &[&disks, &format!("cmdline='attack {}'", case.name)])
    }
}

/// Returns a line of the guest that begins with this text.
fn line(guest: &Guest, begin: &str) -> Option<String> {
    let log = fs::read(guest.log_path()).ok()?;
    let log = String::from_utf8_lossy(&log);
    let (mut lines, _) = log.rsplit_once('\n').map(|(whole, rest)| (whole.lines(), rest))?;
    lines.find(|line| line.starts_with(begin)).map(str::to_owned)
}

/// Waits until the case is decided, and checks what has come of it. Returns whether the guest has
/// lost a device that noxsd's log does not name, because there are too many lines.
fn decided(case: &Case, guest: &Guest, neighbours: &mut Neighbours) -> bool {
    let console = guest.log_path();
    let until = |condition: &mut dyn FnMut() -> bool| {
        wait_for_change(&[LOG, &console], case.name, condition)
    };
    let done = || line(guest, "attack: done, ");
    let mut unnamed = false;
    match case.outcome {
        Outcome::Loses(device, reason) => {
            until(&mut || !broken(guest).is_empty());
            let lost = broken(guest);
            let [(name, found)] = &lost[..] else { panic!("one device is to be lost: {lost:?}") };
            assert_eq!(name, device.name());
            assert!(found.contains(reason), "{found}");
            let expected = format!("domain {} loses its {name}: {found}", guest.domid);
            let log = fs::read_to_string(LOG).expect("noxsd has a log");
            unnamed = !log.contains(&expected);
        }
        Outcome::Refused => {
            until(&mut || done().is_some());
            let done = done().expect("it was waited for");
            let counts =
                done.strip_prefix("attack: done, ").and_then(|rest| rest.split_once(" of "));
            let (refused, rest) = counts.expect("the line has two numbers");
            let all = rest.strip_suffix(" refused, all works").expect("all devices work");
            assert!(refused == all && all != "0", "{done}");
            assert_eq!(broken(guest), []);
        }
        Outcome::Works => {
            until(&mut || done().is_some());
            let done = done().expect("it was waited for");
            assert!(done.ends_with("all works"), "{done}");
            assert_eq!(broken(guest), []);
        }
        Outcome::MayLose(device) => {
            until(&mut || done().is_some() || !broken(guest).is_empty());
            if device.name() != "console" {
                until(&mut || done().is_some());
                let done = done().expect("it was waited for");
                assert!(done.ends_with("all works"), "{done}");
            }
            let lost = broken(guest);
            assert!(
                lost.len() <= 1 && lost.iter().all(|(name, _)| name == device.name()),
                "{lost:?}"
            );
            let log = fs::read_to_string(LOG).expect("noxsd has a log");
            unnamed = !lost.is_empty() && !log.contains(&format!("domain {} loses", guest.domid));
        }
        Outcome::Ends(state) => {
            until(&mut || guest.state() == state);
            assert_eq!(broken(guest), []);
        }
        Outcome::GoesOn => {
            until(&mut || line(guest, "attack: busy").is_some());
            neighbours.work();
            assert_eq!(broken(guest), []);
        }
        Outcome::Unanswered | Outcome::ShutdownFails => {
            until(&mut || line(guest, "attack: no answer").is_some());
            let asked = ["shutdown", "--wait", "--timeout", "1", &guest.name];
            fails(&asked, guest, case.outcome == Outcome::Unanswered);
            assert!(guest.listed().is_some(), "it does not power off");
        }
        Outcome::LosesWhenTyped(reason) => {
            until(&mut || done().is_some());
            assert_eq!(broken(guest), []);
            let mut client = type_into(guest);
            until(&mut || !broken(guest).is_empty());
            let lost = broken(guest);
            assert!(lost.len() == 1 && lost[0].0 == "console", "{lost:?}");
            assert!(lost[0].1.contains(reason), "{lost:?}");
            client.wait().expect("the client ends with the console");
        }
        Outcome::AttachFails | Outcome::AttachUnanswered => {
            let is_ready = || line(guest, "attack: no answer").or_else(done).is_some();
            until(&mut || is_ready());
            fails(&attach_third(&guest.name), guest, case.outcome == Outcome::AttachUnanswered);
            assert_eq!(listed(guest, "network-list"), 1);
            neighbours.take_address(THIRD);
            assert_eq!(broken(guest), []);
        }
        Outcome::AttachBelieved => {
            until(&mut || line(guest, "attack: no answer").is_some());
            chaos(&attach_third(&guest.name)).ok();
            assert_eq!(listed(guest, "network-list"), 2);
            chaos(&["network-detach", &guest.name, "1"]).ok();
            assert_eq!(listed(guest, "network-list"), 1);
            neighbours.take_address(THIRD);
            assert_eq!(broken(guest), []);
        }
        Outcome::DetachedByForce => {
            until(&mut || line(guest, "attack: busy").is_some());
            neighbours.work();
            chaos(&["network-detach", "--force", &guest.name, "0"]).ok();
            chaos(&["block-detach", "--force", &guest.name, "xvda"]).ok();
            assert_eq!((listed(guest, "network-list"), listed(guest, "block-list")), (0, 1));
            neighbours.work();
            neighbours.take_address(OWN);
            assert_eq!(broken(guest), []);
        }
    }
    unnamed
}

/// The address of a vif that a guest of a case gets, and that of the one it has.
const THIRD: &str = "ip=10.0.0.99/24";
const OWN: &str = "ip=10.0.0.66/24";

/// Returns the command that adds a vif.
fn attach_third(guest: &str) -> [&str; 5] {
    ["network-attach", "--timeout", "1", guest, THIRD]
}

/// Checks that a command with a time-out of a second fails and names the guest: at its deadline, or at
/// once.
fn fails(command: &[&str], guest: &Guest, at_deadline: bool) {
    let began = Instant::now();
    let ran = chaos(command);
    let took = began.elapsed();
    ran.clone().refused(if at_deadline { 5 } else { 1 }, &[]);
    let names = [guest.name.clone(), format!("domain {}", guest.domid)];
    assert!(names.iter().any(|name| ran.stderr.contains(name)), "{ran:?}");
    assert!(!at_deadline || took >= Duration::from_secs(1), "{took:?}: {ran:?}");
    // An emulated machine takes its time; without a deadline it would be for ever.
    assert!(took < Duration::from_secs(60), "{took:?}: {ran:?}");
}

/// Returns how many devices a command lists.
fn listed(guest: &Guest, command: &str) -> usize {
    let listed = chaos(&[command, "--json", &guest.name]).json();
    listed.as_array().expect("a list of devices").len()
}

/// Starts a client that types into the guest's console.
fn type_into(guest: &Guest) -> Child {
    let mut client = Command::new("chaos")
        .args(["console", &guest.name])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("chaos can be started");
    let input = client.stdin.as_mut().expect("stdin is a pipe");
    input.write_all(b"typed\n").expect("it is read");
    client
}

/// Runs a case and checks that no other guest has noticed. Returns as [`decided`].
fn attack(case: &Case, images: &Images, neighbours: &mut Neighbours, before: Resources) -> bool {
    let guest = images.create(case);
    neighbours.work();
    let unnamed = decided(case, &guest, neighbours);
    neighbours.work();
    guest.destroy();
    neighbours.check();
    images.check();
    // The file of a disk is closed when the last request is finished.
    wait_for_change(&[LOG], "noxsd has what it had", || Resources::now() == before);
    unnamed
}

#[test]
fn each_attack_harms_only_its_own_guest_and_leaves_nothing_in_noxsd() {
    let bed = Bed::new();
    let mut neighbours = Neighbours::new(&bed);
    let images = Images::new(&bed);
    // A busy disk's pages stay mapped, and noxsd keeps some memory for the next requests.
    for _ in 0..SAVES_UNTIL_MAPPED {
        neighbours.work();
    }
    let before = Resources::now();
    neighbours.work();
    assert_eq!(Resources::now(), before, "all pages of the neighbour's disk are mapped");
    for name in ["destroyed-with-all", "destroyed-reading", "destroyed-sending"] {
        let case = attacks::find(name).expect("there is such a case");
        assert!(!attack(case, &images, &mut neighbours, before));
    }
    let kib = memory();
    let (mut failed, mut unnamed, mut lost) = (Vec::new(), 0, 0);
    for case in attacks::cases() {
        let start = Instant::now();
        let run = || attack(case, &images, &mut neighbours, before);
        match catch_unwind(AssertUnwindSafe(run)) {
            Ok(missing) => unnamed += usize::from(missing),
            Err(_) => failed.push(case.name),
        }
        lost += usize::from(matches!(case.outcome, Outcome::Loses(..)));
        println!("{}: {} ms", case.name, start.elapsed().as_millis());
    }
    assert_eq!(failed, Vec::<&str>::new(), "cases that have failed");
    // The log has a limit. The reason that it has was compared with that of `chaos list`.
    assert!(lost - unnamed >= LINES, "noxsd's log lacks {unnamed} of {lost} lost devices");
    println!("{lost} devices lost, {unnamed} of them not in the log; {kib} KiB, then {}", memory());
    assert!(memory() <= kib + GROWTH, "noxsd had {kib} KiB, and then {}", memory());
    assert!(!bridge_knows("02:00:00:00:00:77"), "the bridge has seen a spoofed address");
    neighbours.check_saved();
}
