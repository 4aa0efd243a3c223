// SPDX-License-Identifier: GPL-3.0-or-later
//! Shells in XenStore mode.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use system_tests::{Chaosd, ConsoleLog, Guest, XenStoreBed, chaos, run};

use crate::LINUX;

const SETTINGS: &str = "memory = '256M'
[[flavour]]
name = 'noop'
memory = '4M'
bridges = ['xenbr0']
store = 'xenstore'
low = 1
high = 2
";

#[test]
fn a_guest_from_the_pool_is_known_to_xl() {
    let bed = XenStoreBed::new();
    let chaosd = Chaosd::start(SETTINGS);
    chaosd.wait_until_full("noop");
    let vif = "vif=['bridge=xenbr0,mac=00:16:3e:00:00:07,mtu=1400']";
    let guest = Guest::create("noop.cfg", &["--store=xenstore", "--paused", vif]);
    assert_eq!(guest.created["shell"], "pool");
    assert!(run("xl", &["list"]).ok().contains("noop "), "xl shows its name");
    let mac = format!("/local/domain/0/backend/vif/{}/0/mac", guest.domid);
    assert_eq!(run("xenstore-read", &[&mac]).ok(), "00:16:3e:00:00:07\n");
    let mtu = format!("/sys/class/net/vif{}.0/mtu", guest.domid);
    assert_eq!(std::fs::read_to_string(mtu).expect("the vif is there"), "1400\n");
    guest.destroy();

    // This guest uses the device page, for which the pool has no shells.
    let guest = Guest::create("noop.cfg", &["vif=['bridge=xenbr0']"]);
    assert_eq!(guest.created["shell"], "cold");
    guest.destroy();
    assert!(chaosd.stop());
    drop(bed);
}

/// Waits until a guest accepts a connection. A guest without a log reports its start in no other
/// way. Each attempt waits itself until the kernel's ARP requests have failed.
fn wait_until_it_answers(address: &str) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while let Err(error) = TcpStream::connect(address) {
        assert!(Instant::now() < deadline, "{address} does not answer: {error}");
    }
}

#[test]
fn a_linux_from_the_pool_has_its_network() {
    let bed = XenStoreBed::new();
    let settings = SETTINGS.replace("'4M'", "'160M'").replace("high = 2", "high = 1");
    let chaosd = Chaosd::start(&settings);
    chaosd.wait_until_full("noop");
    let console = ConsoleLog::of("linux");
    let config = bed.bed.file("linux.cfg", format!("{LINUX}on_poweroff='destroy'\n"));
    let guest = Guest::create(&config, &[]);
    assert_eq!(guest.created["shell"], "pool");
    // xenconsoled names a log after the guest, but it opened this one when the shell had no name
    // yet. So the guest's own log stays empty.
    drop(console);
    wait_until_it_answers("10.0.0.5:7");
    assert_eq!(Guest::ask("10.0.0.5:7", b"echoed\n", b"\n"), b"echoed\n");
    chaos(&["shutdown", "linux"]).ok();
    chaosd.wait_for_log("linux powered off and is destroyed");
    guest.forget();
    assert!(chaosd.stop());
}
