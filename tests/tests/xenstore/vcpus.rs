// SPDX-License-Identifier: GPL-3.0-or-later
//! A Linux guest that uses more or fewer of its vCPUs.

use std::fs;

use system_tests::{ConsoleLog, Guest, XenStoreBed, chaos};

use crate::LINUX;

/// What the guest runs: brings a new CPU online, as udev does on a system with such a rule, and prints
/// which CPUs are online.
const START: &str = r#"#!/bin/busybox sh
cat >/on-event <<'END'
#!/bin/busybox sh
[ "$SUBSYSTEM" = cpu ] || exit 0
[ "$ACTION" != add ] || echo 1 >"/sys$DEVPATH/online"
echo "linux: $ACTION ${DEVPATH##*/}: CPUs $(cat /sys/devices/system/cpu/online) are online"
END
chmod 755 /on-event
echo "linux: CPUs $(cat /sys/devices/system/cpu/online) of $(cat /sys/devices/system/cpu/possible)"
exec uevent /on-event
"#;

/// Returns a ramdisk with one file, in cpio's format newc (Linux: `early-userspace/buffer-format`).
fn ramdisk(name: &str, content: &str) -> Vec<u8> {
    let mut archive = Vec::new();
    for (name, mode, content) in [(name, 0o100_755, content), ("TRAILER!!!", 0, "")] {
        let fields = [1, mode, 0, 0, 1, 0, content.len(), 0, 0, 0, 0, name.len() + 1, 0];
        archive.extend(b"070701");
        fields.iter().for_each(|field| archive.extend(format!("{field:08x}").bytes()));
        // The name and the content each end at a multiple of 4 bytes.
        archive.extend(name.bytes().chain([0]));
        archive.resize(archive.len().next_multiple_of(4), 0);
        archive.extend(content.bytes());
        archive.resize(archive.len().next_multiple_of(4), 0);
    }
    archive
}

/// Returns the states of a guest's vCPUs, as `vcpu-list` shows them: `--p` is offline.
fn offline() -> Vec<bool> {
    let list = chaos(&["vcpu-list", "linux"]).ok();
    let lines = list.lines().skip(1);
    lines.map(|line| line.split_whitespace().nth(4) == Some("--p")).collect()
}

#[test]
fn a_linux_uses_as_many_of_its_vcpus_as_it_is_told_to() {
    let bed = XenStoreBed::new();
    let both = [fs::read("linux.cpio").expect("it is there"), ramdisk("start", START)].concat();
    let both = bed.bed.file("both.cpio", both);
    let config = LINUX.replace("ramdisk='linux.cpio'", &format!("ramdisk='{both}'"));
    let config = bed.bed.file("linux.cfg", format!("{config}vcpus=1\nmaxvcpus=2\n"));
    let console = ConsoleLog::of("linux");
    let guest = Guest::create(&config, &[]);
    console.wait_for("linux: CPUs 0 of 0-1");
    assert_eq!(offline(), [false, true], "it starts with vcpus=");

    chaos(&["vcpu-set", "linux", "2"]).refused(2, &["the machine has 1 CPUs", "--ignore-host"]);
    for _ in 0..2 {
        let console = ConsoleLog::of("linux");
        chaos(&["vcpu-set", "-i", "linux", "2"]).ok();
        console.wait_for("CPUs 0-1 are online");
        assert_eq!(offline(), [false, false]);
        chaos(&["vcpu-set", "linux", "1"]).ok();
        console.wait_for("linux: remove cpu1: CPUs 0 are online");
        assert_eq!(offline(), [false, true]);
    }
    chaos(&["vcpu-set", "-i", "linux", "3"]).refused(2, &["has 2 vCPUs"]);
    assert_eq!(Guest::ask("10.0.0.5:7", b"echoed\n", b"\n"), b"echoed\n");
    guest.destroy();
    bed.assert_nothing_left("after the guest");
}
