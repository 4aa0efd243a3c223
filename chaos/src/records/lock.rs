// SPDX-License-Identifier: GPL-3.0-or-later
//! The locks of a domain: of its record, and of its devices.
//!
//! The first is held by a process that changes the record, also while it waits for the guest's answer.
//! The second is held by a process that adds or removes devices, and by one that removes the guest: so
//! no device is added to a guest whose devices were removed already, and a restart finds the last
//! devices. A process that needs both takes the second first.
//!
//! They are files in the domain's folder that only root may open: flock(2) needs no more than a
//! descriptor for reading, so each user could lock a folder or file that others may open.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};
use xen::units::DomId;

use super::error::{RecordError, file_error};
use super::paths::Records;

/// Name of the record's lock in a domain's folder.
const LOCK: &str = "lock";

/// Name of the lock of the devices.
const DEVICES_LOCK: &str = "devices.lock";

/// How long a command waits for another one. A command holds the lock while it waits for its guest.
const DEADLINE: Duration = Duration::from_secs(10);

/// Keeps other processes from changing a domain's record, or its devices, until it is dropped.
#[derive(Debug)]
pub struct RecordLock {
    _file: Flock<File>,
}

impl Records {
    /// Keeps other processes from changing a domain's record until the lock is dropped. Waits up to
    /// 10 s for a process that has it.
    ///
    /// # Errors
    /// [`RecordError::Locked`] if another process has it for longer; the domain's folder does not
    /// exist or cannot be used.
    pub fn lock(&self, domid: DomId) -> Result<RecordLock, RecordError> {
        self.lock_within(domid, LOCK, DEADLINE)
    }

    /// Locks a domain's record as [`lock`](Self::lock) does, but waits no longer than until
    /// `deadline`.
    ///
    /// # Errors
    /// As [`lock`](Self::lock).
    pub fn lock_until(&self, domid: DomId, deadline: Instant) -> Result<RecordLock, RecordError> {
        let left = deadline.saturating_duration_since(Instant::now());
        self.lock_within(domid, LOCK, left.min(DEADLINE))
    }

    /// Locks a domain's record as [`lock`](Self::lock) does, but never waits: for a daemon, which
    /// serves others meanwhile.
    ///
    /// # Errors
    /// As [`lock`](Self::lock).
    pub fn try_lock(&self, domid: DomId) -> Result<RecordLock, RecordError> {
        self.lock_within(domid, LOCK, Duration::ZERO)
    }

    /// Keeps other processes from adding devices to a domain, from removing them, and from removing
    /// the domain, until the lock is dropped. Waits as [`lock`](Self::lock) does.
    ///
    /// # Errors
    /// As [`lock`](Self::lock).
    pub fn lock_devices(&self, domid: DomId) -> Result<RecordLock, RecordError> {
        self.lock_within(domid, DEVICES_LOCK, DEADLINE)
    }

    /// Locks a domain's devices as [`lock_devices`](Self::lock_devices) does, but never waits.
    ///
    /// # Errors
    /// As [`lock`](Self::lock).
    pub fn try_lock_devices(&self, domid: DomId) -> Result<RecordLock, RecordError> {
        self.lock_within(domid, DEVICES_LOCK, Duration::ZERO)
    }

    fn lock_within(
        &self,
        domid: DomId,
        name: &str,
        deadline: Duration,
    ) -> Result<RecordLock, RecordError> {
        let path = self.folder(domid).join(name);
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(OFlag::O_NOFOLLOW.bits())
            .open(&path)
            .map_err(file_error("open", &path))?;
        let locked = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Err((file, Errno::EAGAIN)) if !deadline.is_zero() => wait(file, deadline),
            result => result.map_err(|(_, errno)| errno),
        };
        match locked {
            Ok(file) => Ok(RecordLock { _file: file }),
            Err(Errno::EAGAIN) => Err(locked_error(domid, path, deadline)),
            Err(errno) => Err(file_error("lock", &path)(errno.into())),
        }
    }
}

