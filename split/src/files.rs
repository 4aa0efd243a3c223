// SPDX-License-Identifier: GPL-3.0-or-later
//! The files that come with a create.

use std::fs::File;
use std::os::fd::OwnedFd;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use thiserror::Error;

/// The files of a create, `F` each.
#[derive(Debug)]
pub(crate) struct CreateFiles<F = File> {
    /// The kernel that Xen starts.
    pub(crate) kernel: F,
    /// The kernel that the PV shim starts, if that is the other one.
    pub(crate) pv_kernel: Option<F>,
    /// The ramdisk, if the config has one.
    pub(crate) ramdisk: Option<F>,
    /// The files behind all disks of the config, or none.
    pub(crate) disks: Vec<F>,
}

/// Which files a create has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WantedFiles {
    /// Whether the kernel is the PV shim, so that another one comes with it.
    pub(crate) pv_kernel: bool,
    /// Whether the config has a ramdisk.
    pub(crate) ramdisk: bool,
    /// The number of disks that may come, all or none.
    pub(crate) disks: usize,
}

/// Why the files cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum FilesError {
    /// There are too few or too many.
    #[error(
        "{found} files came with the request: must be {wanted}{}, the kernel, the PV kernel and the \
         ramdisk if the config has one{}",
        or_with_disks(*.wanted, *.disks),
        if *.disks > 0 { ", and all disks or none" } else { "" }
    )]
    Count {
        /// The number of files.
        found: usize,
        /// The expected number without disks.
        wanted: usize,
        /// The number of disks.
        disks: usize,
    },
    /// A file cannot be read.
    #[error("the file descriptor of the {0} must be opened for reading")]
    NotReadable(&'static str),
}

fn or_with_disks(wanted: usize, disks: usize) -> String {
    if disks > 0 { format!(" or {}", wanted + disks) } else { String::new() }
}

impl<F> CreateFiles<F> {
    /// Sorts the files of a request: the kernel, then the PV kernel and the ramdisk if the config
    /// has one, then all disks or none.
    ///
    /// # Errors
    /// There are too few or too many.
    pub(crate) fn sort(files: Vec<F>, wanted: WantedFiles) -> Result<Self, FilesError> {
        let WantedFiles { pv_kernel: has_pv_kernel, ramdisk: has_ramdisk, disks } = wanted;
        let wanted = 1 + usize::from(has_pv_kernel) + usize::from(has_ramdisk);
        let found = files.len();
        let mut files = files.into_iter();
        match files.next() {
            Some(kernel) if found == wanted || found == wanted + disks => {
                let pv_kernel = if has_pv_kernel { files.next() } else { None };
                let ramdisk = if has_ramdisk { files.next() } else { None };
                Ok(Self { kernel, pv_kernel, ramdisk, disks: files.collect() })
            }
            _ => Err(FilesError::Count { found, wanted, disks }),
        }
    }
}

impl CreateFiles {
    /// Takes the files of a request, as [`sort`](Self::sort) does. The disks are not checked.
    ///
    /// # Errors
    /// There are too few or too many, or the kernel or the ramdisk was not opened for reading.
    pub(crate) fn take(files: Vec<OwnedFd>, wanted: WantedFiles) -> Result<Self, FilesError> {
        let CreateFiles { kernel, pv_kernel, ramdisk, disks } = CreateFiles::sort(files, wanted)?;
        let read = |file, what| readable(file).ok_or(FilesError::NotReadable(what));
        let kernel = read(kernel, "kernel")?;
        let pv_kernel = pv_kernel.map(|file| read(file, "PV kernel")).transpose()?;
        let ramdisk = ramdisk.map(|file| read(file, "ramdisk")).transpose()?;
        Ok(Self { kernel, pv_kernel, ramdisk, disks: disks.into_iter().map(File::from).collect() })
    }
}

