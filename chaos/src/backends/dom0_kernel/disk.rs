// SPDX-License-Identifier: GPL-3.0-or-later
//! Opens disks for dom0's blkback, which takes only block devices. A file gets a loop device.
//!
//! `unsafe` is needed for the ioctls of the loop devices.
#![allow(unsafe_code)]

use std::ffi::c_int;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::stat::{major, minor};
use noxs_control::{DiskIdentity, DiskImage, DiskInUse};
use thiserror::Error;

use crate::announce::DiskNodes;
use crate::backends::DevicesError;
use crate::config::DiskConfig;
use crate::records::Records;

/// The device that returns the numbers of free loop devices.
const LOOP_CONTROL: &str = "/dev/loop-control";

/// `linux/loop.h`: the ioctls, and the size and the offsets of `struct loop_config`.
const LOOP_CONFIGURE: u32 = 0x4c0a;
const LOOP_CTL_GET_FREE: u32 = 0x4c82;
const CONFIG_SIZE: usize = 304;
const CONFIG_FD: usize = 0;
const CONFIG_FLAGS: usize = 8 + 52;
const CONFIG_NAME: usize = 8 + 56;
const NAME_SIZE: usize = 64;
const LO_FLAGS_READ_ONLY: u32 = 1;
const LO_FLAGS_AUTOCLEAR: u32 = 4;

nix::ioctl_none_bad!(get_free, LOOP_CTL_GET_FREE);
nix::ioctl_write_ptr_bad!(configure, LOOP_CONFIGURE, [u8; CONFIG_SIZE]);

/// Why a disk cannot be used.
#[derive(Debug, Error)]
pub enum DiskError {
    /// Another guest or program has locked it.
    #[error("disk {path} is in use by another guest or program; destroy or stop that one first")]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// noxsd serves it to a guest, or will when it runs again.
    #[error("{0}; destroy that domain first")]
    Served(DiskInUse),
    /// There is no loop device for it.
    #[error("cannot set up a loop device for disk {path}; load the module: modprobe loop")]
    Loop {
        /// The file.
        path: PathBuf,
        /// The kernel's error.
        #[source]
        source: io::Error,
    },
}

/// A disk that is ready for blkback.
///
/// A loop device is released when its last user closes it. Drop this value only after blkback has
/// opened the device; blkback then keeps it open until the guest's disk is removed.
#[derive(Debug)]
pub struct Disk {
    /// Its number in the guest.
    pub id: u32,
    /// Its name in the guest, such as `xvda`.
    pub vdev: String,
    /// Whether the guest may only read it.
    pub read_only: bool,
    path: String,
    rdev: u64,
    _open: File,
}

impl Disk {
    /// Locks an open disk, and puts it behind a loop device if it is a file.
    ///
    /// # Errors
    /// Another guest or program has locked it, or there is no loop device for it.
    pub(super) fn of(
        config: &DiskConfig,
        image: &DiskImage,
        file: BorrowedFd<'_>,
    ) -> Result<Self, DiskError> {
        let path = &config.target;
        let failed = |source| DiskError::Loop { path: path.clone(), source };
        // A loop device keeps what the descriptor refers to, and with it the lock.
        if !disk::lock(&file, config.read_only).map_err(failed)? {
            return Err(DiskError::InUse { path: path.clone() });
        }
        let (path, open) = match image.identity {
            // A device that is claimed (`O_EXCL`) can be opened by the kernel, but not claimed again: so
            // the same description is kept.
            DiskIdentity::BlockDevice { .. } => {
                (PathBuf::from(&image.path), file.try_clone_to_owned().map_err(failed)?.into())
            }
            DiskIdentity::File { .. } => attach(file, path, config.read_only).map_err(failed)?,
        };
        let rdev = open.metadata().map_err(failed)?.rdev();
        Ok(Self {
            id: config.id,
            vdev: config.vdev.clone(),
            read_only: config.read_only,
            path: path.to_string_lossy().into_owned(),
            rdev,
            _open: open,
        })
    }

    /// Returns its description for XenStore.
    pub(super) fn nodes(&self) -> DiskNodes<'_> {
        DiskNodes {
            id: self.id,
            vdev: &self.vdev,
            read_only: self.read_only,
            device: (major(self.rdev), minor(self.rdev)),
            path: &self.path,
        }
    }
}

