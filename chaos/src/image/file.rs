// SPDX-License-Identifier: GPL-3.0-or-later
//! Opens and reads files of kernels and ramdisks.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{FileType, OFlags, Stat, fstat};

use super::error::{ImageError, MAX_SIZE};
use super::room::{self, STEP};
use crate::found::open_checked;

/// Opens a regular file for reading. No device is opened, not even for a moment.
///
/// # Errors
/// It cannot be opened, is not a regular file, or is larger than [`MAX_SIZE`].
pub fn open(path: &Path) -> Result<File, ImageError> {
    open_with_key(path).map(|(file, _)| file)
}

/// Opens a regular file for reading, and returns its key from before that.
///
/// # Errors
/// As [`open`].
pub(super) fn open_with_key(path: &Path) -> Result<(File, ImageKey), ImageError> {
    open_checked(path, OFlags::NONBLOCK, ImageKey::of_stat, ImageError::Open)
}

/// Appends `count` bytes of a file, from `position` on.
///
/// # Errors
/// The file cannot be read, ends before them, or there is no memory for them, or too little of
/// dom0's would be left for others.
pub(super) fn append(
    bytes: &mut Vec<u8>,
    file: &File,
    position: u64,
    count: usize,
) -> Result<(), ImageError> {
    append_with(room::check, bytes, file, position, count)
}

fn append_with(
    check_room: fn() -> Result<(), u64>,
    bytes: &mut Vec<u8>,
    file: &File,
    mut position: u64,
    count: usize,
) -> Result<(), ImageError> {
    bytes.try_reserve_exact(count).map_err(|_| ImageError::NoMemory { size: count as u64 })?;
    let end = bytes.len() + count;
    while bytes.len() < end {
        let start = bytes.len();
        if start >= STEP {
            check_room().map_err(|available| ImageError::NoRoom { available })?;
        }
        let step = (end - start).min(STEP);
        bytes.resize(start + step, 0);
        file.read_exact_at(&mut bytes[start..], position).map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => ImageError::Changed,
            _ => ImageError::Read(error),
        })?;
        position += step as u64;
    }
    Ok(())
}

/// Identifies the content of a file by its metadata. A change within the same tick of the kernel's
/// clock (at most 10 ms) as the change before it goes unnoticed if it keeps the size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ImageKey {
    /// Device number of the file system.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// Size in bytes.
    pub size: u64,
    /// Time of the last change of its content, in nanoseconds since 1970. Its owner can set it to
    /// any value, as reproducible builds do.
    pub mtime_ns: i128,
    /// Time of the last change of its content or its metadata, likewise. Only the kernel sets it,
    /// so it differs even if another file with the same inode number, size and `mtime_ns` has taken
    /// the place of the former one.
    pub ctime_ns: i128,
}

impl ImageKey {
    /// Returns the key of an open file.
    ///
    /// # Errors
    /// Its metadata cannot be read, it is not a regular file, or it is larger than [`MAX_SIZE`].
    pub fn of(file: &File) -> Result<Self, ImageError> {
        // fstat takes Linux less time than statx, which the standard library uses. What statx adds
        // (the time of birth, the mount) cannot change without the ctime on a file system that is
        // written to.
        Self::of_stat(&fstat(file).map_err(|errno| ImageError::Read(errno.into()))?)
    }

    pub(super) fn of_stat(stat: &Stat) -> Result<Self, ImageError> {
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(ImageError::NotRegular);
        }
        let size = u64::try_from(stat.st_size).ok().filter(|size| *size <= MAX_SIZE);
        let size = size.ok_or(ImageError::TooLarge { what: "the file" })?;
        let time = |seconds: i64, ns| i128::from(seconds) * 1_000_000_000 + i128::from(ns);
        Ok(Self {
            dev: stat.st_dev,
            ino: stat.st_ino,
            size,
            mtime_ns: time(stat.st_mtime, stat.st_mtime_nsec),
            ctime_ns: time(stat.st_ctime, stat.st_ctime_nsec),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_with_holes_takes_no_memory_that_others_need() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(4 * STEP as u64).unwrap();
        file.write_all_at(b"end", 3 * STEP as u64).unwrap();
        let read = |check: fn() -> Result<(), u64>, position: usize, count: usize| {
            let mut bytes = vec![1];
            let result = append_with(check, &mut bytes, &file, position as u64, count);
            (result, bytes)
        };
        let (result, bytes) = read(|| Ok(()), 1, 3 * STEP + 2);
        assert!(result.is_ok() && bytes.len() == 3 * STEP + 3 && bytes.ends_with(b"end"));
        let (result, bytes) = read(|| Err(5), 0, 3 * STEP);
        assert!(matches!(result, Err(ImageError::NoRoom { available: 5 })), "{result:?}");
        assert_eq!(bytes.len(), 1 + STEP);
        assert!(read(|| Err(5), 0, STEP).0.is_ok(), "a small one needs no look");
        let (result, _) = read(|| Ok(()), 3 * STEP, STEP + 1);
        assert!(matches!(result, Err(ImageError::Changed)), "{result:?}");
    }
}
