// SPDX-License-Identifier: GPL-3.0-or-later
//! The strings of `vif=`.

use noxs::{Ipv4Config, Ipv6Config, MacAddr};
use noxs_control::Rate;
use proptest::prelude::*;

use super::*;

fn vif(text: &str) -> VifConfig {
    match guest(&format!("vif=['{text}']")).vifs.as_slice() {
        [vif] => vif.clone(),
        vifs => panic!("{text}: {vifs:?}"),
    }
}

fn vif_problem(text: &str) -> (SourcePosition, ConfigProblem) {
    problem(&format!("vif=['{text}']"))
}

#[test]
fn the_vifs_of_the_manual_page_are_parsed() {
    let default = VifConfig::default();
    assert_eq!(vif(""), default);
    assert_eq!(vif(" , ,"), default);
    assert_eq!(vif("bridge=br0"), VifConfig { bridge: "br0".to_owned(), ..default.clone() });
    assert_eq!(
        vif("mac=00:16:3E:00:00:01,bridge=xenbr,rate=10Mb/s@20ms"),
        VifConfig {
            mac: Some(MacAddr([0, 0x16, 0x3e, 0, 0, 1])),
            bridge: "xenbr".to_owned(),
            rate: Some(Rate { bytes: 25_000, interval_us: 20_000 }),
            ..default.clone()
        }
    );
    assert_eq!(
        vif("ip= 10.8.0.2 255.255.255.0 10.8.0.1, mtu= 1400, devid=0, type=vif, script=vif-bridge"),
        VifConfig {
            ip: Some(Ipv4Config {
                address: [10, 8, 0, 2].into(),
                prefix: 24,
                gateway: Some([10, 8, 0, 1].into()),
            }),
            mtu: 1400,
            ..default.clone()
        }
    );
    assert_eq!(vif("trusted,backend=0,script="), default);
    assert_eq!(vif("bridge=a,bridge=b").bridge, "b");
    assert_eq!(vif("script=/etc/xen/scripts/vif-bridge"), default);
    assert_eq!(vif("mac=0:16-3e:0:A:1").mac, Some(MacAddr([0, 0x16, 0x3e, 0, 10, 1])));
    // XenStore mode has names, too.
    let named = guest("store='xenstore'\nvif=['vifname=lan']");
    assert_eq!(named.vifs[0].name.as_deref(), Some("lan"));
}

#[test]
fn a_field_that_xl_reports_and_ignores_is_a_warning() {
    let no_effect = |field| format!("vif field {field} has no effect, as in xl; remove it");
    let unknown = |rest: &str| format!("unknown vif field {rest}");
    for (text, column, message) in [
        ("accel=1", 7, no_effect("accel")),
        ("model=e1000", 7, no_effect("model")),
        ("type=netfront,bridge=br7", 7, no_effect("type")),
        (" bridg=x", 8, unknown("'bridg' is ignored, as in xl; did you mean 'bridge'?")),
        ("bridge=br7,a=b", 18, unknown("'a' is ignored, as in xl")),
        ("xenbr0", 7, unknown("'xenbr0' is ignored, as in xl")),
    ] {
        let parsed = parse(&format!("{BASE}vif=['{text}']")).unwrap();
        let shown: Vec<_> = parsed.warnings.iter().map(ToString::to_string).collect();
        assert_eq!(shown, [format!("x.cfg:4:{column}: {message}")], "{text}");
        // Those before and after it have their effect.
        let bridge = if text.contains("br7") { "br7" } else { DEFAULT_BRIDGE };
        assert_eq!(parsed.config.vifs[0].bridge, bridge, "{text}");
    }
    // With --strict, and for a command of its own, what is unknown is an error.
    let text = format!("{BASE}vif=['bridg=x']");
    let strict = parse_str("x.cfg", &text, &[], true).unwrap_err().to_string();
    assert!(strict.starts_with("x.cfg:4:7: unknown vif field 'bridg'; did you mean"), "{strict}");
    let added = parse_vif_arguments(&["bridg=x".to_owned()]).unwrap_err().to_string();
    assert!(added.contains("unknown vif field 'bridg'; did you mean 'bridge'?"), "{added}");
    assert!(parse_vif_arguments(&["type=netfront".to_owned()]).is_ok());
}

