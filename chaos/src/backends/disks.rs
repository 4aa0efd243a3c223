// SPDX-License-Identifier: GPL-3.0-or-later
//! The open files and block devices behind disks. noxsd opens nothing, and chaosd only what `chaos
//! create` has not opened.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};

use disk::{DiskError, OpenDisk};
use noxs::{Discard, Geometry};
use noxs_control::{DiskIdentity, DiskImage};

use super::error::DevicesError;
use crate::clients::noxsd::{BackendError, Noxsd};
use crate::config::DiskConfig;
use crate::domain::DevicePageDisk;

/// What is behind a guest's disks, in their order.
#[derive(Debug, Default)]
pub struct OpenDisks {
    images: Vec<DiskImage>,
    files: Vec<File>,
}

impl OpenDisks {
    /// Opens what a config names. noxsd locks it, so that no lock is held while noxsd does not run.
    ///
    /// # Errors
    /// A path cannot be opened, or cannot be a disk.
    pub(crate) fn open(configs: &[DiskConfig]) -> Result<Self, DevicesError> {
        let open = |config: &DiskConfig| OpenDisk::open(&config.target, config.read_only);
        Self::of(configs.iter().map(|config| (config, open(config))))
    }

    /// Returns the disks that another process has [opened](disk::open_file), in their order.
    ///
    /// # Errors
    /// A descriptor cannot be a disk, or was opened for something else than the config says.
    pub(crate) fn receive<'a>(
        configs: &'a [DiskConfig],
        files: Vec<File>,
    ) -> Result<Self, DevicesError> {
        debug_assert_eq!(configs.len(), files.len(), "the caller has counted them");
        let receive = |(config, file): (&'a DiskConfig, File)| {
            (config, OpenDisk::receive(file, &config.target, config.read_only))
        };
        Self::of(configs.iter().zip(files).map(receive))
    }

    fn of<'a>(
        found: impl Iterator<Item = (&'a DiskConfig, Result<OpenDisk, DiskError>)>,
    ) -> Result<Self, DevicesError> {
        let mut disks = Self::default();
        for (DiskConfig { target, read_only, .. }, found) in found {
            let found = found?;
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
