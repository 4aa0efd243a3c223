// SPDX-License-Identifier: GPL-3.0-or-later
//! Files that users other than root have uploaded.
//!
//! Such a user passes no descriptor: every operation on a file of a FUSE file system, even closing
//! it, waits for the file system's server, which the user controls, and a thread that waits there
//! cannot be killed. So `chaosd` takes bytes, and keeps them in memory of its own.
//!
//! The thread of the user's connection writes and compares the files; only [`Uploads`] is shared.

use std::fs::File;
use std::hash::{BuildHasher, DefaultHasher, Hasher, RandomState};
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::settings::MemberLimits;

/// A file of a user, in memory. Dropping the last reference frees it.
#[derive(Debug)]
pub struct UploadedFile {
    file: File,
    uid: u32,
    length: u64,
    /// The keyed hash of its bytes, once all have arrived.
    digest: OnceLock<u64>,
}

/// A file that is being uploaded.
#[derive(Debug)]
pub struct Upload {
    file: Arc<UploadedFile>,
    /// Number of bytes that have arrived.
    arrived: u64,
    hasher: DefaultHasher,
}

/// All uploaded files that are still in use.
#[derive(Debug, Default)]
pub struct Uploads {
    files: Mutex<Vec<Weak<UploadedFile>>>,
    /// The key of the hashes. No user knows it, so none can make files that are compared in vain.
    key: RandomState,
}

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
    /// The files of all users together would take too much memory.
    #[error(
        "upload of {} KiB: chaosd holds {} KiB of files for all users, and at most {} KiB \
         (all_files= in [members] of chaosd.toml); try again when guests of others have ended, or \
         ask root for more",
        length.div_ceil(1024), held.div_ceil(1024), limit / 1024
    )]
    Total {
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

impl UploadProblem {
    /// Returns whether less may be held after the service has dropped what it no longer needs.
    #[must_use]
    pub fn is_of_quota(&self) -> bool {
        matches!(self, Self::Quota { .. } | Self::Total { .. })
    }
}

impl Uploads {
    /// Begins an upload of `length` bytes by a user.
    ///
    /// # Errors
    /// The file is empty, the user or all users together have too many, or there is no memory.
    pub fn begin(
        &self,
        uid: u32,
        length: u64,
        limits: &MemberLimits,
    ) -> Result<Upload, UploadProblem> {
        if length == 0 {
            return Err(UploadProblem::Empty);
        }
        let mut files = self.lock();
        files.retain(|file| file.strong_count() > 0);
        let (mut held, mut of_all) = (0, 0);
        for file in files.iter().filter_map(Weak::upgrade) {
            of_all += file.length;
            held += if file.uid == uid { file.length } else { 0 };
        }
        let limit = limits.files.to_bytes().0;
        if u64::saturating_add(held, length) > limit {
            return Err(UploadProblem::Quota { uid, length, held, limit });
        }
        let limit = limits.all_files.to_bytes().0;
        if u64::saturating_add(of_all, length) > limit {
            return Err(UploadProblem::Total { length, held: of_all, limit });
        }
        let file = memfd_create(c"chaosd-upload", MFdFlags::MFD_CLOEXEC)
            .map_err(|errno| UploadProblem::Memory(errno.into()))?;
        let digest = OnceLock::new();
        let file = Arc::new(UploadedFile { file: file.into(), uid, length, digest });
        files.push(Arc::downgrade(&file));
        Ok(Upload { file, arrived: 0, hasher: self.key.build_hasher() })
    }

    /// Ends an upload of which all bytes have arrived. Returns the file with the same content that
    /// the user has uploaded before, if there is one, and otherwise the new file: guests that boot
    /// from the same kernel share one copy.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn complete(&self, upload: Upload) -> io::Result<Arc<UploadedFile>> {
        let Upload { file, hasher, .. } = upload;
        let digest = hasher.finish();
        let former = self.find_or_enter(&file, digest);
        // The comparison is not under the lock: other users do not wait for it.
        match former {
            Some(former) if same_content(&former, &file)? => Ok(former),
            _ => Ok(file),
        }
    }

    /// Returns another file of the user with the same length and hash; without one, enters the
    /// file's hash.
    fn find_or_enter(&self, file: &Arc<UploadedFile>, digest: u64) -> Option<Arc<UploadedFile>> {
        let files = self.lock();
        let former = files.iter().filter_map(Weak::upgrade).find(|other| {
            (other.uid, other.length) == (file.uid, file.length)
                && other.digest.get() == Some(&digest)
        });
        if former.is_none() {
            file.digest.get_or_init(|| digest);
        }
        former
    }

    /// Returns the files. The list is whole also if a thread has panicked, because each change of
    /// it is one call.
    fn lock(&self) -> MutexGuard<'_, Vec<Weak<UploadedFile>>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl UploadedFile {
    /// Returns the file, to be read.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }
}