fn locked_error(domid: DomId, path: PathBuf, after: Duration) -> RecordError {
    RecordError::Locked { domid, path, after }
}

/// Waits for a lock, in a thread because flock(2) has no time-out. A thread that still waits after
/// the deadline frees the lock when it gets it, or ends with the process.
fn wait(file: File, deadline: Duration) -> Result<Flock<File>, Errno> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(Flock::lock(file, FlockArg::LockExclusive)));
    match receiver.recv_timeout(deadline) {
        Ok(locked) => locked.map_err(|(_, errno)| errno),
        Err(_) => Err(Errno::EAGAIN),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use tempfile::TempDir;

    use super::*;

    fn bed() -> (TempDir, Records) {
        let folder = TempDir::new().unwrap();
        let records = Records::at(folder.path().join("chaos"));
        records.make_folder(DomId(3)).unwrap();
        (folder, records)
    }

    fn mode(path: PathBuf) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn only_one_has_the_lock_and_nobody_waits_longer_than_the_deadline() {
        let (_folder, records) = bed();
        let lock = records.try_lock(DomId(3)).unwrap();
        let began = Instant::now();
        let busy = records.try_lock(DomId(3));
        assert!(matches!(busy, Err(RecordError::Locked { domid: DomId(3), .. })), "{busy:?}");
        let deadline = Duration::from_millis(50);
        let busy = records.lock_within(DomId(3), LOCK, deadline);
        assert!(matches!(busy, Err(RecordError::Locked { .. })), "{busy:?}");
        assert!(began.elapsed() >= deadline && began.elapsed() < DEADLINE);
        let busy = records.lock_until(DomId(3), began);
        assert!(matches!(busy, Err(RecordError::Locked { .. })), "{busy:?}");
        assert!(began.elapsed() < DEADLINE);
        let waiting = thread::spawn({
            let records = records.clone();
            move || records.lock(DomId(3)).map(drop)
        });
        drop(lock);
        waiting.join().unwrap().unwrap();
        // The thread that has waited in vain may have it for a moment.
        let _record = records.lock(DomId(3)).unwrap();
        let _devices = records.try_lock_devices(DomId(3)).unwrap();
        let busy = records.try_lock_devices(DomId(3));
        assert!(matches!(busy, Err(RecordError::Locked { .. })), "{busy:?}");
    }

    #[test]
    fn a_lock_of_the_folder_by_another_user_blocks_nobody() {
        let (_folder, records) = bed();
        let folder = File::open(records.folder(DomId(3))).unwrap();
        let _stranger = Flock::lock(folder, FlockArg::LockShared).unwrap();
        records.try_lock(DomId(3)).unwrap();
    }

    #[test]
    fn only_root_may_open_the_folders_and_the_lock() {
        let (folder, records) = bed();
        records.reserve_name("a", DomId(3), None).unwrap();
        drop(records.try_lock(DomId(3)).unwrap());
        drop(records.try_lock_devices(DomId(3)).unwrap());
        let root = folder.path().join("chaos");
        assert_eq!(mode(root.clone()), 0o755, "the sockets are in it");
        for private in ["domains", "domains/3", "names"] {
            assert_eq!(mode(root.join(private)), 0o700, "{private}");
        }
        assert_eq!(mode(root.join("domains/3/lock")), 0o600);
        assert_eq!(mode(root.join("domains/3/devices.lock")), 0o600);
        // An earlier chaos has created them for all users.
        fs::create_dir(root.join("restarts")).unwrap();
        for wide in ["domains", "names", "restarts"] {
            fs::set_permissions(root.join(wide), fs::Permissions::from_mode(0o755)).unwrap();
        }
        records.make_private().unwrap();
        for private in ["domains", "names", "restarts"] {
            assert_eq!(mode(root.join(private)), 0o700, "{private}");
        }
    }
}
