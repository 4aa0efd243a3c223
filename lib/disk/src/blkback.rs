// SPDX-License-Identifier: MIT OR Apache-2.0
//! The disks that dom0's kernel serves (Linux `drivers/block/xen-blkback`). blkback does not claim
//! its block devices, so opening one with `O_EXCL` does not find it.

use std::fs;
use std::path::Path;

use nix::sys::stat::{major, minor};

/// Where the kernel lists its backends, with `physical_device` and `mode` for a disk
/// (`xen-blkback/xenbus.c`).
const BACKENDS: &str = "/sys/bus/xen-backend/devices";

/// Where it lists block devices by their numbers.
const DEVICES: &str = "/sys/dev/block";

/// Returns the domain that has the block device with this number as a disk, or the whole disk of which
/// it is a partition, or a partition of it, if one of both writes it.
pub(crate) fn other_user(number: u64, read_only: bool) -> Option<u16> {
    other_user_below([BACKENDS, DEVICES].map(Path::new), number, read_only)
}

fn other_user_below([backends, devices]: [&Path; 2], number: u64, read_only: bool) -> Option<u16> {
    let own = (major(number), minor(number));
    let own_whole = whole(devices, own);
    // Only Xen's drivers make the folder, and a backend may be removed while it is looked at.
    let mut backends = fs::read_dir(backends).ok()?.flatten();
    backends.find_map(|backend| {
        let name = backend.file_name();
        let (domid, _) = name.to_str()?.strip_prefix("vbd-")?.split_once('-')?;
        let read = |file| fs::read_to_string(backend.path().join(file)).ok();
        let other = numbers(&read("physical_device")?, 16)?;
        let overlaps =
            other == own || own_whole == Some(other) || whole(devices, other) == Some(own);
        let is_shared = read_only && !read("mode")?.starts_with('w');
        (overlaps && !is_shared).then(|| domid.parse().ok())?
    })
}

/// Returns the numbers of the disk of which a device is a partition.
fn whole(devices: &Path, (major, minor): (u64, u64)) -> Option<(u64, u64)> {
    let device = devices.join(format!("{major}:{minor}"));
    if !device.join("partition").exists() {
        return None;
    }
    numbers(&fs::read_to_string(device.join("../dev")).ok()?, 10)
}

/// Reads the two numbers of a device, in a base.
fn numbers(text: &str, base: u32) -> Option<(u64, u64)> {
    let (major, minor) = text.trim().split_once(':')?;
    Some((u64::from_str_radix(major, base).ok()?, u64::from_str_radix(minor, base).ok()?))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use nix::sys::stat::makedev;

    use super::*;

    /// Adds a disk that the kernel serves.
    fn serve(folder: &Path, name: &str, device: &str, mode: &str) {
        let backend = folder.join(name);
        fs::create_dir(&backend).unwrap();
        fs::write(backend.join("physical_device"), device).unwrap();
        fs::write(backend.join("mode"), mode).unwrap();
    }

    #[test]
    fn a_disk_that_the_kernel_serves_is_found_if_one_of_both_writes_it() {
        let folder = tempfile::tempdir().unwrap();
        for (name, device, mode) in [
            ("vif-3-0", "7:1\n", "w\n"),
            ("vbd-3-51712", "7:1\n", "r\n"),
            ("vbd-4-51712", "7:1f\n", "w!\n"),
            ("vbd-5-51712", "", ""),
        ] {
            serve(folder.path(), name, device, mode);
        }
        fs::create_dir(folder.path().join("vbd-6-51712")).unwrap();
        let none = folder.path().join("none");
        let find = |minor, read_only| {
            other_user_below([folder.path(), &none], makedev(7, minor), read_only)
        };
        assert_eq!((find(1, false), find(1, true)), (Some(3), None));
        assert_eq!((find(0x1f, false), find(0x1f, true)), (Some(4), Some(4)));
        assert_eq!(find(2, false), None);
        assert_eq!(other_user_below([&none, &none], 0, false), None);
    }

    #[test]
    fn a_disk_overlaps_with_its_partitions_and_those_not_with_each_other() {
        let folder = tempfile::tempdir().unwrap();
        let [backends, devices] = ["backends", "block"].map(|name| folder.path().join(name));
        fs::create_dir(&backends).unwrap();
        fs::create_dir(&devices).unwrap();
        for (path, number) in [("sda", "8:0"), ("sda/sda1", "8:1"), ("sda/sda2", "8:2")] {
            let device = folder.path().join(path);
            fs::create_dir(&device).unwrap();
            fs::write(device.join("dev"), format!("{number}\n")).unwrap();
            if path.contains('/') {
                fs::write(device.join("partition"), "1\n").unwrap();
            }
            symlink(device, devices.join(number)).unwrap();
        }
        let find = |minor| other_user_below([&backends, &devices], makedev(8, minor), false);
        serve(&backends, "vbd-3-51712", "8:1\n", "w\n");
        assert_eq!([find(0), find(1), find(2)], [Some(3), Some(3), None]);
        fs::remove_dir_all(backends.join("vbd-3-51712")).unwrap();
        serve(&backends, "vbd-4-51712", "8:0\n", "w\n");
        assert_eq!([find(0), find(1), find(2)], [Some(4); 3]);
    }
}
