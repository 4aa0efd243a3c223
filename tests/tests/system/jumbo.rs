// SPDX-License-Identifier: GPL-3.0-or-later
//! Vifs with an MTU of more than 1500 bytes.

use std::fs;
use std::io::{Read, Write};

use system_tests::{Bed, Guest, bridge, chaos, restart_noxsd, run};

/// Stores and reads a value that takes many of the longest frames, and checks it.
#[track_caller]
fn transfer(address: &str) {
    let value = "0123456789abcdef".repeat(16_384);
    let mut stream = Guest::connect(&format!("{address}:6379"));
    let set = format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${0}\r\n{value}\r\nGET k\r\n", value.len());
    stream.write_all(set.as_bytes()).expect("the guest takes the request");
    let expected = format!("+OK\r\n${}\r\n{value}\r\n", value.len());
    let mut answer = vec![0; expected.len()];
    stream.read_exact(&mut answer).expect("the guest answers");
    assert!(answer == expected.as_bytes(), "the guest at {address} returns another value");
}

/// The guest does not put fragments together and sends none, so both ways take frames of this length.
#[track_caller]
fn ping(address: &str, bytes: &str) {
    run("ping", &["-c", "1", "-W", "60", "-s", bytes, address]).ok();
}

#[test]
fn guests_with_jumbo_frames_and_without_share_a_bridge() {
    let bed = Bed::new();
    bridge("jumbo0", "10.0.9.1/24", Some("9000"));
    let vif = |ip: &str, more: &str| format!("vif=['bridge=jumbo0,ip={ip}/24 10.0.9.1{more}']");
    let long = Guest::create("redis-ipv6.cfg", &["name='long'", &vif("10.0.9.2", ",mtu=9000")]);
    let plain = Guest::create("redis.cfg", &["name='plain'", &vif("10.0.9.3", "")]);
    let mtu = fs::read_to_string("/sys/class/net/jumbo0/mtu").expect("the bridge has an MTU");
    assert_eq!(mtu.trim(), "9000", "noxsd's tap has changed it");
    chaos(&["network-attach", "long", "bridge=jumbo0,ip=10.0.9.4/24,mtu=9000"]).ok();
    for restarted in [false, true] {
        if restarted {
            restart_noxsd();
        }
        ping("10.0.9.2", "8972");
        ping("10.0.9.2", "3000");
        ping("10.0.9.3", "1472");
        ping("10.0.9.4", "8972");
        transfer("10.0.9.2");
        transfer("10.0.9.4");
        transfer("10.0.9.3");
    }
    let dropped =
        |guest: &Guest| guest.listed().expect("it is listed")["vifs"][0]["dropped"].clone();
    assert_eq!((dropped(&long), dropped(&plain)), (0.into(), 0.into()));
    long.destroy();
    plain.destroy();
    bed.assert_empty("after the guests");
}

#[test]
fn a_larger_mtu_than_that_of_the_bridge_is_refused_with_the_remedy() {
    let bed = Bed::new();
    let refused = ["mtu = 9000", "at most 1500", "xenbr0", "ip link set", "mtu 9000"];
    chaos(&["create", "redis-ipv6.cfg", "vif=['mtu=9000']"]).refused(2, &refused);
    chaos(&["create", "redis-ipv6.cfg", "vif=['mtu=9001']"]).refused_config(&["68 to 9000"]);
    let guest = Guest::create("redis.cfg", &[]);
    chaos(&["network-attach", "redis", "bridge=xenbr0", "mtu=9000"]).refused(2, &refused);
    guest.destroy();
    bed.assert_empty("after the refusals");
}
