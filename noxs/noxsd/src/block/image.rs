// SPDX-License-Identifier: GPL-3.0-or-later
//! The file or block device behind a disk.

use std::io;
use std::sync::Arc;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::resource::{Resource, getrlimit};
use noxs::{Discard, Geometry};
use noxs_control::{DiskIdentity, DiskImage, Refusal};

use crate::host::file_io::storage::{Owner, StorageFile};

/// An open, locked file or block device.
#[derive(Debug)]
pub struct Image {
    pub(super) file: Arc<StorageFile>,
    /// Its path, for messages.
    pub(super) path: Box<str>,
    /// What it is.
    pub identity: DiskIdentity,
    pub(crate) geometry: Geometry,
    pub(super) discard: Option<Discard>,
}

/// Why a file cannot be a disk.
#[derive(Debug)]
pub enum ImageError {
    /// The file is locked otherwise.
    Locked,
    /// It cannot be used.
    Refused(Refusal),
}

impl Image {
    /// Checks that the file is open as the request says, and locks it. What it is, and how large, only
    /// root can have said: the storage is not asked, because it may not answer.
    ///
    /// # Errors
    /// It is not open as the disk needs it, or is locked.
    pub fn new(request: &DiskImage, file: StorageFile) -> Result<Self, ImageError> {
        let image = Self::locked(request, file).map_err(ImageError::Refused)?;
        match disk::lock(&image.file, image.geometry.read_only) {
            Ok(true) => Ok(image),
            Ok(false) => Err(ImageError::Locked),
            Err(error) => Err(ImageError::Refused(Refusal::System {
                what: format!("lock disk {}", image.path),
                errno: error.to_string(),
            })),
        }
    }

    /// As [`new`](Self::new), for a file that is locked already.
    ///
    /// # Errors
    /// It is not open as the disk needs it.
    pub fn locked(request: &DiskImage, file: StorageFile) -> Result<Self, Refusal> {
        let DiskImage { path, identity, geometry, discard } = request;
        let invalid = |what: &str| Refusal::Invalid(format!("disk {path} {what}"));
        let system = |what: &str| {
            let what = format!("{what} disk {path}");
            move |error: io::Error| Refusal::System { what, errno: error.to_string() }
        };
        let sectors_are_valid = geometry.is_valid()
            && geometry.sectors > 0
            && i64::try_from(geometry.sectors.saturating_mul(Geometry::SECTOR.into())).is_ok();
        if !sectors_are_valid || discard.is_some_and(|d| !d.is_valid(geometry.sector_size)) {
            return Err(invalid("has an impossible size, sector size or unit of discards"));
        }
        let flags = fcntl(&file, FcntlArg::F_GETFL).map_err(|e| system("inspect")(e.into()))?;
        let flags = OFlag::from_bits_retain(flags);
        let access = flags & OFlag::O_ACCMODE;
        let is_open = match geometry.read_only {
            true => access != OFlag::O_WRONLY,
            false => access == OFlag::O_RDWR,
        };
        if !is_open || flags.contains(OFlag::O_APPEND) {
            return Err(invalid("is not open as the guest may use it"));
        }
        if flags.contains(OFlag::O_NONBLOCK) {
            // An older chaos passes such descriptors. io_uring would answer EAGAIN where the storage
            // cannot say whether it has to wait (Linux `io_rw_init_file`; dm-crypt, dm-thin).
            fcntl(&file, FcntlArg::F_SETFL(flags - OFlag::O_NONBLOCK))
                .map_err(|errno| system("inspect")(errno.into()))?;
        }
        let size = geometry.sectors * u64::from(Geometry::SECTOR);
        if !geometry.read_only && matches!(identity, DiskIdentity::File { .. }) {
            // The kernel would kill noxsd for a write beyond the limit.
            let (most, _) = getrlimit(Resource::RLIMIT_FSIZE)
                .map_err(|errno| system("learn the largest file of noxsd for")(errno.into()))?;
            if size > most {
                return Err(invalid(&format!(
                    "has {size} bytes, and noxsd may write files of {most} at most: its limit \
                     (RLIMIT_FSIZE) was not lifted"
                )));
            }
        }
        let (geometry, discard, identity) = (*geometry, *discard, *identity);
        let file = file.behind(Owner { identity, read_only: geometry.read_only });
        Ok(Self { file: Arc::new(file), path: path.as_str().into(), identity, geometry, discard })
    }
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::os::unix::fs::OpenOptionsExt;

    use super::*;

    #[test]
    fn a_descriptor_of_an_older_chaos_waits_for_reads_and_writes() {
        let image = tempfile::NamedTempFile::new().unwrap();
        image.as_file().set_len(512).unwrap();
        let geometry =
            Geometry { sectors: 1, sector_size: 512, physical_sector_size: 512, read_only: false };
        let request = DiskImage {
            path: "/disk".to_owned(),
            identity: DiskIdentity::BlockDevice { number: 1 },
            geometry,
            discard: None,
        };
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags(OFlag::O_NONBLOCK.bits());
        let file = options.open(image.path()).unwrap();
        let image = Image::new(&request, file.into()).unwrap();
        let flags = OFlag::from_bits_retain(fcntl(&image.file, FcntlArg::F_GETFL).unwrap());
        assert_eq!(flags & (OFlag::O_ACCMODE | OFlag::O_NONBLOCK), OFlag::O_RDWR, "{flags:?}");
    }
}
