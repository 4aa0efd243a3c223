// SPDX-License-Identifier: GPL-3.0-or-later
//! Files that users other than root have uploaded.
//!
//! Such a user passes no descriptor: every operation on a file of a FUSE file system, even closing
//! it, waits for the file system's server, which the user controls, and a thread that waits there
//! cannot be killed. So `chaosd` takes bytes, and keeps them in memory of its own.
//!
//! The thread of the user's connection writes and compares the files; only [`Uploads`] is shared.
//!
//! A file that no create has taken yet keeps no other user out: when the files of all users would
//! take too much memory, a user's first file displaces those of the user who has most.

use std::collections::BTreeMap;
use std::fs::File;
use std::hash::{BuildHasher, DefaultHasher, Hasher, RandomState};
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::line_limit::LineLimit;
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

/// Identifies the content of an uploaded file: its length and its keyed hash.
pub(crate) type Content = (u64, u64);

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
    /// Limits the lines about files that are displaced.
    lines: LineLimit,
    files: Mutex<Vec<Entry>>,
    /// The key of the hashes. No user knows it, so none can make files that are compared in vain.
    key: RandomState,
}

/// A file that is counted.
#[derive(Debug)]
struct Entry {
    file: Weak<UploadedFile>,
    /// Whether a create has taken it.
    is_taken: bool,
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
    /// The file has made room for another user's.
    #[error(
        "chaosd has dropped the uploaded file, because another user needed the memory and user \
         {uid} had most files without a guest; try again"
    )]
    Displaced {
        /// The user.
        uid: u32,
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
    /// Returns a list without files. `lines` limits the lines of the log about them.
    pub(crate) fn new(lines: LineLimit) -> Self {
        Self { lines, ..Self::default() }
    }

    /// Begins an upload of `length` bytes by a user. If the limit of all users would be exceeded
    /// and the user has no other file without a guest, drops such files of users who have as much
    /// or more.
    ///
    /// # Errors
    /// The file is empty, the user or all users together have too many, or memory runs out.
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
        files.retain(|entry| entry.file.strong_count() > 0);
        let (mut held, mut of_all) = (0, 0);
        for file in files.iter().filter_map(|entry| entry.file.upgrade()) {
            of_all += file.length;
            held += if file.uid == uid { file.length } else { 0 };
        }
        let limit = limits.files.to_bytes().0;
        if u64::saturating_add(held, length) > limit {
            return Err(UploadProblem::Quota { uid, length, held, limit });
        }
        let limit = limits.all_files.to_bytes().0;
        let excess = u64::saturating_add(of_all, length).saturating_sub(limit);
        if excess > 0 {
            let displaced = displaced_by(&files, uid, length, excess);
            let displaced =
                displaced.ok_or(UploadProblem::Total { length, held: of_all, limit })?;
            for file in displaced {
                file.free().map_err(UploadProblem::Memory)?;
                files.retain(|entry| entry.file.as_ptr() != Arc::as_ptr(&file));
                if self.lines.allows(uid) {
                    tracing::warn!(
                        "dropped a file of {} KiB that user {} had uploaded: user {uid} needs the \
                         memory",
                        file.length.div_ceil(1024),
                        file.uid
                    );
                }
            }
        }
        let file =
            memfd_create(c"chaosd-upload", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)
                .map_err(|errno| UploadProblem::Memory(errno.into()))?;
        let digest = OnceLock::new();
        let file = Arc::new(UploadedFile { file: file.into(), uid, length, digest });
        files.push(Entry { file: Arc::downgrade(&file), is_taken: false });
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

    /// Notes that a create takes files: they are in use until they are dropped.
    ///
    /// # Errors
    /// One has made room for another user's.
    pub fn take(&self, taken: &[Arc<UploadedFile>]) -> Result<(), UploadProblem> {
        let mut files = self.lock();
        for file in taken {
            let mut entries = files.iter_mut();
            let entry = entries.find(|entry| entry.file.as_ptr() == Arc::as_ptr(file));
            entry.ok_or(UploadProblem::Displaced { uid: file.uid })?.is_taken = true;
        }
        Ok(())
    }

    /// Returns another file of the user with the same length and hash; without one, enters the
    /// file's hash.
    fn find_or_enter(&self, file: &Arc<UploadedFile>, digest: u64) -> Option<Arc<UploadedFile>> {
        let files = self.lock();
        let former = files.iter().filter_map(|entry| entry.file.upgrade()).find(|other| {
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
    fn lock(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl UploadedFile {
    /// Returns the file, to be read.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Returns the user.
    pub(crate) fn uid(&self) -> u32 {
        self.uid
    }

    /// Returns what identifies its content. `None` if it is incomplete.
    pub(crate) fn content(&self) -> Option<Content> {
        Some((self.length, *self.digest.get()?))
    }

    /// Frees the memory, also if a thread is writing to the file: it cannot grow any more.
    fn free(&self) -> io::Result<()> {
        fcntl(&self.file, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_GROW))?;
        self.file.set_len(0)
    }
}

/// Returns the files that are dropped so that a user can begin to upload `length` bytes, `excess`
/// of them too many. `None` if the user must wait.
fn displaced_by(
    files: &[Entry],
    uid: u32,
    length: u64,
    excess: u64,
) -> Option<Vec<Arc<UploadedFile>>> {
    let idle = files.iter().filter(|entry| !entry.is_taken);
    let mut idle: Vec<_> = idle.filter_map(|entry| entry.file.upgrade()).collect();
    if idle.iter().any(|file| file.uid == uid) {
        return None;
    }
    let (mut displaced, mut freed) = (Vec::new(), 0);
    while freed < excess {
        let mut of_user: BTreeMap<u32, u64> = BTreeMap::new();
        for file in &idle {
            *of_user.entry(file.uid).or_default() += file.length;
        }
        let (most, _) = of_user
            .into_iter()
            .filter(|(_, of_user)| *of_user >= length)
            .max_by_key(|one| one.1)?;
        let position = idle.iter().position(|file| file.uid == most)?;
        let file = idle.remove(position);
        freed += file.length;
        displaced.push(file);
    }
    Some(displaced)
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
        uploads.take(&[Arc::clone(&first.file)]).unwrap();
        let over = uploads.begin(8, 51 << 10, &limits).unwrap_err();
        let text = over.to_string();
        assert!(text.contains("holds 100 KiB of files for all users, and at most 150"), "{text}");
        assert!(over.is_of_quota());
        assert!(uploads.begin(8, 50 << 10, &limits).is_ok());
        drop(first);
        assert!(uploads.begin(8, 51 << 10, &limits).is_ok());
    }

    #[test]
    fn files_without_a_guest_do_not_keep_the_first_file_of_another_user_out() {
        let (uploads, limits) = (Uploads::default(), limits(100, 200));
        let begin = |uid, kib: u64| uploads.begin(uid, kib << 10, &limits);
        let mut incomplete = begin(7, 100).unwrap();
        assert!(incomplete.append(&[1; 50 << 10]).unwrap());
        let complete = upload(&uploads, 8, &[1; 60 << 10]);
        let mut first = begin(9, 60).unwrap();
        let length = |file: &UploadedFile| file.file.metadata().unwrap().len();
        assert_eq!(length(&incomplete.file), 0, "it is freed at once");
        assert!(incomplete.append(&[1; 50 << 10]).is_err(), "it cannot grow again");
        assert_eq!(length(&incomplete.file), 0);
        assert_eq!(length(&complete), 60 << 10, "user 8 had less than user 7");
        let displaced = uploads.take(&[Arc::clone(&incomplete.file)]).unwrap_err();
        assert!(displaced.to_string().contains("user 7 had most files"), "{displaced}");
        // A second file displaces none, nor does one that is larger than what its owner has.
        let _second = begin(9, 40).unwrap();
        let _of_8 = begin(8, 40).unwrap();
        assert!(matches!(begin(8, 1), Err(UploadProblem::Quota { .. })));
        drop(incomplete);
        let larger = uploads
            .begin(7, 101 << 10, &MemberLimits { files: KiB(101), ..limits.clone() })
            .unwrap_err();
        assert!(matches!(larger, UploadProblem::Total { .. }), "{larger}");
        assert!(first.append(&[1; 60 << 10]).unwrap(), "it was not displaced");
    }

    #[test]
    fn users_who_displace_each_others_files_fill_no_log() {
        let lines = LineLimit::default();
        let (uploads, limits) = (Uploads::new(lines.clone()), limits(100, 150));
        let mut held = [None, None];
        for turn in 0..100 {
            let own = turn % 2;
            // The other one displaced it.
            held[own] = None;
            held[own] = Some(uploads.begin(7 + u32::from(own == 1), 100 << 10, &limits).unwrap());
        }
        assert!(!lines.allows(7) && !lines.allows(8), "these lines are counted");
        assert!(lines.allows(9));
    }

    #[test]
    fn files_that_guests_use_are_not_displaced() {
        let (uploads, limits) = (Uploads::default(), limits(100, 150));
        let in_use = upload(&uploads, 7, &[1; 100 << 10]);
        uploads.take(&[Arc::clone(&in_use)]).unwrap();
        let refused = uploads.begin(8, 51 << 10, &limits).unwrap_err();
        assert!(matches!(refused, UploadProblem::Total { held: 102_400, .. }), "{refused}");
        assert_eq!(in_use.file.metadata().unwrap().len(), 100 << 10);
        drop(in_use);
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