#[test]
fn an_unsupported_field_of_a_vif_is_refused_at_its_position() {
    for (text, column, words) in [
        ("bridge=br0,vlan=10", 18, "vlan is not supported"),
        ("vifname=", 15, "must be a name for an interface"),
        ("vifname=a/b", 15, "1 to 15 bytes without '/', ':', '%' and blanks"),
        ("vifname=a b", 15, "must be a name for an interface"),
        ("vifname=..", 15, "must be a name for an interface"),
        ("vifname=lan%d", 15, "must be a name for an interface"),
        ("vifname=a123456789012345", 15, "must be a name for an interface"),
        ("ip=2001:db8::5,mtu=1279", 6, "must be at least 1280 for a vif with an IPv6 address"),
        ("ip=fe80::5/64", 10, "must not be link-local"),
        ("gatewaydev=eth0", 7, "gatewaydev is not supported"),
        ("netdev=eth0", 7, "netdev is not supported"),
        ("backend=driver", 7, "backend is not supported"),
        ("forwarddev=x", 7, "forwarddev is not supported"),
        ("colo_compare_out=x", 7, "colo_… is not supported"),
        ("untrusted", 7, "untrusted is not supported"),
        ("type=ioemu", 12, "type = \"ioemu\" is not supported"),
        ("ip=10.0.0.2 10.0.0.3", 10, "10.0.0.3 is not a netmask such as 255.255.255.0"),
        ("ip=10.0.0.2 bridge=br0", 10, "\"bridge=br0\" is not an IPv4 address; a comma is missing"),
        ("bridge", 7, "must be name=value"),
        ("mtu=9001", 11, "mtu = 9001: must be 68 to 9000"),
        ("mtu=67", 11, "must be 68 to 9000"),
        ("mtu=", 11, "must be a number"),
        ("devid=1", 13, "devid = 1: must be 0"),
        ("mac=01:00:5e:00:00:01", 11, "multicast"),
        ("mac=00:00:00:00:00:00", 11, "all zeroes"),
        ("mac=0:1:2:3:4", 11, "six pairs"),
        ("mac=00:16:3e:XX:XX:XX", 11, "six pairs"),
        ("mac=001:16:3e:0:0:1", 11, "six pairs"),
        ("mac=00:16:3e:5e:6c:", 11, "six pairs"),
        ("mac=00:16:3e::00:01", 11, "six pairs"),
        ("mac=  x", 13, "mac = x: must be six pairs"),
        ("bridge=", 14, "must be the name of a bridge"),
        ("bridge=a123456789012345", 14, "must be the name of a bridge"),
        ("bridge=a b", 14, "must be the name of a bridge"),
        ("bridge=..", 14, "must be the name of a bridge"),
        ("ip=10.0.0.1/40", 10, "must be 1 to 32"),
        ("ip=10.0.0.2,  rate=1", 26, "rate = 1: must be a rate"),
    ] {
        let (position, problem) = vif_problem(text);
        assert_eq!((position.line, position.column), (4, column), "{text}");
        assert!(problem.to_string().contains(words), "{text}: {problem}");
    }
    // noxsd's switch has no scripts.
    let (position, script) = problem("store='noxs'\nvif=['script=vif-route']");
    assert_eq!((position.line, position.column), (5, 14));
    let text = script.to_string();
    assert!(text.contains("remove script=, and name a bridge of Linux with bridge="), "{text}");
    let added = parse_vif_arguments(&["script=vif-route".to_owned()]).unwrap_err().to_string();
    assert!(added.contains("scripts are for interfaces of dom0's kernel"), "{added}");
    // With escapes, the position is that of the whole string.
    let (position, _) = problem(r"vif=['bridge=\x61,vlan=1']");
    assert_eq!(position.column, 6);
}

#[test]
fn a_vif_has_addresses_of_both_families_and_a_name() {
    let config = vif("bridge=br0,vifname=lan0.7,ip=10.8.0.2/24 10.8.0.1 2001:db8::2/64 fe80::1");
    assert_eq!(config.name.as_deref(), Some("lan0.7"));
    assert_eq!(config.ip.map(|ip| ip.address), Some([10, 8, 0, 2].into()));
    let ipv6 = Ipv6Config {
        address: "2001:db8::2".parse().unwrap(),
        prefix: 64,
        gateway: Some("fe80::1".parse().unwrap()),
    };
    assert_eq!(config.ip6, Some(ipv6));
    let config = vif("ip=2001:db8::2");
    assert_eq!((config.ip, config.ip6.map(|ip| ip.prefix)), (None, Some(64)));
    // The last one counts, as for other fields.
    let config = vif("ip=2001:db8::2,ip=10.0.0.2,vifname=a,vifname=b");
    assert_eq!((config.ip6, config.name.as_deref()), (None, Some("b")));
}