/// Checks that no guest with a device page has one of these disks, if one of both writes it. noxsd
/// locks its disks, but while it is being restarted they are not locked.
///
/// # Errors
/// [`DiskError::Served`], or the records cannot be listed.
pub(super) fn check_unserved(records: &Records, wanted: &[DiskImage]) -> Result<(), DevicesError> {
    if wanted.is_empty() {
        return Ok(());
    }
    for domid in records.domids()? {
        let Some(attach) = records.devices(domid)? else { continue };
        for image in attach.vbds.iter().filter_map(|vbd| vbd.image.as_ref()) {
            let is_same =
                |wanted: &&DiskImage| wanted.excludes(image.identity, image.geometry.read_only);
            if let Some(wanted) = wanted.iter().find(is_same) {
                let in_use = DiskInUse { path: wanted.path.clone(), domid: Some(domid.0) };
                return Err(DiskError::Served(in_use).into());
            }
        }
    }
    Ok(())
}

/// Sets up a free loop device for a file, and returns it open.
fn attach(file: BorrowedFd<'_>, path: &Path, read_only: bool) -> io::Result<(PathBuf, File)> {
    let control = OpenOptions::new().read(true).write(true).open(LOOP_CONTROL)?;
    let mut config = [0; CONFIG_SIZE];
    let fd = file.as_raw_fd().cast_unsigned();
    config[CONFIG_FD..CONFIG_FD + 4].copy_from_slice(&fd.to_ne_bytes());
    let flags = LO_FLAGS_AUTOCLEAR | if read_only { LO_FLAGS_READ_ONLY } else { 0 };
    config[CONFIG_FLAGS..CONFIG_FLAGS + 4].copy_from_slice(&flags.to_ne_bytes());
    // The name that `losetup` shows, terminated by a zero byte.
    let name = path.as_os_str().as_encoded_bytes();
    let length = name.len().min(NAME_SIZE - 1);
    config[CONFIG_NAME..CONFIG_NAME + length].copy_from_slice(&name[..length]);
    loop {
        // SAFETY: `LOOP_CTL_GET_FREE` takes no argument, so the kernel accesses no memory of this
        // process, and `control` keeps the descriptor open during the call.
        let number: c_int = unsafe { get_free(control.as_raw_fd()) }?;
        let device = PathBuf::from(format!("/dev/loop{number}"));
        let open = OpenOptions::new().read(true).write(!read_only).open(&device)?;
        // SAFETY: `LOOP_CONFIGURE` reads a `struct loop_config` from its argument and writes
        // nothing. `config` has the size of that struct and is borrowed until the call returns. The
        // descriptors are open: `open` owns one, and `file` borrows the one that is stored in `config`.
        match unsafe { configure(open.as_raw_fd(), &raw const config) } {
            Ok(_) => return Ok((device, open)),
            // Another process has taken this device since: get the next one.
            Err(Errno::EBUSY) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use noxs::Geometry;
    use noxs_control::{Attach, DomainId, VbdDevice};
    use xen::units::DomId;

    use super::*;

    fn image(inode: u64, read_only: bool) -> DiskImage {
        let geometry =
            Geometry { sectors: 8, sector_size: 512, physical_sector_size: 512, read_only };
        let identity = DiskIdentity::File { device: 1, inode };
        DiskImage { path: "/disk".to_owned(), identity, geometry, discard: None }
    }

    #[test]
    fn a_disk_of_a_guest_with_a_device_page_is_refused_also_while_noxsd_does_not_run() {
        let folder = tempfile::tempdir().unwrap();
        let records = Records::at(folder.path().to_owned());
        for (domid, image) in [(3, image(30, false)), (4, image(40, true))] {
            records.make_folder(DomId(domid)).unwrap();
            let vbd = VbdDevice { index: 0, port: 1, ring: 8, image: Some(image) };
            let id = DomainId { domid, handle: [1; 16] };
            let attach = Attach { id, console: None, vifs: Vec::new(), vbds: vec![vbd] };
            records.write_devices(&attach).unwrap();
        }
        let check = |inode, read_only| {
            let checked = check_unserved(&records, &[image(inode, read_only)]);
            checked.map_err(|error| error.to_string())
        };
        let refused = "disk /disk is in use by domain 3; destroy that domain first";
        assert_eq!(check(30, true), Err(refused.to_owned()));
        assert!(check(30, false).is_err() && check(40, false).is_err());
        assert_eq!((check(40, true), check(50, false)), (Ok(()), Ok(())));
    }
}
