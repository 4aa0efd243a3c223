// SPDX-License-Identifier: GPL-3.0-or-later
use noxs::MacAddr;
use noxs_control::{Rate, VifIdentity};
use xen::units::{Gfn, Port};

use super::*;
use crate::domain::RingPage;

/// All nodes of a guest with a console, a vif and a disk, in the order of writing.
const GOLDEN: &str = include_str!("golden.txt");

const ADVICE: &str = "the nodes of a guest in XenStore have changed; dom0's kernel, xenconsoled, xl and the \
     guest's drivers read them (docs/misc/xenstore-paths.pandoc of Xen). If the change is intended, put \
     them into chaos/src/announce/xenstore/tree/golden.txt";

/// Returns the requests of a batch as text, one in each line.
fn lines(batch: &Batch) -> String {
    let mut rest = batch.bytes();
    let mut text = String::new();
    while !rest.is_empty() {
        let word = |at: usize| u32::from_le_bytes(rest[at..at + 4].try_into().unwrap());
        let end = 16 + usize::try_from(word(12)).unwrap();
        let payload = std::str::from_utf8(&rest[16..end]).unwrap();
        let verb = match word(0) {
            11 => "write",
            12 => "mkdir",
            14 => "permissions",
            other => panic!("request of kind {other}"),
        };
        let line = format!("{verb} {}", payload.replace('\0', " "));
        text += line.trim_end();
        text.push('\n');
        rest = &rest[end..];
    }
    text
}

#[test]
fn the_nodes_of_a_guest_stay_as_they_are() {
    let paths = XenStorePaths { domid: DomId(3), handle: DomainHandle([0x11; 16]) };
    let page = |gfn, port| RingPage { gfn: Gfn(gfn), port: Port(port) };
    let rings = XenStoreRings { store: page(1026, 1), console: Some(page(1027, 2)) };
    let shell = ShellNodes {
        memory: KiB(4096),
        max_memory: KiB(8192),
        vcpus: 2,
        max_vcpus: 3,
        vifs: 1,
        rings,
    };
    let vif = VifIdentity {
        mac: MacAddr([0, 0x16, 0x3e, 0, 0, 7]),
        ipv4: None,
        ipv6: None,
        mtu: 1400,
        rate: Some(Rate { bytes: 50_000, interval_us: 50_000 }),
    };
    let disk = DiskNodes {
        id: 51712,
        vdev: "xvda",
        read_only: true,
        device: (7, 26),
        path: "/dev/loop26",
    };
    let mut batch = Batch::inside(9);
    write_shell(&mut batch, paths, &shell);
    write_guest(
        &mut batch,
        paths,
        &GuestNodes {
            name: "web",
            is_driver_domain: true,
            vifs: &[vif],
            disks: &[disk],
            scripts: &[],
        },
    );
    let now = lines(&batch);
    assert_eq!(now, GOLDEN, "{ADVICE}; the new nodes are\n{now}");
}

#[test]
fn a_vif_with_a_script_has_the_nodes_that_scripts_of_xen_read() {
    let paths = XenStorePaths { domid: DomId(3), handle: DomainHandle([0x11; 16]) };
    let script = ScriptNodes {
        vif: 1,
        script: "/etc/xen/scripts/vif-openvswitch",
        bridge: "ovs0.7",
        ip: Some("10.0.0.2 10.0.0.3"),
        name: Some("lan"),
        mtu: 1400,
    };
    let plain = ScriptNodes { ip: None, name: None, mtu: DEFAULT_MTU, ..script };
    let written = |nodes: &ScriptNodes<'_>| {
        let mut batch = Batch::inside(9);
        write_script(&mut batch, paths, nodes);
        let lines = lines(&batch);
        lines.replace("write /local/domain/0/backend/vif/3/1/", "")
    };
    let all = "script /etc/xen/scripts/vif-openvswitch\nbridge ovs0.7\nip 10.0.0.2 10.0.0.3\n\
               vifname lan\nmtu 1400\nhotplug-status\n";
    assert_eq!(written(&script), all);
    let few = "script /etc/xen/scripts/vif-openvswitch\nbridge ovs0.7\nhotplug-status\n";
    assert_eq!(written(&plain), few);
}

#[test]
fn a_shell_without_devices_has_no_device_nodes() {
    let paths = XenStorePaths { domid: DomId(3), handle: DomainHandle([0x11; 16]) };
    let store = RingPage { gfn: Gfn(1026), port: Port(1) };
    let rings = XenStoreRings { store, console: None };
    let mut batch = Batch::inside(9);
    write_shell(
        &mut batch,
        paths,
        &ShellNodes {
            memory: KiB(4096),
            max_memory: KiB(4096),
            vcpus: 1,
            max_vcpus: 1,
            vifs: 0,
            rings,
        },
    );
    let now = lines(&batch);
    for absent in ["/console", "/device/", "/backend/"] {
        assert!(!now.contains(absent), "{now}");
    }
}

#[test]
fn every_written_node_is_removed() {
    let paths = XenStorePaths { domid: DomId(3), handle: DomainHandle([0x11; 16]) };
    for line in GOLDEN.lines() {
        let path = line.split(' ').nth(1).unwrap();
        let covered = paths.all().iter().any(|root| {
            path.strip_prefix(root.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        });
        assert!(covered, "{path} is left when the guest is destroyed");
    }
}