impl Upload {
    /// Appends bytes. Returns `false` if the file would be longer than was announced.
    ///
    /// # Errors
    /// There is no memory.
    pub fn append(&mut self, bytes: &[u8]) -> io::Result<bool> {
        if bytes.len() as u64 > self.file.length - self.arrived {
            return Ok(false);
        }
        self.file.file.write_all_at(bytes, self.arrived)?;
        self.hasher.write(bytes);
        self.arrived += bytes.len() as u64;
        Ok(true)
    }

    /// Returns whether all bytes have arrived.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.arrived == self.file.length
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
    use xen::units::KiB;

    use super::*;

    fn limits(files: u64, all_files: u64) -> MemberLimits {
        let (files, all_files) = (KiB(files), KiB(all_files));
        MemberLimits { files, all_files, ..MemberLimits::default() }
    }

    fn upload(uploads: &Uploads, uid: u32, bytes: &[u8]) -> Arc<UploadedFile> {
        let mut file = uploads.begin(uid, bytes.len() as u64, &limits(100, 1000)).unwrap();
        assert!(!file.is_complete());
        let (one, two) = bytes.split_at(bytes.len() / 2);
        assert!(file.append(one).unwrap() && file.append(two).unwrap());
        assert!(file.is_complete() && !file.append(b"x").unwrap(), "longer than announced");
        uploads.complete(file).unwrap()
    }

    #[test]
    fn the_bytes_of_each_user_are_limited_until_they_are_freed() {
        let (uploads, limits) = (Uploads::default(), limits(100, 1000));
        let begin = |uid, kib: u64| uploads.begin(uid, kib << 10, &limits);
        let first = upload(&uploads, 7, &[1; 60 << 10]);
        let over = begin(7, 41).unwrap_err();
        assert!(matches!(over, UploadProblem::Quota { uid: 7, held: 61_440, .. }), "{over}");
        let other = upload(&uploads, 8, &[1; 60 << 10]);
        let pending = begin(7, 40).unwrap();
        assert!(begin(7, 1).is_err(), "an upload that has begun counts");
        drop(pending);
        drop(first);
        assert!(begin(7, 100).is_ok());
        drop(other);
        assert!(matches!(begin(7, 0), Err(UploadProblem::Empty)));
        let endless = uploads.begin(7, u64::MAX, &limits);
        assert!(matches!(endless, Err(UploadProblem::Quota { .. })));
    }

    #[test]
    fn the_bytes_of_all_users_together_are_limited() {
        let (uploads, limits) = (Uploads::default(), limits(100, 150));
        let first = uploads.begin(7, 100 << 10, &limits).unwrap();
        let over = uploads.begin(8, 51 << 10, &limits).unwrap_err();
        let text = over.to_string();
        assert!(text.contains("holds 100 KiB of files for all users, and at most 150"), "{text}");
        assert!(over.is_of_quota());
        assert!(uploads.begin(8, 50 << 10, &limits).is_ok());
        drop(first);
        assert!(uploads.begin(8, 51 << 10, &limits).is_ok());
    }

    #[test]
    fn the_same_bytes_of_one_user_are_held_once() {
        let uploads = Uploads::default();
        let first = upload(&uploads, 7, b"kernel");
        assert!(Arc::ptr_eq(&first, &upload(&uploads, 7, b"kernel")));
        assert!(!Arc::ptr_eq(&first, &upload(&uploads, 7, b"kerneL")));
        assert!(!Arc::ptr_eq(&first, &upload(&uploads, 8, b"kernel")), "users do not share");
        let mut incomplete = uploads.begin(7, 6, &limits(100, 1000)).unwrap();
        incomplete.append(b"ker").unwrap();
        assert!(Arc::ptr_eq(&first, &upload(&uploads, 7, b"kernel")));
    }

    #[test]
    fn files_with_the_same_hash_are_compared_and_others_are_not() {
        let uploads = Uploads::default();
        let first = upload(&uploads, 7, b"kernel");
        let mut second = uploads.begin(7, 6, &limits(100, 1000)).unwrap();
        second.append(b"kerneL").unwrap();
        let digest = *first.digest.get().unwrap();
        assert_ne!(second.hasher.finish(), digest);
        let found = uploads.find_or_enter(&second.file, digest).unwrap();
        assert!(Arc::ptr_eq(&found, &first), "as if the hashes were the same");
        assert!(!same_content(&found, &second.file).unwrap());
        let completed = uploads.complete(second).unwrap();
        assert!(!Arc::ptr_eq(&completed, &first));
    }
}
