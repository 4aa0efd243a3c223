// SPDX-License-Identifier: GPL-3.0-or-later
//! The files that come with a create.

use std::fs::File;
use std::os::fd::OwnedFd;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use thiserror::Error;

/// The files of a create, `F` each.
#[derive(Debug)]
pub(crate) struct CreateFiles<F = File> {
    /// The kernel.
    pub(crate) kernel: F,
    /// The ramdisk, if the config has one.
    pub(crate) ramdisk: Option<F>,
}

/// Why the files cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum FilesError {
    /// There are too few or too many.
    #[error(
        "{found} files came with the request: must be {wanted}, the kernel and the ramdisk if the \
         config has one"
    )]
    Count {
        /// The number of files.
        found: usize,
        /// The expected number.
        wanted: usize,
    },
    /// A file cannot be read.
    #[error("the file descriptor of the {0} must be opened for reading")]
    NotReadable(&'static str),
}

impl<F> CreateFiles<F> {
    /// Sorts the files of a request: the kernel, then the ramdisk if the config has one.
    ///
    /// # Errors
    /// There are too few or too many.
    pub(crate) fn sort(files: Vec<F>, has_ramdisk: bool) -> Result<Self, FilesError> {
        let (found, wanted) = (files.len(), 1 + usize::from(has_ramdisk));
        let mut files = files.into_iter();
        match (files.next(), files.next()) {
            (Some(kernel), ramdisk) if found == wanted => Ok(Self { kernel, ramdisk }),
            _ => Err(FilesError::Count { found, wanted }),
        }
    }
}

impl CreateFiles {
    /// Takes the files of a request, as [`sort`](Self::sort) does.
    ///
    /// # Errors
    /// There are too few or too many, or one was not opened for reading.
    pub(crate) fn take(files: Vec<OwnedFd>, has_ramdisk: bool) -> Result<Self, FilesError> {
        let CreateFiles { kernel, ramdisk } = CreateFiles::sort(files, has_ramdisk)?;
        let kernel = readable(kernel).ok_or(FilesError::NotReadable("kernel"))?;
        let ramdisk = ramdisk
            .map(|file| readable(file).ok_or(FilesError::NotReadable("ramdisk")))
            .transpose()?;
        Ok(Self { kernel, ramdisk })
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

    fn take(files: Vec<OwnedFd>, has_ramdisk: bool) -> Result<bool, FilesError> {
        CreateFiles::take(files, has_ramdisk).map(|files| files.ramdisk.is_some())
    }

    #[test]
    fn a_create_has_a_kernel_and_a_ramdisk_if_the_config_has_one() {
        assert_eq!(take(vec![read_only()], false), Ok(false));
        assert_eq!(take(vec![read_only(), read_only()], true), Ok(true));
        for (found, has_ramdisk) in [(0, false), (2, false), (0, true), (1, true), (3, true)] {
            let files = (0..found).map(|_| read_only()).collect();
            let wanted = 1 + usize::from(has_ramdisk);
            assert_eq!(take(files, has_ramdisk), Err(FilesError::Count { found, wanted }));
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
}
