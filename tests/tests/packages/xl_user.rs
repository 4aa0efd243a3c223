// SPDX-License-Identifier: GPL-3.0-or-later
//! What a user of xl does with the packages, from the installation to the purge.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde_json::Value;
use system_tests::{Bed, CoreFile, Guest, chaos, ping, run, wait_for_change};
use xen::Xen;

use crate::{
    NEW, OLD, PACKAGES, UNITS, assert_removed, dpkg, files, install, running, show, version,
};

/// A config as it is written for xl, with keys that xl ignores for such a guest.
const CONFIG: &str = r#"
# Example PVH guest; see xl.cfg(5)
name = "web"
type = "pvh"
kernel = "/root/redis"
cmdline = ""
memory = 16
vcpus = 1

# Two networks
vif = [ 'mac=00:16:3e:5e:6c:01,bridge=xenbr0,ip=10.0.0.2/24',
        'mac=00:16:3e:5e:6c:02, bridge=xenbr0' ]
disk = [ 'format=raw, vdev=xvda, access=rw, target=/root/web.img' ]

vnc = 0
serial = 'pty'
on_poweroff = 'destroy'
on_reboot   = 'restart'
on_crash    = 'destroy'
"#;

const IMAGE: &str = "/root/web.img";

/// What dom0 has beside files: bridge ports, loop devices that are in use, network interfaces.
fn attached() -> BTreeSet<String> {
    let names = |folder: &str| -> Vec<String> {
        let entries = fs::read_dir(folder).into_iter().flatten();
        entries.map(|entry| entry.expect("it can be read").path().display().to_string()).collect()
    };
    let loops = names("/sys/block").into_iter().filter(|path| {
        // The kernel has some that are free, and more once one was asked for.
        Path::new(path).join("loop/backing_file").exists()
    });
    let mut all: BTreeSet<String> = loops.collect();
    all.extend(names("/sys/class/net"));
    all.extend(names("/sys/class/net/xenbr0/brif"));
    all
}

/// Returns what the HTTP socket of chaosd answers.
#[track_caller]
fn scrape() -> String {
    let mut socket = UnixStream::connect("/run/chaos/chaosd-http.sock").expect("chaosd listens");
    socket.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").expect("it reads");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).expect("it answers");
    answer
}

/// Checks that this dom0 has the programs of the Debian release that this Xen comes from.
#[track_caller]
fn assert_debian() {
    let xen = Xen::open().expect("this is dom0").version_info().expect("Xen has a version");
    let (systemd, libc) = match (xen.major, xen.minor) {
        (4, 17) => ("252", "2.36"),
        (4, 20) => ("257", "2.41"),
        other => panic!("Xen {other:?} is not Debian's"),
    };
    for (package, release) in [("systemd", systemd), ("libc6:amd64", libc)] {
        let found = version(package);
        assert!(
            found.starts_with(&format!("{release}.")) || found.starts_with(&format!("{release}-")),
            "{package} {found}, not {release}"
        );
    }
}

#[test]
fn packages_install_and_what_a_user_of_xl_does_works_and_is_undone() {
    assert_debian();
    let bed = Bed::new();
    let (files_before, attached_before) = (files::all(), attached());
    let old = install(dpkg, "--install", OLD);
    running();

    fs::write(IMAGE, vec![0; 4 << 20]).expect("there is room for a disk");
    let config = bed.file("web.cfg", CONFIG);
    let guest = Guest::create(&config, &[]);
    let mut stream = Guest::connect("10.0.0.2:6379");
    ping(&mut stream);
    let value = "kept-by-the-guest";
    let set = format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${}\r\n{value}\r\n", value.len());
    assert_eq!(Guest::ask("10.0.0.2:6379", set.as_bytes(), b"\r\n"), b"+OK\r\n");
    assert_eq!(Guest::ask("10.0.0.2:6379", b"SAVE\r\n", b"\r\n"), b"+OK\r\n");
    let image = fs::read(IMAGE).expect("the disk is a file");
    assert!(image.windows(value.len()).any(|part| part == value.as_bytes()), "it is saved");
    let before = guest.listed().expect("it is listed");
    assert_eq!(before["vifs"].as_array().map(Vec::len), Some(2), "{before}");

    let table = chaos(&["top", "-b", "-n", "1"]).ok();
    assert!(table.lines().any(|line| line.starts_with("web ")), "{table}");
    let line = "\nchaos_guest_memory_bytes{name=\"web\"} ";
    let scraped = scrape();
    assert!(scraped.starts_with("HTTP/1.1 200 OK\r\n") && scraped.contains(line), "{scraped}");
    assert!(chaos(&["metrics"]).ok().contains(line));
    chaos(&["vcpu-pin", "web", "0", "1"]).ok();
    let pinned = || {
        let list = chaos(&["vcpu-list", "web"]).ok();
        assert!(list.trim_end().ends_with("1 / all"), "{list}");
    };
    pinned();
    let path = bed.file("web.core", "");
    chaos(&["dump-core", "web", &path]).ok();
    let core = CoreFile::open(&path);
    assert_eq!(core.instruction_pointers().len(), 1);
    assert!(core.contains(value), "its memory is in it");

    let new = install(dpkg, "--install", NEW);
    assert_ne!(old, new);
    running();
    ping(&mut stream);
    assert_eq!(Guest::ask("10.0.0.2:6379", b"PING\r\n", b"\r\n"), b"+PONG\r\n");
    let after = guest.listed().expect("it is listed");
    for key in ["/name", "/domid", "/handle", "/vifs/0/mac", "/vifs/1/mac"] {
        let value = |listed: &Value| listed.pointer(key).cloned().expect("it is listed");
        assert_eq!(value(&before), value(&after), "{key}");
    }
    pinned();

    guest.destroy();
    chaos(&["pool", "drain"]).ok();
    wait_for_change(&[], "the domains are gone", || bed.domains().is_empty());
    dpkg(&[&["--purge"], &PACKAGES[..]].concat()).ok();
    assert_removed();
    for unit in UNITS {
        assert_eq!(show(unit, "LoadState"), "not-found", "{unit}");
    }
    fs::remove_file(IMAGE).expect("the disk is the user's");
    assert!(!Path::new("/run/chaos").exists() && !Path::new("/var/lib/chaos").exists());
    let files_after = files::all();
    let changed: Vec<_> = files_after.symmetric_difference(&files_before).collect();
    assert!(changed.is_empty(), "{changed:?}");
    wait_for_change(&[], "what noxsd has attached is gone", || attached() == attached_before);
    bed.assert_empty("after the purge");
    // As docs/packages.md says, they stay.
    run("id", &["noxsd"]).ok();
    let groups = fs::read_to_string("/etc/group").expect("each system has groups");
    assert!(groups.lines().any(|line| line.starts_with("chaos:")), "{groups}");
}
