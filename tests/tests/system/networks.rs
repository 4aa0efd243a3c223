// SPDX-License-Identifier: GPL-3.0-or-later
//! Guests with several vifs, on several bridges.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use system_tests::{Bed, Chaosd, Guest, chaos, restart_noxsd, run};

/// Creates a bridge beside `xenbr0` with dom0's address 10.0.8.1/24, unless an earlier test has. It
/// stays, because noxsd keeps its tap on it.
fn second_bridge() {
    if !Path::new("/sys/class/net/second0").exists() {
        run("ip", &["link", "add", "second0", "type", "bridge"]).ok();
        run("ip", &["addr", "add", "10.0.8.1/24", "dev", "second0"]).ok();
        run("ip", &["link", "set", "second0", "up"]).ok();
    }
}

/// The vifs of a guest on both bridges, and one without an address.
const VIFS: &str = "vif=['ip=10.0.0.2/24 10.0.0.1,bridge=xenbr0', \
                    'mac=00:16:3e:77:00:01,ip=10.0.8.2/24,bridge=second0', '']";

const ADDRESSES: [&str; 2] = ["10.0.0.2", "10.0.8.2"];

fn ping(stream: &mut TcpStream) {
    stream.write_all(b"PING\r\n").expect("the guest takes the request");
    let mut answer = [0; 7];
    stream.read_exact(&mut answer).expect("the guest answers");
    assert_eq!(&answer, b"+PONG\r\n");
}

/// Checks that the guest answers TCP and ICMP on both addresses, and what `chaos list` shows.
#[track_caller]
fn check(guest: &Guest) {
    for address in ADDRESSES {
        ping(&mut Guest::connect(&format!("{address}:6379")));
        run("ping", &["-c", "1", "-W", "60", address]).ok();
    }
    let listed = guest.listed().expect("the guest is listed");
    let vifs = listed["vifs"].as_array().expect("a list of vifs");
    let shown: Vec<_> =
        vifs.iter().map(|vif| (vif["bridge"].as_str(), vif["ipv4"].as_str())).collect();
    let expected = [
        (Some("xenbr0"), Some("10.0.0.2/24")),
        (Some("second0"), Some("10.0.8.2/24")),
        (Some("xenbr0"), None),
    ];
    assert_eq!(shown, expected, "{listed}");
    assert_eq!(vifs[1]["mac"], "00:16:3e:77:00:01");
    // The guest posts no buffers on the third one, so that one may lose broadcasts.
    assert!(vifs[..2].iter().all(|vif| vif["dropped"].as_u64() == Some(0)), "{listed}");
    let log = guest.wait_for_log("redis: ready");
    assert!(log.contains("ready on 10.0.0.2:6379, 10.0.8.2:6379"), "{log}");
}

#[test]
fn a_guest_answers_on_each_of_its_vifs_also_after_a_restart_of_noxsd() {
    let _bed = Bed::new();
    second_bridge();
    let guest = Guest::create("redis.cfg", &[VIFS]);
    check(&guest);
    let mut streams = ADDRESSES.map(|address| Guest::connect(&format!("{address}:6379")));
    streams.iter_mut().for_each(ping);
    restart_noxsd();
    // The connections survive: TCP retransmits what was lost.
    streams.iter_mut().for_each(ping);
    check(&guest);
}

#[test]
fn a_shell_with_several_vifs_is_kept_ready_and_becomes_such_a_guest() {
    let _bed = Bed::new();
    second_bridge();
    let mut chaosd = Chaosd::start(
        "memory='32M'\n[[flavour]]\nname='f'\nmemory='8M'\n\
         bridges=['xenbr0','second0','xenbr0']\nlow=1\nhigh=1\n",
    );
    chaosd.wait_until_full("f");
    let guest = Guest::create("redis.cfg", &[VIFS]);
    assert_eq!(guest.created["shell"], "pool", "{}", guest.created);
    check(&guest);
    chaosd.kill_and_restart();
    restart_noxsd();
    check(&guest);
    guest.destroy();
    assert!(chaosd.stop());
}

#[test]
fn a_guest_has_at_most_eight_vifs() {
    let bed = Bed::new();
    let vifs = |count: u32| {
        let vifs: Vec<_> =
            (0..count).map(|number| format!("'ip=10.0.0.{}'", 20 + number)).collect();
        format!("vif=[{}]", vifs.join(","))
    };
    let refused = "a guest can have at most 8 vifs; remove this one and those after it";
    chaos(&["create", "redis.cfg", &vifs(9)]).refused_config(&[refused]);
    bed.assert_empty("after the refusal");
    let guest = Guest::create("redis.cfg", &[&vifs(8)]);
    for number in 20..28 {
        ping(&mut Guest::connect(&format!("10.0.0.{number}:6379")));
    }
    let listed = guest.listed().expect("the guest is listed");
    assert_eq!(listed["vifs"].as_array().map(Vec::len), Some(8));
    assert_eq!(listed["broken_devices"].as_array().map(Vec::len), Some(0), "{listed}");
}

