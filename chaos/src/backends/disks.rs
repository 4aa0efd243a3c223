// SPDX-License-Identifier: GPL-3.0-or-later
//! The open files and block devices behind disks. noxsd opens nothing, and chaosd only what `chaos
//! create` has not opened.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{self, Component, Path, PathBuf};

use disk::{DiskError, Identity, OpenDisk};
use noxs::{Discard, Geometry};
use noxs_control::{DiskIdentity, DiskImage};

use super::error::DevicesError;
use super::nbd::{self, NbdError, Releasing};
use crate::clients::noxsd::{BackendError, Noxsd};
use crate::config::{DiskConfig, DiskFormat};
use crate::domain::DevicePageDisk;

/// Where relative targets of disks are looked up first, as xl does.
const DEV: &str = "/dev";

/// Turns a disk's target into an absolute path. A relative one is in /dev, as in xl, if it exists
/// there, and otherwise in the working directory; one that begins with `./` or `../` is always in
/// the working directory.
///
/// # Errors
/// A relative target is in neither of them, or the working directory cannot be read.
pub(crate) fn make_absolute(target: &mut PathBuf) -> Result<(), DevicesError> {
    if target.is_relative() {
        *target = find_target(Path::new(DEV), target)?;
    }
    Ok(())
}

#[cold]
fn find_target(dev: &Path, target: &Path) -> Result<PathBuf, DevicesError> {
    let here = path::absolute(target)
        .map_err(|source| DiskError::Open { path: target.to_owned(), source })?;
    if let Some(Component::CurDir | Component::ParentDir) = target.components().next() {
        return Ok(here);
    }
    let in_dev = dev.join(target);
    if in_dev.exists() {
        Ok(in_dev)
    } else if here.exists() {
        Ok(here)
    } else {
        Err(DevicesError::NoDisk { target: target.to_owned(), in_dev, here })
    }
}

/// Returns what is at a path, without opening it. `None` if that cannot be a disk.
pub(crate) fn identity(path: &Path) -> Option<DiskIdentity> {
    Some(disk::Identity::of(&rustix::fs::stat(path).ok()?)?.into())
}

/// Opens what is behind a disk, for a process that [receives](OpenDisks::receive) it.
///
/// # Errors
/// It cannot be opened, or cannot be a disk.
pub(crate) fn open_file(config: &DiskConfig) -> Result<File, DevicesError> {
    match config.format {
        DiskFormat::Raw => Ok(disk::open_file(&config.target, config.read_only)?),
        _ => Ok(nbd::open(config)?.0),
    }
}

/// Closes files that [`open_file`] has opened, and waits until they can be opened again.
pub(crate) fn close(files: Vec<File>) {
    let releasing = Releasing::of_numbers(&nbd::numbers_of_files(&files));
    drop(files);
    // Opening them again fails if this has failed.
    let _ = releasing.finish();
}

/// What is behind a guest's disks, in their order.
#[derive(Debug, Default)]
pub struct OpenDisks {
    images: Vec<DiskImage>,
    files: Vec<File>,
    /// The numbers of the network block devices.
    connected: Vec<u64>,
}

impl OpenDisks {
    /// Opens what a config names. noxsd locks it, so that no lock is held while noxsd does not run.
    ///
    /// # Errors
    /// A path cannot be opened, or cannot be a disk, or two of them are one disk that the guest writes.
    pub(crate) fn open(configs: &[DiskConfig]) -> Result<Self, DevicesError> {
        let open = |config: &DiskConfig| match config.format {
            DiskFormat::Raw => Ok(OpenDisk::open(&config.target, config.read_only)?),
            _ => Ok(OpenDisk::receive(nbd::open(config)?.0, &config.target, config.read_only)?),
        };
        Self::of(configs, configs.iter().map(open))
    }

    /// Checks that [`open`](Self::open) finds the same disks as when the guest was created. An image is
    /// another block device each time.
    ///
    /// # Errors
    /// One of them is an image.
    pub(crate) fn check_again(configs: &[DiskConfig]) -> Result<(), DevicesError> {
        match configs.iter().find(|config| config.format != DiskFormat::Raw) {
            Some(config) => Err(NbdError::Unknown { path: config.target.clone() }.into()),
            None => Ok(()),
        }
    }

    /// Returns the disks that another process has [opened](disk::open_file), in their order.
    ///
    /// # Errors
    /// A descriptor cannot be a disk, or was opened for something else than the config says, or two of
    /// them are one disk that the guest writes.
    pub(crate) fn receive(configs: &[DiskConfig], files: Vec<File>) -> Result<Self, DevicesError> {
        debug_assert_eq!(configs.len(), files.len(), "the caller has counted them");
        let receive = |(config, file): (&DiskConfig, File)| {
            Ok(OpenDisk::receive(file, &config.target, config.read_only)?)
        };
        Self::of(configs, configs.iter().zip(files).map(receive))
    }

