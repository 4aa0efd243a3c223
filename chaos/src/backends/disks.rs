// SPDX-License-Identifier: GPL-3.0-or-later
//! Opens the files and block devices behind disks that noxsd serves. noxsd opens nothing.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};

use disk::OpenDisk;
use noxs::{Discard, Geometry};
use noxs_control::{DiskIdentity, DiskImage};

use super::error::DevicesError;
use crate::clients::noxsd::{BackendError, Noxsd};
use crate::config::DiskConfig;
use crate::domain::DevicePageDisk;

/// What is behind a guest's disks, in their order.
#[derive(Debug, Default)]
pub(crate) struct OpenDisks {
    images: Vec<DiskImage>,
    files: Vec<File>,
}

impl OpenDisks {
    /// Opens what a config names. noxsd locks it, so that no lock is held while noxsd does not run.
    ///
    /// # Errors
    /// A path cannot be opened, or cannot be a disk.
    pub(crate) fn open(configs: &[DiskConfig]) -> Result<Self, DevicesError> {
        let mut disks = Self::default();
        for DiskConfig { target, read_only, .. } in configs {
            let found = OpenDisk::open(target, *read_only)?;
            let discard = found.discard.map(|discard| Discard {
                granularity: discard.granularity,
                alignment: discard.alignment,
                secure: false,
            });
            disks.images.push(DiskImage {
                path: target.to_string_lossy().into_owned(),
                identity: found.identity.into(),
                geometry: Geometry {
                    sectors: found.sectors,
                    sector_size: found.sector_size,
                    physical_sector_size: found.physical_sector_size,
                    read_only: *read_only,
                },
                discard,
            });
            disks.files.push(found.file);
        }
        Ok(disks)
    }

    /// Returns what noxsd must know of them.
    pub(crate) fn images(&self) -> &[DiskImage] {
        &self.images
    }

    /// Returns the open files.
    pub(crate) fn files(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.files.iter().map(AsFd::as_fd)
    }

    /// Returns what the device page says of them.
    pub(crate) fn page_entries(&self) -> Vec<DevicePageDisk> {
        let entry =
            |image: &DiskImage| DevicePageDisk { geometry: image.geometry, discard: image.discard };
        self.images.iter().map(entry).collect()
    }

    /// Lets noxsd write the files, if there are some.
    ///
    /// # Errors
    /// The kernel refuses.
    pub(crate) fn lift_file_limit(&self, noxsd: &mut Noxsd) -> Result<(), BackendError> {
        let is_written = |image: &DiskImage| {
            matches!(image.identity, DiskIdentity::File { .. }) && !image.geometry.read_only
        };
        match self.images.iter().any(is_written) {
            true => noxsd.lift_file_limit(),
            false => Ok(()),
        }
    }
}
