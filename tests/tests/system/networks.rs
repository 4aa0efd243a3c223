// SPDX-License-Identifier: GPL-3.0-or-later
//! Guests with several vifs, on several bridges.

use std::fs;

use system_tests::{Bed, Chaosd, Guest, bridge, chaos, ping, restart_noxsd, run};

/// Creates a bridge beside `xenbr0`.
fn second_bridge() {
    bridge("second0", "10.0.8.1/24", None);
}

/// The vifs of a guest on both bridges, and one without an address.
const VIFS: &str = "vif=['ip=10.0.0.2/24 10.0.0.1,bridge=xenbr0', \
                    'mac=00:16:3e:77:00:01,ip=10.0.8.2/24,bridge=second0', '']";

const ADDRESSES: [&str; 2] = ["10.0.0.2", "10.0.8.2"];

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
    // The guest posts no buffers on the third one, so that one may lose broadcasts. The tap on a new
    // bridge announces itself by a multicast, which the guest may lose while it starts.
    assert_eq!(vifs[0]["dropped"], 0, "{listed}");
    assert!(vifs[1]["dropped"].as_u64() <= Some(1), "{listed}");
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

/// Guests and the bridge must not notice that the tap is another one.
#[test]
fn a_restart_of_noxsd_does_not_change_the_bridge() {
    let _bed = Bed::new();
    let address = || fs::read_to_string("/sys/class/net/xenbr0/address").expect("it is there");
    let before = address();
    restart_noxsd();
    assert_eq!(address(), before);
    let taps = fs::read_dir("/sys/class/net/xenbr0/brif").expect("it is a bridge");
    let modes: Vec<_> = taps
        .map(|tap| {
            let mode = tap.expect("the bridge can be listed").path().join("multicast_router");
            fs::read_to_string(mode).expect("the kernel has snooping")
        })
        .collect();
    // All multicasts are passed on, also when the bridge passes others to members only.
    assert_eq!(modes, ["2\n"]);
}
