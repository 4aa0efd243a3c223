// SPDX-License-Identifier: GPL-3.0-or-later
//! Keys that only few configs have, for guests with a device page.

use system_tests::{Bed, Chaosd, Guest, chaos};

const UUID: &str = "01234567-89ab-cdef-0123-456789abcdef";

/// Returns the columns of a guest's only vCPU and of its share, behind its name and number.
fn scheduling(name: &str) -> String {
    let words = |args: &[&str], from: usize| {
        let text = chaos(args).ok();
        let line = text.lines().nth(1).expect("one line").to_owned();
        line.split_whitespace().skip(from).collect::<Vec<_>>().join(" ")
    };
    // Without CPU, state and time.
    let affinity = words(&["vcpu-list", name], 6);
    format!("{affinity}; {}", words(&["sched-credit2", "-d", name], 2))
}

#[test]
fn a_restarted_guest_has_what_its_config_says() {
    let bed = Bed::new();
    let daemon = Chaosd::start("learn = false\n");
    let uuid = format!("uuid={UUID}");
    let args = [&uuid, "cpus=0", "cpus_soft=all", "cpu_weight=300", "cap=70", "localtime=1"];
    let guest = Guest::create("redis.cfg", &args);
    assert_eq!(guest.created["handle"], UUID);
    let scheduled = scheduling("redis");
    assert!(scheduled.ends_with("; 300 70"), "{scheduled}");
    chaos(&["create", "redis.cfg", "name=other", "vif=[]", &uuid])
        .refused(2, &["has this UUID; destroy it, or write another one"]);
    assert_eq!(Guest::ask("10.0.0.2:6379", b"PING\r\n", b"\n"), b"+PONG\r\n");
    chaos(&["reboot", "redis"]).ok();
    daemon.wait_for_log("redis rebooted and is domain");
    let listed = chaos(&["list", "--json", "redis"]).json();
    assert_eq!(listed[0]["handle"], UUID);
    assert_ne!(listed[0]["domid"].as_u64(), Some(guest.domid));
    assert_eq!(scheduling("redis"), scheduled);
    chaos(&["destroy", "redis"]).ok();
    guest.forget();
    drop(daemon);
    bed.assert_empty("after the guest");
}

#[test]
fn the_memory_of_a_guest_that_ends_is_kept_in_a_file() {
    let bed = Bed::new();
    let daemon = Chaosd::start("learn = false\n");
    for action in ["coredump-restart", "coredump-destroy"] {
        let core = format!("/var/lib/chaos/dump/{action}.core");
        let args = [format!("name={action}"), format!("on_poweroff={action}")];
        let guest = Guest::create("daytime.cfg", &[&args[0], &args[1]]);
        let _ = Guest::ask("10.0.0.3:13", b"", b"\n");
        chaos(&["shutdown", action]).ok();
        daemon.wait_for_log(&format!("the core of {action} is in {core}"));
        match action {
            "coredump-restart" => daemon.wait_for_log("coredump-restart powered off and is domain"),
            _ => daemon.wait_for_log(&format!("domain {} is destroyed", guest.domid)),
        }
        let bytes = std::fs::read(&core).expect("the core file");
        assert_eq!(&bytes[..4], b"\x7fELF", "{action}");
        std::fs::remove_file(&core).expect("it can be removed");
        if action == "coredump-restart" {
            chaos(&["destroy", action]).ok();
        }
        guest.forget();
    }
    drop(daemon);
    bed.assert_empty("after the guests");
}

#[test]
fn what_the_host_does_not_have_is_refused_and_leaves_nothing() {
    let bed = Bed::new();
    for (arg, words) in [
        ("pool=nothing", "pool = \"nothing\": there is no such cpupool; must be one of Pool-0"),
        ("cpus=5000-6000", "this host has none of these CPUs; its CPUs are 0 to"),
        ("max_event_channels=1", "event channel"),
    ] {
        let refused = chaos(&["create", "redis.cfg", arg]);
        assert!(refused.stderr.contains(words), "{arg}: {}", refused.stderr);
        bed.assert_empty(arg);
    }
    chaos(&["create", "-n", "2", "noop.cfg", &format!("uuid={UUID}")])
        .refused(2, &["uuid must not be set, since each guest needs its own"]);
}

#[test]
fn limits_are_those_of_the_config() {
    let bed = Bed::new();
    let guest = Guest::create("noop.cfg", &["--paused", "maxmem=8", "max_grant_frames=32"]);
    let xen = xen::Xen::open().expect("dom0 can open Xen");
    let domid = xen::units::DomId(u16::try_from(guest.domid).expect("a domid"));
    let info = xen.domain_info(domid).expect("an answer").expect("it is there");
    assert!(info.max_pages.0 >= 2048 && info.tot_pages.0 < 1100, "{info:?}");
    guest.destroy();
    bed.assert_empty("after the guest");
}