/// Returns the file, if it was opened for reading.
fn readable(file: OwnedFd) -> Option<File> {
    let flags = OFlag::from_bits_truncate(fcntl(&file, FcntlArg::F_GETFL).ok()?);
    // `O_RDONLY` is 0, also for a file that was opened with `O_PATH` and cannot be read.
    let reads = matches!(flags & OFlag::O_ACCMODE, OFlag::O_RDONLY | OFlag::O_RDWR);
    (reads && !flags.contains(OFlag::O_PATH)).then(|| File::from(file))
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::os::unix::fs::OpenOptionsExt;

    use super::*;

    fn file(options: &mut OpenOptions) -> OwnedFd {
        options.open("/dev/null").unwrap().into()
    }

    fn read_only() -> OwnedFd {
        file(OpenOptions::new().read(true))
    }

    fn take(files: Vec<OwnedFd>, ramdisk: bool) -> Result<bool, FilesError> {
        let wanted = WantedFiles { pv_kernel: false, ramdisk, disks: 0 };
        CreateFiles::take(files, wanted).map(|files| files.ramdisk.is_some())
    }

    #[test]
    fn a_create_has_a_kernel_and_a_ramdisk_if_the_config_has_one() {
        assert_eq!(take(vec![read_only()], false), Ok(false));
        assert_eq!(take(vec![read_only(), read_only()], true), Ok(true));
        for (found, has_ramdisk) in [(0, false), (2, false), (0, true), (1, true), (3, true)] {
            let files = (0..found).map(|_| read_only()).collect();
            let wanted = 1 + usize::from(has_ramdisk);
            let error = FilesError::Count { found, wanted, disks: 0 };
            assert_eq!(take(files, has_ramdisk), Err(error));
        }
    }

    #[test]
    fn all_disks_come_or_none() {
        let sort = |files: &[u32], ramdisk, disks| {
            CreateFiles::sort(files.to_vec(), WantedFiles { pv_kernel: false, ramdisk, disks })
                .map(|CreateFiles { kernel, ramdisk, disks, .. }| (kernel, ramdisk, disks))
        };
        assert_eq!(sort(&[1], false, 2), Ok((1, None, vec![])));
        assert_eq!(sort(&[1, 2, 3], false, 2), Ok((1, None, vec![2, 3])));
        assert_eq!(sort(&[1, 2], true, 1), Ok((1, Some(2), vec![])));
        assert_eq!(sort(&[1, 2, 3, 4], true, 2), Ok((1, Some(2), vec![3, 4])));
        for (files, ramdisk, disks, says) in [
            (&[1, 2][..], false, 2, "2 files came with the request: must be 1 or 3, the"),
            (&[1, 2, 3, 4], false, 2, "4 files came with the request: must be 1 or 3, the"),
            (&[], false, 1, "0 files came with the request: must be 1 or 2, the"),
            (&[1], true, 1, "1 files came with the request: must be 2 or 3, the"),
            (&[1, 2, 3], true, 0, "3 files came with the request: must be 2, the"),
        ] {
            let error = sort(files, ramdisk, disks).unwrap_err().to_string();
            assert!(error.starts_with(says), "{error}");
            assert_eq!(error.ends_with("and all disks or none"), disks > 0, "{error}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_is_refused() {
        let both = file(OpenOptions::new().read(true).write(true));
        assert_eq!(take(vec![both], false), Ok(false));
        let path_only = file(OpenOptions::new().read(true).custom_flags(nix::libc::O_PATH));
        assert_eq!(take(vec![path_only], false), Err(FilesError::NotReadable("kernel")));
        let write_only = file(OpenOptions::new().write(true));
        let files = vec![read_only(), write_only];
        assert_eq!(take(files, true), Err(FilesError::NotReadable("ramdisk")));
    }

    #[test]
    fn the_pv_kernel_comes_behind_the_shim() {
        let wanted = WantedFiles { pv_kernel: true, ramdisk: true, disks: 1 };
        let files = CreateFiles::sort(vec![1, 2, 3, 4], wanted).unwrap();
        assert_eq!((files.kernel, files.pv_kernel, files.ramdisk), (1, Some(2), Some(3)));
        assert_eq!(files.disks, [4]);
        assert!(CreateFiles::sort(vec![1, 2], wanted).is_err());
    }
}
