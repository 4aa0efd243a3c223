// SPDX-License-Identifier: MIT OR Apache-2.0
//! The disks that dom0's kernel serves (Linux `drivers/block/xen-blkback`). blkback does not claim
//! its block devices, so opening one with `O_EXCL` does not find it.

use std::fs;
use std::path::Path;

use nix::sys::stat::{major, minor};

/// Where the kernel lists its backends, with `physical_device` and `mode` for a disk
/// (`xen-blkback/xenbus.c`).
const BACKENDS: &str = "/sys/bus/xen-backend/devices";

/// Returns the domain that has the block device with this number as a disk, if one of both writes it.
pub(crate) fn other_user(number: u64, read_only: bool) -> Option<u16> {
    other_user_below(Path::new(BACKENDS), number, read_only)
}

fn other_user_below(folder: &Path, number: u64, read_only: bool) -> Option<u16> {
    let device = format!("{:x}:{:x}", major(number), minor(number));
    // Without Xen's drivers there is no folder, and a backend may go away meanwhile.
    let mut backends = fs::read_dir(folder).ok()?.flatten();
    backends.find_map(|backend| {
        let name = backend.file_name();
        let (domid, _) = name.to_str()?.strip_prefix("vbd-")?.split_once('-')?;
        let read = |file| fs::read_to_string(backend.path().join(file)).ok();
        let is_same = read("physical_device")?.trim() == device;
        let is_shared = read_only && !read("mode")?.starts_with('w');
        (is_same && !is_shared).then(|| domid.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use nix::sys::stat::makedev;

    use super::*;

    #[test]
    fn a_disk_that_the_kernel_serves_is_found_if_one_of_both_writes_it() {
        let folder = tempfile::tempdir().unwrap();
        for (name, device, mode) in [
            ("vif-3-0", "7:1\n", "w\n"),
            ("vbd-3-51712", "7:1\n", "r\n"),
            ("vbd-4-51712", "7:1f\n", "w!\n"),
            ("vbd-5-51712", "", ""),
        ] {
            let backend = folder.path().join(name);
            fs::create_dir(&backend).unwrap();
            fs::write(backend.join("physical_device"), device).unwrap();
            fs::write(backend.join("mode"), mode).unwrap();
        }
        fs::create_dir(folder.path().join("vbd-6-51712")).unwrap();
        let find = |minor, read_only| other_user_below(folder.path(), makedev(7, minor), read_only);
        assert_eq!((find(1, false), find(1, true)), (Some(3), None));
        assert_eq!((find(0x1f, false), find(0x1f, true)), (Some(4), Some(4)));
        assert_eq!(find(2, false), None);
        assert_eq!(other_user_below(&folder.path().join("none"), 0, false), None);
    }
}
