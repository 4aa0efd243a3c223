// SPDX-License-Identifier: GPL-3.0-or-later
//! What serves disk images that are not raw.

use std::fs;
use std::path::Path;

/// Returns the network block devices that are connected.
///
/// # Panics
/// The kernel does not list them.
#[must_use]
pub fn connected_nbds() -> Vec<String> {
    let devices = fs::read_dir("/sys/block").expect("sysfs is mounted").flatten();
    let connected = devices.filter(|device| device.path().join("pid").exists());
    let names = connected.map(|device| device.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with("nbd")).collect()
}

/// Returns the numbers of the processes of qemu-nbd that have not exited.
///
/// # Panics
/// The kernel does not list processes.
#[must_use]
pub fn qemu_nbds() -> Vec<String> {
    let processes = fs::read_dir("/proc").expect("procfs is mounted").flatten();
    let serves = |path: &Path| {
        fs::read_to_string(path.join("stat"))
            .is_ok_and(|stat| stat.contains("(qemu-nbd)") && !stat.contains(") Z "))
    };
    let found = processes.filter(|process| serves(&process.path()));
    found.map(|process| process.file_name().to_string_lossy().into_owned()).collect()
}
