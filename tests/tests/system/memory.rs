// SPDX-License-Identifier: GPL-3.0-or-later
//! Memory, vCPUs and keys of guests with a device page.

use system_tests::{Bed, Guest, chaos, ping};
use xen::Xen;
use xen::domain::DomainInfo;
use xen::units::DomId;

/// Returns what Xen reports of a guest.
fn info(guest: &Guest) -> DomainInfo {
    let domid = DomId(u16::try_from(guest.domid).expect("a domid"));
    let xen = Xen::open().expect("dom0 can open Xen");
    xen.domain_info(domid).expect("an answer").expect("the guest exists")
}

#[test]
fn a_guest_gives_memory_back_and_takes_it_again_while_it_works() {
    let bed = Bed::new();
    let guest = Guest::create("redis.cfg", &[]);
    let mut stream = Guest::connect("10.0.0.2:6379");
    ping(&mut stream);
    let all = info(&guest).tot_pages.0;
    for (memory, absent) in [("6", 512), ("6656k", 384), ("5", 768), ("8", 0), ("7168K", 256)] {
        assert_eq!(chaos(&["mem-set", "redis", memory]).ok(), "", "{memory}");
        let now = info(&guest);
        assert_eq!(now.tot_pages.0, all - absent, "{memory}");
        // It cannot take more than it was given.
        assert!(now.max_pages.0 <= now.tot_pages.0 + 64, "{now:?}");
        ping(&mut stream);
    }
    // What it uses it keeps.
    chaos(&["mem-set", "redis", "1"]).refused(1, &["redis has", "instead of 1:"]);
    ping(&mut stream);
    let value = vec![b'x'; 20_000];
    let set = [&b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$20000\r\n"[..], &value, b"\r\n"].concat();
    assert_eq!(Guest::ask("10.0.0.2:6379", &set, b"\r\n"), b"+OK\r\n");
    chaos(&["mem-set", "redis", "8"]).ok();
    assert_eq!(info(&guest).tot_pages.0, all);
    let get = Guest::ask("10.0.0.2:6379", b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n", b"x\r\n");
    assert!(get.ends_with(&[&value[..], b"\r\n"].concat()));
    chaos(&["mem-set", "redis", "9"]).refused(2, &["its limit is 8192 KiB", "memory="]);
    guest.destroy();
    bed.assert_empty("after the guest");
}

#[test]
fn the_limit_is_set_and_what_is_not_supported_says_so() {
    let bed = Bed::new();
    let guest = Guest::create("redis.cfg", &[]);
    let most = |memory: &str| {
        chaos(&["mem-max", "redis", memory]).ok();
        info(&guest).max_pages.0 / 256
    };
    assert_eq!((most("16"), most("1g"), most("8")), (16, 1024, 8));
    chaos(&["mem-max", "redis", "7"]).refused(2, &["to 7168 KiB", "chaos mem-set redis"]);
    let wrong = chaos(&["mem-max", "redis", "0"]);
    assert_eq!(wrong.code, Some(2));
    assert!(wrong.stderr.contains("must be at least 1 MiB"), "{}", wrong.stderr);
    chaos(&["vcpu-set", "redis", "1"]).refused(1, &["device page", "uses one"]);
    chaos(&["sysrq", "redis", "h"]).refused(1, &["device page", "Linux"]);
    guest.destroy();

    let without = Guest::create("noop.cfg", &[]);
    without.wait_for_log("noop: ready");
    let before = info(&without);
    chaos(&["mem-set", "noop", "1"]).refused(1, &["noop does not support changes of its memory"]);
    let after = info(&without);
    assert_eq!((after.tot_pages, after.max_pages), (before.tot_pages, before.max_pages));
    chaos(&["pause", "noop"]).ok();
    let late = chaos(&["mem-set", "--timeout", "1", "noop", "1"]);
    late.refused(5, &["noop has not changed its memory within 1 s"]);
    without.destroy();
    for args in [&["mem-max", "0", "64"][..], &["mem-set", "0", "64"], &["vcpu-set", "0", "1"]] {
        chaos(args).refused(1, &["was not created by chaos"]);
    }
    chaos(&["mem-set", "nothing", "64"]).refused(3, &["no guest nothing"]);
    bed.assert_empty("after the guests");
}

#[test]
fn a_guest_without_room_keeps_its_devices_when_they_change() {
    let bed = Bed::new();
    let guest = Guest::create("redis.cfg", &[]);
    let mut stream = Guest::connect("10.0.0.2:6379");
    chaos(&["mem-set", "redis", "6"]).ok();
    chaos(&["network-attach", "redis", "ip=10.0.0.7/24"]).ok();
    ping(&mut Guest::connect("10.0.0.7:6379"));
    chaos(&["network-detach", "redis", "1"]).ok();
    chaos(&["mem-set", "redis", "8"]).ok();
    ping(&mut stream);
    guest.destroy();
    bed.assert_empty("after the guest");
}
