// SPDX-License-Identifier: MIT OR Apache-2.0
//! Recognizes a disk.

use std::fs::Metadata;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

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
    pub fn of(metadata: &Metadata) -> Option<Self> {
        let kind = metadata.file_type();
        if kind.is_file() {
            Some(Self::File { device: metadata.dev(), inode: metadata.ino() })
        } else if kind.is_block_device() {
            Some(Self::BlockDevice { number: metadata.rdev() })
        } else {
            None
        }
    }
}
