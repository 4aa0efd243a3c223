// SPDX-License-Identifier: GPL-3.0-or-later
//! The devices that chaos has connected: the kernel keeps with each one an identifier, which names the
//! process that connected it and qemu-nbd. So there is no record that could be missing or wrong.

use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::stat::makedev;

use super::process::Process;

/// Where the kernel lists block devices by their names.
const DEVICES: &str = "/sys/block";

/// First word of each identifier.
const MARK: &str = "chaos";

/// The folder that exists if the module is loaded.
const MODULE: &str = "/sys/module/nbd";

/// Returns whether there may be devices.
pub(super) fn may_exist() -> bool {
    Path::new(MODULE).exists()
}

/// A network block device that chaos has connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NbdDevice {
    /// Its number, as in `/dev/nbd0`.
    pub(super) index: u32,
    /// What the kernel keeps with it.
    pub(super) identifier: String,
    /// The process that has connected it.
    pub(super) creator: Process,
    /// The process that serves it.
    pub(super) server: Process,
}

/// Returns the identifier of a device.
pub(super) fn identifier(creator: Process, server: Process) -> String {
    format!("{MARK} {creator} {server}")
}

impl NbdDevice {
    /// Returns the device with this number of a block device, if chaos has connected it.
    pub(super) fn of_number(number: u64) -> Option<Self> {
        Self::all_below(Path::new(DEVICES))
            .find_map(|(found, device)| (found == number).then_some(device))
    }

    /// Returns all of them, each with its number as a block device.
    pub(super) fn all() -> impl Iterator<Item = (u64, Self)> {
        Self::all_below(Path::new(DEVICES))
    }

    fn all_below(folder: &Path) -> impl Iterator<Item = (u64, Self)> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.filter_map(|entry| {
            let index = entry.file_name().to_str()?.strip_prefix("nbd")?.parse().ok()?;
            let read = |file| fs::read_to_string(entry.path().join(file)).ok();
            // A device that is not connected has no such file.
            let identifier = read("backend")?.trim_end().to_owned();
            let mut words = identifier.split(' ');
            let (Some(MARK), Some(creator), Some(server), None) =
                (words.next(), words.next(), words.next(), words.next())
            else {
                return None;
            };
            let (creator, server) = (creator.parse().ok()?, server.parse().ok()?);
            let dev = read("dev")?;
            let (major, minor) = dev.trim().split_once(':')?;
            let number = makedev(major.parse().ok()?, minor.parse().ok()?);
            Some((number, Self { index, identifier, creator, server }))
        })
    }

    /// Returns its node.
    pub(super) fn path(&self) -> PathBuf {
        path(self.index)
    }
}

/// Returns the node of the device with this number.
pub(super) fn path(index: u32) -> PathBuf {
    format!("/dev/nbd{index}").into()
}

/// Returns the numbers of the block devices that dom0's kernel serves to a domain, or to all.
pub(super) fn served_by_kernel(domid: Option<u16>) -> Vec<u64> {
    served_below(Path::new("/sys/bus/xen-backend/devices"), domid)
}

fn served_below(folder: &Path, domid: Option<u16>) -> Vec<u64> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let number = |entry: fs::DirEntry| {
        let name = entry.file_name();
        let (of, _) = name.to_str()?.strip_prefix("vbd-")?.split_once('-')?;
        if domid.is_some_and(|domid| of != domid.to_string()) {
            return None;
        }
        // In base 16 (`xen-blkback/xenbus.c`).
        let text = fs::read_to_string(entry.path().join("physical_device")).ok()?;
        let (major, minor) = text.trim().split_once(':')?;
        let parse = |text| u64::from_str_radix(text, 16).ok();
        Some(makedev(parse(major)?, parse(minor)?))
    };
    entries.filter_map(number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_devices_with_our_identifier_are_ours() {
        let folder = tempfile::tempdir().unwrap();
        let add = |name: &str, dev: &str, backend: Option<&str>| {
            let device = folder.path().join(name);
            fs::create_dir(&device).unwrap();
            fs::write(device.join("dev"), dev).unwrap();
            if let Some(text) = backend {
                fs::write(device.join("backend"), text).unwrap();
            }
        };
        add("nbd0", "43:0\n", Some("chaos 7@100 8@101\n"));
        add("nbd1", "43:32\n", None);
        add("nbd2", "43:64\n", Some("/srv/other\n"));
        add("nbd3", "43:96\n", Some("chaos 7@100 8@101 9@102\n"));
        add("nbd4", "43:128\n", Some("chaos 7@100 x\n"));
        add("loop0", "7:0\n", Some("chaos 7@100 8@101\n"));
        let all: Vec<_> = NbdDevice::all_below(folder.path()).collect();
        let [(number, device)] = &all[..] else { panic!("{all:?}") };
        assert_eq!((*number, device.index), (makedev(43, 0), 0));
        assert_eq!(device.path(), Path::new("/dev/nbd0"));
        assert_eq!(device.identifier, identifier(device.creator, device.server));
        assert_eq!(device.server.to_string(), "8@101");
    }

    #[test]
    fn the_disks_of_one_domain_are_found() {
        let folder = tempfile::tempdir().unwrap();
        for (name, device) in [
            ("vbd-1-51712", "2b:20\n"),
            ("vbd-1-51728", "7:0\n"),
            ("vbd-11-51712", "2b:40\n"),
            ("vif-1-0", "2b:60\n"),
            ("vbd-1-51744", ""),
        ] {
            let backend = folder.path().join(name);
            fs::create_dir(&backend).unwrap();
            fs::write(backend.join("physical_device"), device).unwrap();
        }
        let mut found = served_below(folder.path(), Some(1));
        found.sort_unstable();
        assert_eq!(found, [makedev(7, 0), makedev(43, 32)]);
        assert!(served_below(&folder.path().join("none"), Some(1)).is_empty());
    }
}
