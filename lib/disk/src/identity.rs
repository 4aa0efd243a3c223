// SPDX-License-Identifier: MIT OR Apache-2.0
//! Recognizes a disk.

use rustix::fs::{FileType, Stat};

/// What a disk is, whatever path leads to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Identity {
    /// A regular file.
    File {
        /// The number of its file system.
        device: u64,
        /// Its number there.
        inode: u64,
    },
    /// A block device.
    BlockDevice {
        /// Its number.
        number: u64,
    },
}

impl Identity {
    /// Returns the identity of a file. `None` if it is neither a regular file nor a block device.
    #[must_use]
    pub fn of(status: &Stat) -> Option<Self> {
        match kind(status) {
            FileType::RegularFile => {
                Some(Self::File { device: status.st_dev, inode: status.st_ino })
            }
            FileType::BlockDevice => Some(Self::BlockDevice { number: status.st_rdev }),
            _ => None,
        }
    }
}

/// Returns the kind of a file.
pub(crate) fn kind(status: &Stat) -> FileType {
    FileType::from_raw_mode(status.st_mode)
}
