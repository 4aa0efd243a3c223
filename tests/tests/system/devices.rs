// SPDX-License-Identifier: GPL-3.0-or-later
//! Guests that misuse the device page and the rings. Only the guest itself must suffer.

use std::fs;

use serde_json::Value;
use system_tests::{Bed, Guest, chaos, noxsd_pid, restart_noxsd, wait_for_file};
use xen::Xen;
use xen::units::DomId;

const DAYTIME: &str = "10.0.0.3:13";

/// The largest size of a console log on disk, in bytes.
const LOG_LIMIT: usize = 256 << 10;

/// A guest that behaves, while another one misbehaves.
struct Neighbour {
    guest: Guest,
    noxsd: i32,
}

impl Neighbour {
    fn new() -> Self {
        let guest = Guest::create("daytime.cfg", &[]);
        assert!(!Guest::ask(DAYTIME, b"", b"").is_empty());
        Self { guest, noxsd: noxsd_pid() }
    }

    /// Checks that the guest answers and is still served by the same process.
    #[track_caller]
    fn assert_unharmed(&self) {
        assert!(!Guest::ask(DAYTIME, b"", b"").is_empty(), "daytime does not answer");
        assert_eq!(noxsd_pid(), self.noxsd, "noxsd was restarted");
        assert_eq!(broken(&self.guest), []);
    }
}

/// Creates the guest `hostile`, which misbehaves as its command line says.
fn hostile(misbehaviour: &str) -> Guest {
    Guest::create("hostile.cfg", &[&format!("cmdline='{misbehaviour}'")])
}

/// Returns the devices that a guest has lost, with the reasons.
pub(super) fn broken(guest: &Guest) -> Vec<(String, String)> {
    let listed = guest.listed().expect("the guest is listed");
    let text = |value: &Value| value.as_str().expect("devices and reasons are text").to_owned();
    let devices = listed["broken_devices"].as_array().expect("there is a list of broken devices");
    devices.iter().map(|device| (text(&device["device"]), text(&device["reason"]))).collect()
}

/// Waits until `noxsd` reports in its log that a guest has lost a device.
fn wait_until_lost(guest: &Guest, device: &str) {
    let line = format!("domain {} loses its {device}:", guest.domid);
    wait_for_file("/var/log/noxsd.log", &line, |log| log.contains(&line));
}

#[test]
fn a_guests_plain_write_to_its_device_page_changes_nothing() {
    let bed = Bed::new();
    let guest = hostile("seal");
    guest.wait_for_log("hostile: the page is unchanged");
    // A shutdown is requested through the page, so the page still works.
    chaos(&["shutdown", "-w", &guest.name]).ok();
    guest.forget();
    bed.assert_empty("after shutdown -w");
}

#[test]
fn a_panic_is_a_crash_and_its_text_is_kept() {
    let _bed = Bed::new();
    let guest = hostile("panic");
    guest.wait_for_log("this guest panics on purpose");
    let outcome = chaos(&["shutdown", "--wait", "--json", &guest.name]);
    assert!(outcome.stdout.contains("crashed"), "{outcome:?}");
    assert!(guest.listed().is_none(), "without on_crash a crashed guest is destroyed");
    guest.forget();
}

#[test]
fn an_impossible_ring_index_costs_the_guest_its_vif() {
    let bed = Bed::new();
    let neighbour = Neighbour::new();
    let guest = hostile("ring-index");
    wait_until_lost(&guest, "vif0");
    let lost = broken(&guest);
    let [(device, reason)] = &lost[..] else { panic!("one device is to be broken: {lost:?}") };
    assert_eq!(device, "vif0");
    assert!(reason.contains(&0x4000_0000.to_string()), "{reason}");
    let table = chaos(&["list"]).ok();
    assert!(table.contains("vif0 is broken: "), "{table}");
    neighbour.assert_unharmed();
    // The console still works, and the address is free for another guest.
    assert!(chaos(&["log", &guest.name]).ok().contains("impossible index"));
    let other =
        Guest::create("daytime.cfg", &["name='other'", "vif=['bridge=xenbr0,ip=10.0.0.66/24']"]);
    assert!(!Guest::ask("10.0.0.66:13", b"", b"").is_empty());
    other.destroy();
    guest.destroy();
    drop(neighbour);
    bed.assert_empty("after all are destroyed");
}

