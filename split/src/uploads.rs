// SPDX-License-Identifier: GPL-3.0-or-later
//! Files that users other than root have uploaded.
//!
//! Such a user passes no descriptor: every operation on a file of a FUSE file system, even closing
//! it, waits for the file system's server, which the user controls, and a thread that waits there
//! cannot be killed. So `chaosd` takes bytes, and keeps them in memory of its own.

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::rc::{Rc, Weak};

use nix::sys::memfd::{MFdFlags, memfd_create};

/// A file of a user, in memory. Dropping the last reference frees it.
#[derive(Debug)]
pub struct UploadedFile {
    file: File,
    uid: u32,
    length: u64,
    /// Number of bytes that have arrived.
    arrived: Cell<u64>,
}

/// All uploaded files that are still in use.
#[derive(Debug, Default)]
pub struct Uploads(Vec<Weak<UploadedFile>>);

/// Why a file cannot be uploaded.
#[derive(Debug, thiserror::Error)]
pub enum UploadProblem {
    /// It has no bytes.
    #[error("the file is empty")]
    Empty,
    /// The user's files would take too much memory.
    #[error(
        "upload of {} KiB: chaosd holds {} KiB of files for user {uid}, and at most {} KiB \
         (files= in [members] of chaosd.toml); destroy guests that restart, or ask root for more",
        length.div_ceil(1024), held.div_ceil(1024), limit / 1024
    )]
    Quota {
        /// The user.
        uid: u32,
        /// The length of the file in bytes.
        length: u64,
        /// What is held, in bytes.
        held: u64,
        /// The most bytes.
        limit: u64,
    },
    /// The kernel has no memory.
    #[error("cannot keep the file in memory")]
    Memory(#[source] io::Error),
}

impl Uploads {
    /// Begins an upload of `length` bytes by a user who may have `limit` bytes in all.
    ///
    /// # Errors
    /// The file is empty or the user has too many, or there is no memory.
    pub fn begin(
        &mut self,
        uid: u32,
        length: u64,
        limit: u64,
    ) -> Result<Rc<UploadedFile>, UploadProblem> {
        if length == 0 {
            return Err(UploadProblem::Empty);
        }
        self.0.retain(|file| file.strong_count() > 0);
        let held = self.files().filter(|file| file.uid == uid).map(|file| file.length).sum();
        if u64::saturating_add(held, length) > limit {
            return Err(UploadProblem::Quota { uid, length, held, limit });
        }
        let file = memfd_create(c"chaosd-upload", MFdFlags::MFD_CLOEXEC)
            .map_err(|errno| UploadProblem::Memory(errno.into()))?;
        let file = Rc::new(UploadedFile { file: file.into(), uid, length, arrived: Cell::new(0) });
        self.0.push(Rc::downgrade(&file));
        Ok(file)
    }

    /// Returns the file with the same content that the user has uploaded before, if there is one,
    /// and otherwise the file itself: guests that boot from the same kernel share one copy.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn shared(&self, file: Rc<UploadedFile>) -> io::Result<Rc<UploadedFile>> {
        for other in self.files() {
            let comparable = !Rc::ptr_eq(&other, &file) && other.is_complete();
            if comparable
                && (other.uid, other.length) == (file.uid, file.length)
                && same_content(&other, &file)?
            {
                return Ok(other);
            }
        }
        Ok(file)
    }

    fn files(&self) -> impl Iterator<Item = Rc<UploadedFile>> {
        self.0.iter().filter_map(Weak::upgrade)
    }
}

impl UploadedFile {
    /// Returns the file, to be read.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Appends bytes. Returns `false` if the file would be longer than was announced.
    ///
    /// # Errors
    /// There is no memory.
    pub fn append(&self, bytes: &[u8]) -> io::Result<bool> {
        let arrived = self.arrived.get();
        if bytes.len() as u64 > self.length - arrived {
            return Ok(false);
        }
        self.file.write_all_at(bytes, arrived)?;
        self.arrived.set(arrived + bytes.len() as u64);
        Ok(true)
    }

    /// Returns whether all bytes have arrived.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.arrived.get() == self.length
    }
}

/// Compares two files of the same length.
fn same_content(one: &UploadedFile, other: &UploadedFile) -> io::Result<bool> {
    const STEP: usize = 64 * 1024;
    let (mut a, mut b) = (vec![0; STEP], vec![0; STEP]);
    let mut position = 0;
    while position < one.length {
        let step = usize::try_from(one.length - position).unwrap_or(STEP).min(STEP);
        one.file.read_exact_at(&mut a[..step], position)?;
        other.file.read_exact_at(&mut b[..step], position)?;
        if a[..step] != b[..step] {
            return Ok(false);
        }
        position += step as u64;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upload(uploads: &mut Uploads, uid: u32, bytes: &[u8]) -> Rc<UploadedFile> {
        let file = uploads.begin(uid, bytes.len() as u64, 100).unwrap();
        assert!(!file.is_complete());
        let (one, two) = bytes.split_at(bytes.len() / 2);
        assert!(file.append(one).unwrap() && file.append(two).unwrap());
        assert!(file.is_complete() && !file.append(b"x").unwrap(), "longer than announced");
        uploads.shared(file).unwrap()
    }

    #[test]
    fn the_bytes_of_each_user_are_limited_until_they_are_freed() {
        let mut uploads = Uploads::default();
        let first = upload(&mut uploads, 7, &[1; 60]);
        let over = uploads.begin(7, 41, 100).unwrap_err();
        assert!(matches!(over, UploadProblem::Quota { uid: 7, held: 60, limit: 100, .. }));
        let other = upload(&mut uploads, 8, &[1; 60]);
        let pending = uploads.begin(7, 40, 100).unwrap();
        assert!(uploads.begin(7, 1, 100).is_err(), "an upload that has begun counts");
        drop(pending);
        drop(first);
        assert!(uploads.begin(7, 100, 100).is_ok());
        drop(other);
        assert!(matches!(uploads.begin(7, 0, 100), Err(UploadProblem::Empty)));
        assert!(matches!(uploads.begin(7, u64::MAX, 100), Err(UploadProblem::Quota { .. })));
    }

    #[test]
    fn the_same_bytes_of_one_user_are_held_once() {
        let mut uploads = Uploads::default();
        let first = upload(&mut uploads, 7, b"kernel");
        assert!(Rc::ptr_eq(&first, &upload(&mut uploads, 7, b"kernel")));
        assert!(!Rc::ptr_eq(&first, &upload(&mut uploads, 7, b"kerneL")));
        assert!(!Rc::ptr_eq(&first, &upload(&mut uploads, 8, b"kernel")), "users do not share");
        let incomplete = uploads.begin(7, 6, 100).unwrap();
        incomplete.append(b"ker").unwrap();
        assert!(Rc::ptr_eq(&first, &upload(&mut uploads, 7, b"kernel")));
    }
}
