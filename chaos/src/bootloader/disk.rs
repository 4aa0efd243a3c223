// SPDX-License-Identifier: GPL-3.0-or-later
//! The disk that a bootloader reads.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::error::BootloaderError;
use crate::backends::{disks, nbd};
use crate::config::{DiskConfig, DiskFormat};

/// A disk that the bootloader finds at a path, as sectors. An image in another format is a block device
/// as long as this exists.
#[derive(Debug)]
pub(super) struct BootDisk {
    path: PathBuf,
    /// Open if it is an image, so that the device stays.
    image: Option<File>,
}

impl BootDisk {
    /// Prepares a disk.
    ///
    /// # Errors
    /// It is an image that cannot be opened, for example because a guest that runs writes it.
    pub(super) fn open(disk: &DiskConfig) -> Result<Self, BootloaderError> {
        match disk.format {
            DiskFormat::Raw => Ok(Self { path: disk.target.clone(), image: None }),
            _ => {
                let disk = DiskConfig { read_only: true, ..disk.clone() };
                let (image, path) =
                    nbd::open(&disk).map_err(|error| BootloaderError::Image(error.into()))?;
                Ok(Self { path, image: Some(image) })
            }
        }
    }

    /// Returns the path of the file or block device.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for BootDisk {
    /// Waits until the image can be opened for writing: the guest does so next.
    fn drop(&mut self) {
        if let Some(image) = self.image.take() {
            disks::close(vec![image]);
        }
    }
}