#[test]
fn an_impossible_console_index_costs_the_guest_its_console() {
    let _bed = Bed::new();
    let neighbour = Neighbour::new();
    let guest = hostile("console-index");
    wait_until_lost(&guest, "console");
    let lost = broken(&guest);
    let [(device, reason)] = &lost[..] else { panic!("one device is to be broken: {lost:?}") };
    assert_eq!(device, "console");
    assert!(reason.contains("output index"), "{reason}");
    assert!(chaos(&["log", &guest.name]).ok().contains("impossible index"));
    neighbour.assert_unharmed();
}

#[test]
fn requests_for_what_is_not_granted_are_refused() {
    let _bed = Bed::new();
    let neighbour = Neighbour::new();
    let guest = hostile("bad-grants");
    let log = guest.wait_for_log("hostile: the good request was answered with 0");
    assert!(log.contains("hostile: 16 of 16 bad requests were refused"), "{log}");
    assert_eq!(broken(&guest), []);
    neighbour.assert_unharmed();
}

#[test]
fn frames_in_several_slots_that_are_wrong_are_refused() {
    let _bed = Bed::new();
    let neighbour = Neighbour::new();
    let guest = hostile("bad-chains");
    let log = guest.wait_for_log("hostile: the good frame was answered with [0, 0, 0]");
    assert!(log.contains("hostile: 13 of 13 bad frames were refused"), "{log}");
    assert_eq!(broken(&guest), []);
    neighbour.assert_unharmed();
}

#[test]
fn slots_that_are_not_those_of_frames_cost_the_guest_its_vif() {
    let bed = Bed::new();
    let neighbour = Neighbour::new();
    for (attack, expected) in [
        ("chain-unfinished", "did not publish"),
        ("chain-endless", "more than 18 slots"),
        ("chain-extra-missing", "did not publish"),
        ("chain-extra-unknown", "extra info of type 77"),
        ("chain-extra-none", "extra info of type 0"),
        ("chain-extra-endless", "extra info of type 4"),
    ] {
        let guest = hostile(attack);
        wait_until_lost(&guest, "vif0");
        let lost = broken(&guest);
        let [(device, reason)] = &lost[..] else { panic!("{attack}: {lost:?}") };
        assert!(device == "vif0" && reason.contains(expected), "{attack}: {reason}");
        neighbour.assert_unharmed();
        guest.destroy();
    }
    drop(neighbour);
    bed.assert_empty("after all are destroyed");
}

#[test]
fn frames_with_spoofed_addresses_are_dropped() {
    let _bed = Bed::new();
    let neighbour = Neighbour::new();
    let guest = hostile("spoof");
    // The guest prints this when all requests are answered; by then the frames have passed.
    guest.wait_for_log("hostile: 4 spoofed frames and a good one are sent");
    let mac = guest.listed().expect("the guest is listed")["vifs"][0]["mac"].clone();
    let mac = mac.as_str().expect("a vif has a MAC address");
    let neighbours = fs::read_to_string("/proc/net/arp").expect("there is an ARP table");
    let of = |address: &str| {
        let mut lines = neighbours.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        lines.find(|line| line[0] == address).map(|line| line[3].to_owned())
    };
    assert_eq!(of("10.0.0.66").as_deref(), Some(mac), "the good frame is missing:\n{neighbours}");
    assert_eq!(of("10.0.0.77"), None, "a spoofed ARP frame passed:\n{neighbours}");
    assert_eq!(of("10.0.0.78"), None, "a spoofed IPv4 frame passed:\n{neighbours}");
    assert!(bridge_knows(mac), "the bridge has not seen the good frame");
    assert!(!bridge_knows("02:00:00:00:00:77"), "the bridge has seen a spoofed address");
    neighbour.assert_unharmed();
}

/// Returns whether the bridge has seen a frame from this address. The file has an entry of 16 bytes
/// for each address, which begins with the address (`struct __fdb_entry` of Linux).
pub(super) fn bridge_knows(mac: &str) -> bool {
    let mac: Vec<u8> = mac
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16).expect("MAC addresses are hexadecimal"))
        .collect();
    let table = fs::read("/sys/class/net/xenbr0/brforward").expect("the bridge has a table");
    table.chunks(16).any(|entry| entry.starts_with(&mac))
}

