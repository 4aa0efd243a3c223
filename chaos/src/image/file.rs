// SPDX-License-Identifier: GPL-3.0-or-later
//! Opens and reads files of kernels and ramdisks.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{FileType, Stat, fstat};

use super::error::{ImageError, MAX_SIZE};

/// Opens a file for reading. Does not block if it is a pipe without a writer.
///
/// # Errors
/// It cannot be opened.
pub fn open(path: &Path) -> Result<File, ImageError> {
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)
        .map_err(ImageError::Open)
}

/// Reads up to `size + 1` bytes from the beginning of a file, so that the caller notices that it
/// has grown.
///
/// # Errors
/// It cannot be read.
pub(super) fn read(mut file: &File, size: u64) -> Result<Vec<u8>, ImageError> {
    let capacity = usize::try_from(size).map_err(|_| ImageError::TooLarge { what: "the file" })?;
    let mut bytes = Vec::with_capacity(capacity.saturating_add(1));
    file.rewind().map_err(ImageError::Read)?;
    file.take(size.saturating_add(1)).read_to_end(&mut bytes).map_err(ImageError::Read)?;
    Ok(bytes)
}

/// Identifies the content of a file by its metadata. A change that keeps size and time goes
/// unnoticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ImageKey {
    /// Device number of the file system.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// Size in bytes.
    pub size: u64,
    /// Time of the last change of its content, in nanoseconds since 1970.
    pub mtime_ns: i128,
}

impl ImageKey {
    /// Returns the key of an open file.
    ///
    /// # Errors
    /// Its metadata cannot be read, it is not a regular file, or it is larger than [`MAX_SIZE`].
    pub fn of(file: &File) -> Result<Self, ImageError> {
        // fstat takes Linux a quarter of the time of statx, which the standard library uses.
        Self::of_stat(&fstat(file).map_err(|errno| ImageError::Read(errno.into()))?)
    }

    pub(super) fn of_stat(stat: &Stat) -> Result<Self, ImageError> {
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(ImageError::NotRegular);
        }
        let size = u64::try_from(stat.st_size).ok().filter(|size| *size <= MAX_SIZE);
        let size = size.ok_or(ImageError::TooLarge { what: "the file" })?;
        Ok(Self {
            dev: stat.st_dev,
            ino: stat.st_ino,
            size,
            mtime_ns: i128::from(stat.st_mtime) * 1_000_000_000 + i128::from(stat.st_mtime_nsec),
        })
    }
}