#[test]
fn two_vifs_of_a_guest_with_one_address_are_refused() {
    let bed = Bed::new();
    let vifs = "vif=['ip=10.0.0.2','ip=10.0.0.2']";
    chaos(&["create", "redis.cfg", vifs])
        .refused(1, &["10.0.0.2", "another vif of the same guest"]);
    let vifs = "vif=['','bridge=nowhere']";
    chaos(&["create", "redis.cfg", vifs]).refused(2, &["nowhere"]);
    bed.assert_empty("after the refusals");
}

/// Gives dom0 an IPv6 address on `xenbr0`, or takes it away.
fn dom0_has(address: &str, exists: bool) {
    let action = if exists { "replace" } else { "del" };
    // Without duplicate address detection, which would take a second.
    run("ip", &["-6", "addr", action, &format!("{address}/64"), "dev", "xenbr0", "nodad"]).ok();
}

#[test]
fn a_guest_answers_on_its_ipv6_address_also_after_a_restart_of_noxsd() {
    let bed = Bed::new();
    dom0_has("2001:db8::1", true);
    for (ip, ipv4) in [("", None), ("10.0.0.2/24 10.0.0.1 ", Some("10.0.0.2/24"))] {
        let vif = format!("vif=['vifname=lan,ip={ip}2001:db8::2/64 2001:db8::1']");
        let guest = Guest::create("redis.cfg", &[&vif]);
        let mut stream = Guest::connect("[2001:db8::2]:6379");
        ping(&mut stream);
        run("ping", &["-6", "-c", "1", "-W", "60", "2001:db8::2"]).ok();
        if ipv4.is_some() {
            ping(&mut Guest::connect("10.0.0.2:6379"));
        }
        let listed = guest.listed().expect("the guest is listed");
        let shown = &listed["vifs"][0];
        assert_eq!(shown["name"], "lan");
        assert_eq!(shown["ipv4"].as_str(), ipv4);
        assert_eq!(shown["ipv6"], "2001:db8::2/64");
        assert_eq!(shown["ipv6_gateway"], "2001:db8::1");
        assert_eq!(shown["dropped"], 0, "{listed}");
        // Another guest does not get the address, nor does one get dom0's.
        let taken = "vif=['ip=2001:db8::2/64,mac=00:16:3e:77:00:02']";
        let refused = ["IPv6 address 2001:db8::2", &format!("guest {}", guest.name)];
        chaos(&["create", "redis.cfg", "name='other'", taken]).refused(1, &refused);
        chaos(&["create", "redis.cfg", "name='other'", "vif=['ip=2001:db8::1/64']"])
            .refused(1, &["IPv6 address 2001:db8::1", "dom0's interface xenbr0"]);
        restart_noxsd();
        ping(&mut stream);
        ping(&mut Guest::connect("[2001:db8::2]:6379"));
        let listed = guest.listed().expect("the guest is listed");
        assert_eq!(listed["vifs"][0]["ipv6"], "2001:db8::2/64");
        guest.destroy();
        bed.assert_empty("after the guest");
    }
    dom0_has("2001:db8::1", false);
}

#[test]
fn addresses_and_names_that_no_vif_can_have_are_refused() {
    let bed = Bed::new();
    for (vif, words) in [
        ("ip=fe80::5/64", "must not be link-local"),
        ("ip=ff02::1", "must be a unicast address"),
        ("ip=2001:db8::5/129", "must be 1 to 128"),
        ("ip=2001:db8::5/64 2001:db8:1::1", "must be in the network"),
        ("vifname=a/b", "must be a name for an interface"),
    ] {
        chaos(&["create", "redis.cfg", &format!("vif=['{vif}']")]).refused_config(&[words]);
    }
    chaos(&["create", "redis.cfg", "vif=['vifname=lan','vifname=lan']"])
        .refused_config(&["vif0 has this name already"]);
    bed.assert_empty("after the refusals");
}

#[test]
fn vlans_are_refused_with_the_remedy() {
    let bed = Bed::new();
    let vlan = ["create", "redis.cfg", "vif=['bridge=xenbr0,vlan=20']"];
    chaos(&vlan).refused_config(&["vlan is not supported", "create a bridge", "bridge="]);
    chaos(&["create", "redis.cfg", "vif=['bridge=xenbr0.20']"])
        .refused(2, &["bridge xenbr0.20", "does not exist", "create it"]);
    // An interface that is not a bridge, as one of a VLAN.
    chaos(&["create", "redis.cfg", "vif=['bridge=lo']"])
        .refused(2, &["lo, which the guest's vif names, is not a bridge", "set lo master NAME"]);
    bed.assert_empty("after the refusals");
}