    fn of(
        configs: &[DiskConfig],
        found: impl Iterator<Item = Result<OpenDisk, DevicesError>>,
    ) -> Result<Self, DevicesError> {
        let mut disks = Self::default();
        for (config, found) in configs.iter().zip(found) {
            let DiskConfig { target, read_only, .. } = config;
            let identity = match &found {
                Ok(disk) => Some(disk.identity.into()),
                // Perhaps by this process, for a disk before this one.
                Err(DevicesError::Image(DiskError::Claimed { .. })) => identity(target),
                Err(_) => None,
            };
            let is_same = |image: &DiskImage| {
                identity.is_some_and(|identity| image.excludes(identity, *read_only))
            };
            if let Some(first) = disks.images.iter().position(is_same) {
                return Err(DevicesError::SameDisk {
                    path: target.clone(),
                    first: configs[first].vdev.clone(),
                    second: config.vdev.clone(),
                });
            }
            let found = found?;
            let device = nbd::device_path(config, found.identity.into())?;
            let discard = found.discard.map(|discard| Discard {
                granularity: discard.granularity,
                alignment: discard.alignment,
                secure: false,
            });
            disks.images.push(DiskImage {
                path: device.as_ref().unwrap_or(target).to_string_lossy().into_owned(),
                identity: found.identity.into(),
                geometry: Geometry {
                    sectors: found.sectors,
                    sector_size: found.sector_size,
                    physical_sector_size: found.physical_sector_size,
                    read_only: *read_only,
                },
                discard,
            });
            if device.is_some()
                && let Identity::BlockDevice { number } = found.identity
            {
                disks.connected.push(number);
            }
            disks.files.push(found.file);
        }
        Ok(disks)
    }

    /// Returns what noxsd must know of them.
    pub(crate) fn images(&self) -> &[DiskImage] {
        &self.images
    }

    /// Keeps network block devices connected while noxsd is restarted. The guest's device file names them
    /// by then.
    ///
    /// # Errors
    /// One of them is not connected any more.
    pub(crate) fn keep_connected(&self) -> Result<(), DevicesError> {
        Ok(nbd::keep(&self.connected)?)
    }

    /// Has network block devices disconnected when they are closed, because the guest is not created.
    pub(crate) fn give_up(&self) {
        nbd::give_up(&self.connected);
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

#[cfg(test)]
mod tests {
    use std::env;
    use std::fs;

    use super::*;

    #[test]
    fn a_file_is_two_disks_of_a_guest_only_if_both_are_read_only() {
        let folder = tempfile::tempdir().unwrap();
        let [path, link] = ["disk", "link"].map(|name| folder.path().join(name));
        fs::write(&path, [0; 512]).unwrap();
        fs::hard_link(&path, &link).unwrap();
        let open = |accesses: [bool; 2]| {
            let disk = |(path, vdev, read_only): (&PathBuf, &str, bool)| {
                DiskConfig::named(path.clone(), vdev.to_owned(), read_only).unwrap()
            };
            let [first, second] = accesses;
            let configs = [(&path, "xvda", first), (&link, "xvdb", second)].map(disk);
            OpenDisks::open(&configs).map_err(|error| error.to_string())
        };
        assert_eq!(open([true, true]).unwrap().images().len(), 2);
        for accesses in [[true, false], [false, true], [false, false]] {
            let error = open(accesses).unwrap_err();
            assert!(error.starts_with("disks xvda and xvdb of the guest are the same"), "{error}");
            assert!(error.contains(&link.display().to_string()), "{error}");
        }
    }

    #[test]
    fn a_relative_target_is_in_dev_or_else_in_the_working_directory() {
        let dev = tempfile::tempdir().unwrap();
        let here = env::current_dir().unwrap();
        let find = |target: &str| find_target(dev.path(), target.as_ref());
        // Tests run in the folder of the crate.
        fs::create_dir(dev.path().join("src")).unwrap();
        fs::write(dev.path().join("src/lib.rs"), "").unwrap();
        assert_eq!(find("src/lib.rs").unwrap(), dev.path().join("src/lib.rs"));
        assert_eq!(find("Cargo.toml").unwrap(), here.join("Cargo.toml"));
        assert_eq!(find("./src/lib.rs").unwrap(), here.join("src/lib.rs"));
        assert_eq!(find("./none").unwrap(), here.join("none"));
        assert!(find("../none").unwrap().is_absolute());
        let error = find("none.img").unwrap_err().to_string();
        for part in [dev.path().join("none.img"), here.join("none.img")] {
            assert!(error.contains(&part.display().to_string()), "{error}");
        }
        for (target, absolute) in [("/none", "/none"), ("null", "/dev/null")] {
            let mut target = PathBuf::from(target);
            make_absolute(&mut target).unwrap();
            assert_eq!(target, Path::new(absolute));
        }
    }
}
