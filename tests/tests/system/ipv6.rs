// SPDX-License-Identifier: GPL-3.0-or-later
//! Guests with IPv6 addresses, and vifs with names.

use std::fs;

use system_tests::{Bed, Chaosd, Guest, chaos, ping, restart_noxsd, run};

/// The link-local address of a guest with 10.0.0.2, whose MAC address is derived from it.
const LINK_LOCAL: &str = "fe80::216:3eff:fe00:2";

/// Gives dom0 an IPv6 address on `xenbr0` until the end of a test.
struct Dom0Address(&'static str);

impl Dom0Address {
    fn new(address: &'static str) -> Self {
        // Without duplicate address detection, which would take a second.
        fs::write("/proc/sys/net/ipv6/conf/xenbr0/accept_dad", "0").expect("dom0 has IPv6");
        run("ip", &["-6", "addr", "add", &format!("{address}/64"), "dev", "xenbr0"]).ok();
        Self(address)
    }
}

impl Drop for Dom0Address {
    fn drop(&mut self) {
        run("ip", &["-6", "addr", "del", &format!("{}/64", self.0), "dev", "xenbr0"]).ok();
    }
}

/// Returns what dom0 knows of a neighbour on `xenbr0`.
fn neighbour(address: &str) -> String {
    run("ip", &["-6", "neigh", "show", address, "dev", "xenbr0"]).ok()
}

#[test]
fn a_guest_answers_on_its_ipv6_address_also_after_a_restart_of_noxsd() {
    let bed = Bed::new();
    let dom0 = Dom0Address::new("2001:db8::1");
    for (ip, ipv4) in [("", None), ("10.0.0.2/24 10.0.0.1 ", Some("10.0.0.2/24"))] {
        let vif = format!("vif=['vifname=lan,ip={ip}2001:db8::2/64 2001:db8::1']");
        let guest = Guest::create("redis-ipv6.cfg", &[&vif]);
        let mut stream = Guest::connect("[2001:db8::2]:6379");
        ping(&mut stream);
        run("ping", &["-6", "-c", "1", "-W", "60", "2001:db8::2"]).ok();
        if ipv4.is_some() {
            ping(&mut Guest::connect("10.0.0.2:6379"));
            let index = fs::read_to_string("/sys/class/net/xenbr0/ifindex").expect("the bridge");
            ping(&mut Guest::connect(&format!("[{LINK_LOCAL}%{}]:6379", index.trim())));
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
        chaos(&["create", "redis-ipv6.cfg", "name='other'", taken]).refused(1, &refused);
        chaos(&["create", "redis-ipv6.cfg", "name='other'", "vif=['ip=2001:db8::1/64']"])
            .refused(1, &["IPv6 address 2001:db8::1", "dom0's interface xenbr0"]);
        restart_noxsd();
        ping(&mut stream);
        ping(&mut Guest::connect("[2001:db8::2]:6379"));
        let listed = guest.listed().expect("the guest is listed");
        assert_eq!(listed["vifs"][0]["ipv6"], "2001:db8::2/64");
        guest.destroy();
        bed.assert_empty("after the guest");
    }
    drop(dom0);
}

#[test]
fn a_vif_with_an_ipv6_address_and_a_name_is_added_to_a_running_guest() {
    let bed = Bed::new();
    let _dom0 = Dom0Address::new("2001:db8::1");
    let guest = Guest::create("redis-ipv6.cfg", &[]);
    let attach = |vif: &[&str]| chaos(&[&["network-attach", "redis-ipv6"], vif].concat());
    attach(&["bridge=xenbr0", "ip=2001:db8::9/64", "vifname=lan"]).ok();
    ping(&mut Guest::connect("[2001:db8::9]:6379"));
    ping(&mut Guest::connect("10.0.0.2:6379"));
    let shown = chaos(&["network-list", "--json", "redis-ipv6"]).json();
    assert_eq!(shown[1]["ipv6"], "2001:db8::9/64");
    assert_eq!(shown[1]["vifname"], "lan");
    let table = chaos(&["network-list", "redis-ipv6"]).ok();
    assert!(table.lines().nth(2).is_some_and(|line| line.ends_with(" lan")), "{table}");
    // Neither the address nor the name is free any more.
    attach(&["bridge=xenbr0", "ip=2001:db8::9/64", "mac=00:16:3e:77:00:03"])
        .refused(1, &["IPv6 address 2001:db8::9", "guest redis-ipv6"]);
    attach(&["bridge=xenbr0", "vifname=lan"]).refused(2, &["lan", "another vif of guest"]);
    chaos(&["network-detach", "redis-ipv6", "1"]).ok();
    attach(&["bridge=xenbr0", "ip=2001:db8::9/64", "vifname=lan"]).ok();
    ping(&mut Guest::connect("[2001:db8::9]:6379"));
    guest.destroy();
    bed.assert_empty("after the guest");
}

#[test]
fn a_shell_of_chaosd_becomes_a_guest_with_an_ipv6_address() {
    let bed = Bed::new();
    let _dom0 = Dom0Address::new("2001:db8::1");
    let mut chaosd = Chaosd::start(
        "memory='32M'\n[[flavour]]\nname='f'\nmemory='8M'\nbridges=['xenbr0']\nlow=1\nhigh=1\n",
    );
    chaosd.wait_until_full("f");
    let guest = Guest::create("redis-ipv6.cfg", &[]);
    assert_eq!(guest.created["shell"], "pool", "{}", guest.created);
    ping(&mut Guest::connect("[2001:db8::2]:6379"));
    chaosd.kill_and_restart();
    ping(&mut Guest::connect("[2001:db8::2]:6379"));
    guest.destroy();
    assert!(chaosd.stop());
    bed.assert_empty("after the guest");
}

#[test]
fn messages_about_neighbours_with_addresses_of_others_are_dropped() {
    let bed = Bed::new();
    let _dom0 = Dom0Address::new("2001:db8::1");
    let victim = Guest::create("redis-ipv6.cfg", &[]);
    let mut stream = Guest::connect("[2001:db8::2]:6379");
    ping(&mut stream);
    let before = neighbour("2001:db8::2");
    assert!(before.contains("lladdr 00:16:3e:00:00:02"), "{before}");
    let hostile = Guest::create("hostile.cfg", &["cmdline='spoof-ipv6'"]);
    hostile.wait_for_log("hostile: 4 spoofed frames and a good one are sent");
    let listed = hostile.listed().expect("the guest is listed");
    assert_eq!(listed["vifs"][0]["dropped"], 4, "{listed}");
    // Its MAC address is derived from 10.0.0.66.
    let good = neighbour("fe80::216:3eff:fe00:42");
    assert!(good.contains("lladdr 00:16:3e:00:00:42"), "the good frame is missing: {good:?}");
    assert_eq!(neighbour("2001:db8::77"), "", "a solicitation from a false address passed");
    let after = neighbour("2001:db8::2");
    assert!(after.contains("lladdr 00:16:3e:00:00:02"), "an advertisement passed: {after}");
    ping(&mut stream);
    ping(&mut Guest::connect("[2001:db8::2]:6379"));
    hostile.destroy();
    victim.destroy();
    bed.assert_empty("after the guests");
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
    // The kernel of redis.cfg was built without IPv6.
    let both = "vif=['ip=10.0.0.2/24 2001:db8::2/64']";
    let words = ["vif0 has the IPv6 address 2001:db8::2", "redis was built without IPv6"];
    chaos(&["create", "redis.cfg", both]).refused(2, &words);
    let guest = Guest::create("redis.cfg", &[]);
    for ip in ["2001:db8::9/64", "10.0.0.9/24 2001:db8::9/64"] {
        chaos(&["network-attach", "redis", &format!("ip={ip}")])
            .refused(2, &["redis was built without IPv6", "vif1", "IPv4 address only"]);
    }
    chaos(&["network-attach", "redis", "ip=10.0.0.9/24"]).ok();
    ping(&mut Guest::connect("10.0.0.9:6379"));
    guest.destroy();
    bed.assert_empty("after the refusals");
}