#[test]
fn a_flood_on_the_console_does_not_fill_the_disk() {
    let _bed = Bed::new();
    let neighbour = Neighbour::new();
    let guest = hostile("flood");
    let mut largest = 0;
    let path = guest.log_path();
    // noxsd cuts the log when it is full. Each round waits until a cut has removed the log's first
    // line.
    for _ in 0..2 {
        let log = wait_for_file(&path, "lines", |log| log.contains("hostile: line"));
        let line = log.lines().find(|line| line.starts_with("hostile: ")).expect("a line");
        let line = format!("{line}\n");
        wait_for_file(&path, "a log that was cut", |log| {
            largest = largest.max(log.len());
            log.contains("hostile: line") && !log.contains(&line)
        });
        neighbour.assert_unharmed();
    }
    assert!(largest > 0 && largest <= LOG_LIMIT, "the log had {largest} bytes");
    assert_eq!(broken(&guest), []);
    // This guest never handles a shutdown request, so it is destroyed.
    guest.destroy();
}

/// Returns how many guest mappings and open console logs `noxsd` has.
fn noxsd_resources() -> (usize, usize) {
    let pid = noxsd_pid();
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("maps can be read");
    let logs = open_files(pid).iter().filter(|file| file.contains("console.log")).count();
    (maps.lines().filter(|line| line.contains("/dev/xen/gntdev")).count(), logs)
}

fn open_files(pid: i32) -> Vec<String> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).expect("open files can be listed");
    let link = |entry: fs::DirEntry| Some(fs::read_link(entry.path()).ok()?.display().to_string());
    entries.flatten().filter_map(link).collect()
}

#[test]
fn a_guest_that_is_destroyed_while_it_runs_leaves_nothing() {
    let bed = Bed::new();
    let before = noxsd_resources();
    let guest = Guest::create("daytime.cfg", &[]);
    guest.wait_for_log("daytime: ready");
    let attached = noxsd_resources();
    assert!(attached.0 > before.0 && attached.1 > before.1, "{attached:?} after {before:?}");
    guest.destroy();
    assert_eq!(noxsd_resources(), before);
    bed.assert_empty("after destroy");
}

#[test]
fn a_guest_that_another_tool_destroys_leaves_nothing() {
    let bed = Bed::new();
    let before = noxsd_resources();
    let guest = Guest::create("daytime.cfg", &[]);
    guest.wait_for_log("daytime: ready");
    let domid = DomId(guest.domid.try_into().expect("domids are small"));
    Xen::open().expect("this is dom0").destroy(domid).expect("Xen destroys the domain");
    // The domain is gone, but its record is left.
    guest.destroy();
    assert_eq!(noxsd_resources(), before);
    bed.assert_empty("after destroy");
}

#[test]
fn a_killed_noxsd_leaves_no_zombie_of_a_guest_destroyed_meanwhile() {
    let bed = Bed::new();
    let guest = Guest::create("daytime.cfg", &[]);
    guest.wait_for_log("daytime: ready");
    restart_noxsd();
    guest.destroy();
    bed.assert_empty("after destroy");
}

#[test]
fn noxsd_runs_without_privileges() {
    let _bed = Bed::new();
    let _guest = Guest::create("daytime.cfg", &[]);
    let pid = noxsd_pid();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("noxsd has a status");
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or_else(|| panic!("no {name} in\n{status}")).split_whitespace().collect()
    };
    let all: [Vec<&str>; 2] = [field("Uid"), field("Gid")];
    assert!(all.iter().flatten().all(|id| *id != "0"), "{status}");
    for sets in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(field(sets), ["0000000000000000"], "{sets}");
    }
    assert_eq!(field("NoNewPrivs"), ["1"]);
    assert_eq!(field("Seccomp"), ["2"]);
    let files = open_files(pid);
    assert!(files.iter().any(|file| file == "/dev/xen/gntdev"), "{files:?}");
    for forbidden in ["/dev/xen/privcmd", "/proc/xen/privcmd", "/dev/mem"] {
        assert!(!files.iter().any(|file| file == forbidden), "{forbidden} in {files:?}");
    }
}
