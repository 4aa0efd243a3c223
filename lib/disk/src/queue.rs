// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the kernel says of a block device (Linux `Documentation/ABI/stable/sysfs-block`).

use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::stat::{major, minor};

use crate::open::Discard;

/// The files about a block device.
#[derive(Debug)]
pub(crate) struct Queue {
    device: PathBuf,
    queue: PathBuf,
}

impl Queue {
    /// Returns the files about the block device with this number.
    pub(crate) fn of(number: u64) -> Self {
        Self::below(Path::new("/sys/dev/block"), number)
    }

    fn below(folder: &Path, number: u64) -> Self {
        let device = folder.join(format!("{}:{}", major(number), minor(number)));
        // A partition has no queue of its own.
        let whole = if device.join("partition").exists() { "../queue" } else { "queue" };
        let queue = device.join(whole);
        Self { device, queue }
    }

    /// Returns whether the kernel refuses writes to the device; `false` if it is not known.
    pub(crate) fn is_read_only(&self) -> bool {
        fs::read_to_string(self.device.join("ro")).is_ok_and(|text| text.trim() != "0")
    }

    /// Returns the logical sector size in bytes; 512 if it is not known.
    pub(crate) fn logical(&self) -> u32 {
        self.number("logical_block_size").unwrap_or(512)
    }

    /// Returns the physical sector size in bytes, if it is known.
    pub(crate) fn physical(&self) -> Option<u32> {
        self.number("physical_block_size")
    }

    /// Returns what can be discarded so that it reads as zeroes afterwards: the kernel does both
    /// with one call, on devices that write zeroes by themselves.
    pub(crate) fn discard(&self, logical: u32) -> Option<Discard> {
        let most = |name| self.number::<u64>(name).unwrap_or(0);
        if most("discard_max_bytes") == 0 || most("write_zeroes_max_bytes") == 0 {
            return None;
        }
        let granularity = self.number("discard_granularity").filter(|size| *size >= logical)?;
        let alignment = fs::read_to_string(self.device.join("discard_alignment")).ok();
        let alignment = alignment.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        Some(Discard { granularity, alignment })
    }

    fn number<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        fs::read_to_string(self.queue.join(name)).ok()?.trim().parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(folder: &Path, files: &[(&str, &str)]) {
        for (name, text) in files {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
    }

    #[test]
    fn a_partition_has_the_properties_of_its_disk() {
        let sys = tempfile::tempdir().unwrap();
        device(
            sys.path(),
            &[
                ("8:0/queue/logical_block_size", "4096\n"),
                ("8:0/queue/physical_block_size", "8192\n"),
                ("8:0/queue/discard_max_bytes", "1000000\n"),
                ("8:0/queue/write_zeroes_max_bytes", "1000000\n"),
                ("8:0/queue/discard_granularity", "65536\n"),
                ("8:0/part/partition", "1\n"),
                ("8:0/ro", "0\n"),
                ("8:0/part/ro", "1\n"),
                ("8:0/part/discard_alignment", "4096\n"),
            ],
        );
        // sysfs has a link to the folder of the partition, which is in that of its disk.
        std::os::unix::fs::symlink("8:0/part", sys.path().join("8:1")).unwrap();
        let queue = Queue::below(sys.path(), nix::sys::stat::makedev(8, 1));
        assert_eq!((queue.logical(), queue.physical()), (4096, Some(8192)));
        let discard = Discard { granularity: 65536, alignment: 4096 };
        assert_eq!(queue.discard(4096), Some(discard));
        let whole = Queue::below(sys.path(), nix::sys::stat::makedev(8, 0));
        // A partition can be read-only on its own.
        assert_eq!((queue.is_read_only(), whole.is_read_only()), (true, false));
        assert_eq!(whole.discard(4096), Some(Discard { alignment: 0, ..discard }));
    }

    #[test]
    fn a_device_that_cannot_discard_or_is_not_known_offers_none() {
        let sys = tempfile::tempdir().unwrap();
        device(
            sys.path(),
            &[
                ("7:0/queue/discard_max_bytes", "0\n"),
                ("7:0/queue/write_zeroes_max_bytes", "1000000\n"),
                ("7:0/queue/discard_granularity", "4096\n"),
            ],
        );
        for minor in [0, 1] {
            let queue = Queue::below(sys.path(), nix::sys::stat::makedev(7, minor));
            assert_eq!((queue.logical(), queue.discard(512)), (512, None));
            assert!(!queue.is_read_only());
        }
    }
}
