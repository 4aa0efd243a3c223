// SPDX-License-Identifier: GPL-3.0-or-later
//! Files on storage that may not answer.
//!
//! What asks the storage must not be called in the event loop: it would stop all guests. So threads
//! read and write, unless the file system keeps its promise not to wait, and close files: file systems
//! may write what is left then, or ask a server, and the last close of a block device writes, too.

use std::fmt;
use std::fs::File;
use std::io::{self, IoSliceMut};
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, OnceLock};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use noxs_control::DiskIdentity;
use rustix::io::ReadWriteFlags;

use super::workers::Workers;

/// Closes the files of this process; before there are any threads, files are closed at once.
static CLOSES: OnceLock<Arc<Workers>> = OnceLock::new();

/// What is taken to be one storage, which answers or does not. Volumes and partitions of one device
/// count as several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Storage {
    /// The file system with this number.
    FileSystem(u64),
    /// The block device with this number.
    BlockDevice(u64),
    /// Not known: a request is refused before it is.
    Unknown,
}

impl Storage {
    /// Returns the storage of the file behind a disk, if the disk is known.
    pub(super) fn of(owner: Option<Owner>) -> Self {
        match owner.map(|owner| owner.identity) {
            Some(DiskIdentity::File { device, .. }) => Self::FileSystem(device),
            Some(DiskIdentity::BlockDevice { number }) => Self::BlockDevice(number),
            None => Self::Unknown,
        }
    }
}

/// A file that is closed in a thread when it is dropped, unless that takes no time.
pub struct StorageFile {
    /// `None` only while it is dropped.
    file: Option<File>,
    owner: Option<Owner>,
    is_quick: bool,
}

/// The disk that a file is behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// What the file is.
    pub identity: DiskIdentity,
    /// Whether the disk only reads it.
    pub read_only: bool,
}

impl From<File> for StorageFile {
    fn from(file: File) -> Self {
        Self { file: Some(file), owner: None, is_quick: false }
    }
}

impl StorageFile {
    /// Makes it the file behind a disk.
    #[must_use]
    pub fn behind(mut self, owner: Owner) -> Self {
        self.is_quick = is_quick(&self);
        self.owner = Some(owner);
        self
    }

    /// Returns the storage that it is on.
    #[must_use]
    pub fn storage(&self) -> Storage {
        Storage::of(self.owner)
    }

    /// Returns whether closing it does not ask the storage: it is on a local file system.
    fn closes_at_once(&self) -> bool {
        let is_file = |owner: Owner| matches!(owner.identity, DiskIdentity::File { .. });
        self.is_quick && self.owner.is_some_and(is_file)
    }

    /// Returns whether the kernel does not wait for the storage when it is asked not to.
    #[must_use]
    pub fn is_quick(&self) -> bool {
        self.is_quick
    }
}

impl Deref for StorageFile {
    type Target = File;

    fn deref(&self) -> &File {
        match &self.file {
            Some(file) => file,
            None => unreachable!("only `drop` takes the file"),
        }
    }
}

impl AsFd for StorageFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        (**self).as_fd()
    }
}

impl fmt::Debug for StorageFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.file.fmt(f)
    }
}

impl Drop for StorageFile {
    fn drop(&mut self) {
        let Some(file) = self.file.take() else { return };
        match CLOSES.get() {
            Some(workers) if !self.closes_at_once() => workers.close(file, self.owner),
            _ => drop(file),
        }
    }
}

/// Has all files of this process closed by these threads from now on.
pub(super) fn close_in(workers: &Arc<Workers>) {
    // A second engine, of a test, leaves it to the first.
    let _ = CLOSES.set(Arc::clone(workers));
}

/// Returns whether a file is being closed whose disk is one of these: it is locked until then.
pub fn is_closing(of: impl Fn(Owner) -> bool) -> bool {
    CLOSES.get().is_some_and(|workers| workers.is_closing(of))
}

/// Returns whether a read that must not wait is possible. Neither call asks the storage: Linux refuses
/// the flag for file systems that would ignore it, such as FUSE and NFS, though io_uring does not. It
/// refuses it for older tmpfs, too, which never waits, and whose files are those that have seals.
fn is_quick(file: &File) -> bool {
    if fcntl(file, FcntlArg::F_GET_SEALS).is_ok() {
        return true;
    }
    let mut byte = [0];
    let read =
        rustix::io::preadv2(file, &mut [IoSliceMut::new(&mut byte)], 0, ReadWriteFlags::NOWAIT);
    !matches!(read.map_err(io::Error::from), Err(error)
        if error.raw_os_error() == Some(Errno::EOPNOTSUPP as i32))
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;

    use nix::sys::memfd::{MFdFlags, memfd_create};

    use super::*;

    #[test]
    fn only_file_systems_that_do_not_wait_are_quick() {
        let in_memory = memfd_create(c"disk", MFdFlags::MFD_CLOEXEC).unwrap();
        assert!(is_quick(&File::from(in_memory)));
        // proc has no flag for that, as FUSE and NFS have none.
        assert!(!is_quick(&File::open("/proc/self/status").unwrap()));
        // That no data has come yet does not mean that the kernel would wait.
        let (reader, _writer) = io::pipe().unwrap();
        assert!(is_quick(&File::from(OwnedFd::from(reader))));
    }
}
