// SPDX-License-Identifier: MIT OR Apache-2.0
//! Locks that keep a second writer away.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};

/// Locks a disk: for writing, or for reading if the guest may only read it. Returns `false` if it is
/// locked otherwise. A lock for reading does not exclude others for reading.
///
/// # Errors
/// The kernel refuses: it is out of memory, or the file system has no locks.
pub fn lock(disk: &impl AsFd, read_only: bool) -> io::Result<bool> {
    match fcntl(disk.as_fd(), FcntlArg::F_OFD_SETLK(&whole_file(read_only))) {
        Ok(_) => Ok(true),
        Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// Locks disks again that an earlier process had locked, and waits until `deadline` for the locks of
/// that process and of other writers. Returns, for each disk, whether it is locked. The flag beside
/// a disk says whether it is read-only.
///
/// A process that was killed holds its locks until the kernel has closed its descriptors and has
/// ended what it was doing with them.
///
/// Who may read a file can lock it for reading, and wait for this until the earlier process ends.
/// So a disk that is not read-only is locked for reading if others have done that: this excludes all
/// writers that lock as well. QEMU locks single bytes for reading of what it writes, and such a disk
/// is not locked.
///
/// # Errors
/// The kernel refuses.
pub fn lock_all_before(disks: &[(&File, bool)], deadline: Instant) -> io::Result<Vec<bool>> {
    let mut locked = Vec::with_capacity(disks.len());
    let mut waiting = Vec::new();
    for (number, (disk, read_only)) in disks.iter().enumerate() {
        locked.push(lock_again(disk, *read_only)?);
        if !locked[number] {
            waiting.push((number, disk.try_clone()?, *read_only));
        }
    }
    if waiting.is_empty() {
        return Ok(locked);
    }
    let (report, reports) = mpsc::channel();
    // A thread, because waiting for a lock has no time limit. It ends with its last wait at the
    // latest. What it locks too late is unlocked when the caller has closed the disk.
    thread::Builder::new().name("disk locks".into()).spawn(move || {
        for (number, disk, read_only) in waiting {
            // For reading: only other writers are waited for.
            let result = loop {
                match fcntl(&disk, FcntlArg::F_OFD_SETLKW(&whole_file(true))) {
                    Err(Errno::EINTR) => {}
                    result => break result,
                }
            };
            let is_locked = result.is_ok() && lock_again(&disk, read_only).unwrap_or(false);
            if report.send((number, is_locked)).is_err() {
                return;
            }
        }
    })?;
    while let Ok((number, is_locked)) =
        reports.recv_timeout(deadline.saturating_duration_since(Instant::now()))
    {
        locked[number] = is_locked;
    }
    // The thread may have waited for the first of them alone.
    for ((disk, read_only), is_locked) in disks.iter().zip(&mut locked) {
        if !*is_locked {
            *is_locked = lock_again(disk, *read_only)?;
        }
    }
    Ok(locked)
}

/// Locks a disk as [`lock`] does, or for reading if others have done that.
fn lock_again(disk: &File, read_only: bool) -> io::Result<bool> {
    if lock(disk, read_only)? {
        return Ok(true);
    }
    let is_locked = !read_only && lock(disk, true)?;
    // Looked for when it is locked: QEMU does not begin then.
    if is_locked && qemu_writes(disk)? {
        let unlock = libc::flock { l_type: kind(libc::F_UNLCK), ..whole_file(true) };
        fcntl(disk, FcntlArg::F_OFD_SETLK(&unlock))?;
        return Ok(false);
    }
    Ok(is_locked)
}

/// Returns whether a QEMU has a file as a disk that it writes: it locks the byte 101 for reading then
/// (`RAW_LOCK_PERM_BASE` and `BLK_PERM_WRITE` in QEMU's block/file-posix.c), and some bytes next to it.
/// The kernel joins locks that touch. The lock of a whole file is another program's.
fn qemu_writes(disk: &File) -> io::Result<bool> {
    let mut found = libc::flock { l_start: 101, l_len: 1, ..whole_file(false) };
    fcntl(disk, FcntlArg::F_OFD_GETLK(&mut found))?;
    Ok(found.l_type != kind(libc::F_UNLCK) && found.l_len != 0)
}

/// Returns the description of a lock of a whole file.
fn whole_file(read_only: bool) -> libc::flock {
    let l_type = kind(if read_only { libc::F_RDLCK } else { libc::F_WRLCK });
    libc::flock { l_type, l_whence: kind(libc::SEEK_SET), l_start: 0, l_len: 0, l_pid: 0 }
}

/// Returns a constant of `<fcntl.h>` in the type of the fields of `struct flock`.
fn kind(constant: i32) -> i16 {
    match i16::try_from(constant) {
        Ok(kind) => kind,
        Err(_) => unreachable!("the constants of <fcntl.h> fit in 16 bits"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn opened(path: &std::path::Path) -> File {
        File::options().read(true).write(true).open(path).unwrap()
    }

    #[test]
    fn a_writer_excludes_all_others_and_readers_exclude_writers() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let [one, two, three] = [0; 3].map(|_| opened(file.path()));
        assert!(lock(&one, false).unwrap());
        assert!(!lock(&two, false).unwrap() && !lock(&two, true).unwrap());
        // The lock belongs to what the descriptor refers to.
        let copy = one.try_clone().unwrap();
        drop(one);
        assert!(!lock(&two, true).unwrap());
        drop(copy);
        assert!(lock(&two, true).unwrap() && lock(&three, true).unwrap());
        assert!(!lock(&three, false).unwrap());
        drop(two);
        assert!(lock(&three, false).unwrap());
    }

    #[test]
    fn a_reader_neither_delays_nor_prevents_the_lock_of_a_restarted_writer() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let [earlier, writer, other] = [0; 3].map(|_| opened(file.path()));
        assert!(lock(&earlier, false).unwrap());
        // A user who may only read the file waits for its lock.
        let reader = File::open(file.path()).unwrap();
        let disk = reader.try_clone().unwrap();
        let waits = thread::spawn(move || fcntl(&disk, FcntlArg::F_OFD_SETLKW(&whole_file(true))));
        drop(earlier);
        waits.join().unwrap().unwrap();
        // The deadline has passed: nothing may be waited for.
        assert_eq!(lock_all_before(&[(&writer, false)], Instant::now()).unwrap(), [true]);
        assert!(!lock(&other, false).unwrap());
        drop(reader);
        assert!(!lock(&other, false).unwrap(), "there is no other writer afterwards either");
        assert!(lock(&writer, false).unwrap(), "but the writer may have all of it");
    }

    #[test]
    fn what_qemu_writes_is_not_taken_from_it() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let [qemu, writer] = [0; 2].map(|_| opened(file.path()));
        for byte in [100, 101, 103, 201, 203] {
            let byte = libc::flock { l_start: byte, l_len: 1, ..whole_file(true) };
            fcntl(&qemu, FcntlArg::F_OFD_SETLK(&byte)).unwrap();
        }
        assert_eq!(lock_all_before(&[(&writer, false)], Instant::now()).unwrap(), [false]);
        drop(qemu);
        assert!(lock(&opened(file.path()), false).unwrap(), "nothing is locked");
    }

    #[test]
    fn a_lock_is_waited_for_until_the_deadline() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let [holder, waiting] = [0; 2].map(|_| opened(file.path()));
        assert!(lock(&holder, false).unwrap());
        // The second one is free, and not kept from its lock by the wait for the first one.
        let free = tempfile::NamedTempFile::new().unwrap();
        let free = opened(free.path());
        let deadline = Instant::now() + Duration::from_millis(20);
        let late = lock_all_before(&[(&waiting, false), (&free, false)], deadline).unwrap();
        assert_eq!(late, [false, true]);
        drop(waiting);

        let [waiting, other] = [0; 2].map(|_| opened(file.path()));
        let disk = waiting.try_clone().unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        let locker = thread::spawn(move || lock_all_before(&[(&disk, false)], deadline).unwrap());
        drop(holder);
        assert_eq!(locker.join().unwrap(), [true]);
        assert!(!lock(&other, false).unwrap(), "the lock outlives the thread");
        drop(waiting);
    }
}
