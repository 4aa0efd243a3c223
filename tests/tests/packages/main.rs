// SPDX-License-Identifier: GPL-3.0-or-later
//! Tests of the Debian packages, which `scripts/test` runs in dom0 of a real Xen, on Debian 12 and 13.
//! systemd is its init, and neither the programs nor the units are installed.

mod files;
mod xl_user;

use std::fs;
use std::path::Path;

use system_tests::{Bed, Guest, Ran, chaos, ping, run, wait_for_change};

const UNITS: [&str; 2] = ["noxsd", "chaosd"];
const PACKAGES: [&str; 2] = ["chaos", "noxsd"];

/// The packages of two versions, as `scripts/test` has put them here.
const OLD: &str = "/root/packages/old";
const NEW: &str = "/root/packages/new";

/// Runs apt-get, which asks no question. There is nothing that it could download.
#[track_caller]
fn apt(args: &[&str]) -> Ran {
    run("apt-get", &[&["--yes", "-o", "APT::Sandbox::User=root"], args].concat())
}

/// Runs dpkg, which takes less time in an emulated machine than apt-get.
#[track_caller]
fn dpkg(args: &[&str]) -> Ran {
    run("dpkg", args)
}

/// Returns the paths of the packages in a folder.
#[track_caller]
fn packages(folder: &str) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("scripts/test has put packages here");
    let path = |entry: fs::DirEntry| entry.path().display().to_string();
    entries.map(|entry| path(entry.expect("the folder can be read"))).collect()
}

/// Installs the packages of a folder, and returns their version.
#[track_caller]
fn install(with: fn(&[&str]) -> Ran, command: &str, folder: &str) -> String {
    let paths = packages(folder);
    let arguments = std::iter::once(command).chain(paths.iter().map(String::as_str));
    with(&arguments.collect::<Vec<_>>()).ok();
    let [chaos, noxsd] = PACKAGES.map(version);
    assert_eq!(chaos, noxsd);
    chaos
}

#[track_caller]
fn version(package: &str) -> String {
    run("dpkg-query", &["--show", "--showformat=${Version}", package]).ok()
}

#[track_caller]
fn show(unit: &str, property: &str) -> String {
    run("systemctl", &["show", "--value", "--property", property, unit]).ok().trim().to_owned()
}

/// Checks that both units run and start at each boot, and returns their processes.
#[track_caller]
fn running() -> [String; 2] {
    UNITS.map(|unit| {
        assert_eq!(show(unit, "ActiveState"), "active", "{unit}:\n{}", journal());
        assert_eq!(show(unit, "UnitFileState"), "enabled", "{unit}");
        assert_eq!(show(unit, "NRestarts"), "0", "{unit}:\n{}", journal());
        show(unit, "MainPID")
    })
}

fn journal() -> String {
    run("journalctl", &["--boot", "--no-pager", "--unit", UNITS[0], "--unit", UNITS[1]]).stdout
}

#[track_caller]
fn assert_removed() {
    for unit in UNITS {
        assert_eq!(show(unit, "ActiveState"), "inactive", "{unit}");
    }
    for program in ["chaos", "chaosd", "noxsd"] {
        assert!(!Path::new("/usr/bin").join(program).exists(), "{program}");
    }
}

#[test]
fn packages_install_and_upgrade_under_guests_and_a_purge_leaves_nothing() {
    let bed = Bed::new();
    let before = files::all();
    let old = install(apt, "install", OLD);
    let first = running();
    for file in [
        "/usr/share/man/man1/chaos-create.1.gz",
        "/usr/share/man/man5/chaos.cfg.5.gz",
        "/usr/share/bash-completion/completions/chaos",
    ] {
        assert!(Path::new(file).exists(), "{file}");
    }
    let guest = Guest::create("redis.cfg", &[]);
    let mut stream = Guest::connect("10.0.0.2:6379");
    ping(&mut stream);

    // The guest neither notices the upgrade of both packages nor restarts of the units.
    let new = install(dpkg, "--install", NEW);
    assert_ne!(old, new);
    let second = running();
    assert!(first[0] != second[0] && first[1] != second[1], "the upgrade restarts {UNITS:?}");
    ping(&mut stream);
    run("systemctl", &["restart", UNITS[0], UNITS[1]]).ok();
    running();
    ping(&mut stream);
    assert_eq!(guest.listed().expect("it is listed")["broken_devices"], serde_json::json!([]));

    // A removal would take its devices.
    let refused = apt(&["purge", "chaos", "noxsd"]);
    assert_ne!(refused.code, Some(0));
    // apt prints what dpkg and its scripts print to standard output.
    let printed = refused.stdout + &refused.stderr;
    assert!(printed.contains("see chaos list"), "{printed}");
    running();
    ping(&mut stream);
    assert_eq!(version("chaos"), new);

    guest.destroy();
    chaos(&["pool", "drain"]).ok();
    wait_for_change(&[], "the domains are gone", || bed.domains().is_empty());
    apt(&["remove", "chaos", "noxsd"]).ok();
    assert_removed();
    // As after a removal of any package, what it has stored is there, and a new installation works.
    install(dpkg, "--install", NEW);
    running();
    fs::create_dir("/etc/chaos").expect("packages leave the folder to the administrator");
    fs::write("/etc/chaos/chaosd.toml", "learn = false\n").expect("root writes to /etc");
    dpkg(&["--purge", "chaos", "noxsd"]).ok();
    assert_removed();
    assert!(!Path::new("/run/chaos").exists());
    let after = files::all();
    let left: Vec<_> = after.difference(&before).collect();
    let lost: Vec<_> = before.difference(&after).collect();
    assert!(left.is_empty() && lost.is_empty(), "left: {left:?}; lost: {lost:?}");
    // As is usual in Debian, users stay: what they own would become another user's.
    run("id", &["noxsd"]).ok();
}