#[test]
fn a_script_chooses_xenstore_and_gets_its_fields_as_they_are() {
    let text = "vif=['bridge=ovs.7:8:9,ip=10.0.0.2 10.0.0.3 10.1.0.0/16,script=vif-openvswitch']";
    let config = guest(text);
    assert_eq!(config.store, Store::XenStore);
    assert!(config.has_scripts() && config.is_store_of_script());
    let vif = &config.vifs[0];
    assert_eq!((vif.bridge.as_str(), vif.ip), ("ovs.7:8:9", None));
    let script = vif.script.as_deref().unwrap();
    assert_eq!(script.path, "/etc/xen/scripts/vif-openvswitch");
    assert_eq!(script.ip.as_deref(), Some("10.0.0.2 10.0.0.3 10.1.0.0/16"));
    // What chaos can read, it knows.
    let config = guest("store='xenstore'\nvif=['script=/opt/up,ip=10.0.0.2', 'script=vif-bridge']");
    assert_eq!(config.vifs[0].ip.map(|ip| ip.address), Some([10, 0, 0, 2].into()));
    assert_eq!(config.vifs[0].script.as_deref().unwrap().path, "/opt/up");
    assert!(config.vifs[1].script.is_none() && !config.is_store_of_script());
    for (text, words) in [
        ("script=a\tb", "script = \"a\\tb\": must be 1 to 512 bytes"),
        ("script=/a,ip=", "ip = \"\": must be 1 to 512 bytes"),
        ("script=/a,bridge=a/b", "must be the name of a bridge"),
    ] {
        let (_, problem) = vif_problem(text);
        assert!(problem.to_string().contains(words), "{text}: {problem}");
    }
    assert_eq!(numbered(&guest(text), 2).unwrap_err(), NumberedError::ScriptIp);
}

#[test]
fn two_vifs_of_a_guest_have_different_names() {
    let (position, problem) = problem("vif=['vifname=lan', '', 'vifname=lan']");
    assert_eq!(position.column, 25);
    let expected = "vifname = \"lan\": vif0 has this name already; choose another";
    assert_eq!(problem.to_string(), expected);
    let names = guest("vif=['vifname=lan', 'vifname=wan']").vifs;
    assert_eq!(names.iter().filter_map(|vif| vif.name.as_deref()).count(), 2);
}

#[test]
fn each_string_is_a_vif_of_its_own() {
    let config = guest(
        "vif=['ip=10.0.0.4,bridge=xenbr0', 'mac=00:16:3e:00:00:01,bridge=xenbr1,devid=1', '']",
    );
    let default = VifConfig::default();
    assert_eq!(config.vifs[0].ip.map(|ip| ip.address), Some([10, 0, 0, 4].into()));
    assert_eq!(config.vifs[0].bridge, "xenbr0");
    let second = VifConfig {
        mac: Some(MacAddr([0, 0x16, 0x3e, 0, 0, 1])),
        bridge: "xenbr1".to_owned(),
        ..default.clone()
    };
    // An empty string is a vif with the defaults, as in xl.
    assert_eq!(config.vifs[1..], [second, default]);
    let (position, problem) = problem("vif=['', 'devid=0']");
    assert_eq!((position.column, problem.to_string().as_str()), (17, "devid = 0: must be 1"));
}

#[test]
fn one_vif_too_many_is_refused_with_one_message() {
    let vifs = |count: usize| format!("vif=[{}]", "'', ".repeat(count));
    assert_eq!(guest(&vifs(noxs::MAX_VIFS)).vifs.len(), noxs::MAX_VIFS);
    for count in [noxs::MAX_VIFS + 1, noxs::MAX_VIFS + 3] {
        let (position, problem) = problem(&vifs(count));
        assert_eq!(position.column, 6 + 4 * noxs::MAX_VIFS);
        let expected = "vif: a guest can have at most 8 vifs; remove this one and those after it";
        assert_eq!(problem.to_string(), expected);
    }
}

proptest! {
    #[test]
    fn any_string_for_a_vif_is_accepted_or_refused(text in "[a-z0-9=,.:/ @KMb_-]{0,60}") {
        let _ = parse(&format!("{BASE}vif=['{text}']"));
    }
}
