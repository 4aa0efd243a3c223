// SPDX-License-Identifier: MIT OR Apache-2.0
//! Opens disks.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, OFlag, fallocate};
use rustix::fs::{FileType, OFlags, fcntl_getfl, fcntl_setfl, fstat, stat};

use crate::blkback;
use crate::error::DiskError;
use crate::identity::{self, Identity};
use crate::queue::Queue;

/// Bytes of the unit in which the size of a disk is counted.
pub const SECTOR: u32 = 512;

/// Largest logical sector size, in bytes: a page.
const MAX_SECTOR_SIZE: u32 = 4096;

/// What can be discarded of a disk, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Discard {
    /// Size of a unit.
    pub granularity: u32,
    /// Offset of the first unit.
    pub alignment: u32,
}

/// An open file or block device that can be a guest's disk.
#[derive(Debug)]
pub struct OpenDisk {
    /// The descriptor, open for reading, and for writing unless the disk is read-only. Without
    /// `O_NONBLOCK`.
    pub file: File,
    /// What was opened.
    pub identity: Identity,
    /// Size in units of [`SECTOR`] bytes; not 0, and a multiple of the logical sector size.
    pub sectors: u64,
    /// Logical sector size in bytes: a power of two from 512 to 4096.
    pub sector_size: u32,
    /// Physical sector size in bytes: a power of two, at least the logical one.
    pub physical_sector_size: u32,
    /// What can be discarded, if anything.
    pub discard: Option<Discard>,
}

/// Flags of a descriptor that `F_SETFL` changes. With `O_APPEND`, a write goes to the end of the file
/// instead of its place; with `O_DIRECT`, only parts of some sizes can be written.
const CHANGEABLE: OFlags = OFlags::APPEND
    .union(OFlags::NONBLOCK)
    .union(OFlags::DIRECT)
    .union(OFlags::NOATIME)
    .union(OFlags::from_bits_retain(libc::O_ASYNC.cast_unsigned()));

/// Opens what can be a disk, for a process that [receives](OpenDisk::receive) it. Follows symbolic
/// links, as those of LVM. A pipe or a terminal is refused, without waiting for it.
///
/// # Errors
/// The path cannot be opened, another user in dom0 has claimed the block device, or it is of another
/// kind.
pub fn open_file(path: &Path, read_only: bool) -> Result<File, DiskError> {
    let open_failed = |source| DiskError::of_open(path, read_only, source);
    // `O_EXCL` without `O_CREAT` claims a block device for this description alone. So that other
    // kinds of files are not opened with it, the path is examined first; if it changes in between,
    // the flag has no effect on a file.
    let kind = identity::kind(&stat(path).map_err(|errno| open_failed(errno.into()))?);
    let found = match kind {
        FileType::RegularFile | FileType::BlockDevice => None,
        FileType::Directory => Some("a folder"),
        FileType::CharacterDevice => Some("a character device"),
        FileType::Fifo => Some("a pipe"),
        _ => Some("a socket"),
    };
    if let Some(found) = found {
        return Err(DiskError::Kind { path: path.to_owned(), found });
    }
    let claim =
        if kind == FileType::BlockDevice && !read_only { OFlag::O_EXCL } else { OFlag::empty() };
    let file = OpenOptions::new()
        .read(true)
        .write(!read_only)
        .custom_flags((claim | OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits())
        .open(path)
        .map_err(open_failed)?;
    wait_for_storage(&file).map_err(|source| DiskError::Open { path: path.to_owned(), source })?;
    Ok(file)
}

/// Clears all flags that `F_SETFL` changes. `O_NONBLOCK` is for the open only: reads and writes would
/// fail with EAGAIN where the storage cannot say whether it has to wait (Linux `io_rw_init_file`;
/// dm-crypt, dm-thin).
fn wait_for_storage(file: &File) -> io::Result<()> {
    Ok(fcntl_setfl(file, OFlags::empty())?)
}

impl OpenDisk {
    /// Opens a path as [`open_file`] does.
    ///
    /// # Errors
    /// As [`open_file`], it cannot be a disk, or dom0's kernel serves it to a guest.
    pub fn open(path: &Path, read_only: bool) -> Result<Self, DiskError> {
        Self::inspect(open_file(path, read_only)?, path, read_only)
    }

    /// Returns the disk that another process has opened with [`open_file`]. The path is only for
    /// errors: nothing is opened.
    ///
    /// # Errors
    /// The descriptor was not opened for what `read_only` says, it cannot be a disk, or dom0's kernel
    /// serves it to a guest.
    pub fn receive(file: File, path: &Path, read_only: bool) -> Result<Self, DiskError> {
        let failed = |source| DiskError::Open { path: path.to_owned(), source };
        let flags = fcntl_getfl(&file).map_err(|errno| failed(errno.into()))?;
        let wanted = if read_only { OFlags::RDONLY } else { OFlags::RDWR };
        // A descriptor of `O_PATH` looks as if it were open for reading.
        if flags & (OFlags::ACCMODE | OFlags::PATH) != wanted {
            return Err(DiskError::Access { path: path.to_owned(), read_only });
        }
        if flags.intersects(CHANGEABLE) {
            wait_for_storage(&file).map_err(failed)?;
        }
        Self::inspect(file, path, read_only)
    }

    /// Reads the properties of an open disk.
    fn inspect(mut file: File, path: &Path, read_only: bool) -> Result<Self, DiskError> {
        let failed = |source| DiskError::Open { path: path.to_owned(), source };
        // fstat itself: statx and newfstatat, which the C library calls, take three times as long.
        let status = fstat(&file).map_err(|errno| failed(errno.into()))?;
        let identity = Identity::of(&status)
            .ok_or_else(|| DiskError::Kind { path: path.to_owned(), found: "of another kind" })?;
        let size = match identity {
            Identity::File { .. } => u64::try_from(status.st_size).unwrap_or(0),
            Identity::BlockDevice { .. } => file.seek(SeekFrom::End(0)).map_err(failed)?,
        };
        let (logical, physical, discard) = match identity {
            Identity::File { device, .. } => {
                let block = u32::try_from(status.st_blksize).unwrap_or(SECTOR);
                let discard =
                    if read_only { None } else { file_discard(&file, device, size, block) };
                (SECTOR, Some(block.clamp(SECTOR, MAX_SECTOR_SIZE)), discard)
            }
            Identity::BlockDevice { number } => {
                // After the claim: a guest that gets the disk later is refused it.
                if let Some(domid) = blkback::other_user(number, read_only) {
                    return Err(DiskError::Served { path: path.to_owned(), domid });
                }
                let queue = Queue::of(number);
                // Opening such a device for writing succeeds, and each write fails (`losetup -r`).
                if !read_only && queue.is_read_only() {
                    return Err(DiskError::ReadOnlyDevice { path: path.to_owned() });
                }
                let logical = queue.logical();
                let discard = if read_only { None } else { queue.discard(logical) };
                (logical, queue.physical(), discard)
            }
        };
        let path = || path.to_owned();
        if !logical.is_power_of_two() || !(SECTOR..=MAX_SECTOR_SIZE).contains(&logical) {
            return Err(DiskError::SectorSize {
                path: path(),
                sector: logical,
                most: MAX_SECTOR_SIZE,
            });
        }
        if size < u64::from(logical) {
            let is_file = matches!(identity, Identity::File { .. });
            return Err(DiskError::TooSmall { path: path(), size, sector: logical, is_file });
        }
        if !size.is_multiple_of(u64::from(logical)) {
            return Err(DiskError::Ragged { path: path(), size, sector: logical });
        }
        // A disk must have whole physical sectors, too.
        let fits = |physical: &u32| {
            physical.is_power_of_two()
                && *physical >= logical
                && size.is_multiple_of(u64::from(*physical))
        };
        let physical_sector_size = physical.filter(fits).unwrap_or(logical);
        let discard = discard.filter(|discard| {
            discard.granularity.is_multiple_of(logical)
                && discard.alignment.is_multiple_of(SECTOR)
                && discard.alignment < discard.granularity
        });
        let sectors = size / u64::from(SECTOR);
        Ok(Self { file, identity, sectors, sector_size: logical, physical_sector_size, discard })
    }
}

/// The number of the file system that was tried last, and whether holes can be punched there.
static TRIED: Mutex<Option<(u64, bool)>> = Mutex::new(None);

/// Returns what can be discarded of a file on a file system with this number. Not all file systems
/// can punch a hole, and only an attempt shows it: behind the end of the file, where it has no
/// effect. It is made once for several disks of one file system.
fn file_discard(file: &File, device: u64, size: u64, block: u32) -> Option<Discard> {
    let mut tried = TRIED.lock().unwrap_or_else(PoisonError::into_inner);
    let punches = match *tried {
        Some((of, punches)) if of == device => punches,
        _ => {
            let mode = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
            let end = i64::try_from(size).ok()?;
            let attempt = fallocate(file, mode, end, i64::from(SECTOR));
            // Another error says nothing of the file system.
            if matches!(attempt, Ok(()) | Err(Errno::EOPNOTSUPP)) {
                *tried = Some((device, attempt.is_ok()));
            }
            attempt.is_ok()
        }
    };
    punches.then_some(())?;
    let granularity = if block.is_power_of_two() { block.max(SECTOR) } else { SECTOR };
    Some(Discard { granularity, alignment: 0 })
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use nix::fcntl::{FcntlArg, fcntl};

    use super::*;

    fn file(size: u64) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(size).unwrap();
        file
    }

    #[test]
    fn a_file_is_a_disk_of_512_byte_sectors() {
        let image = file(8192);
        let disk = OpenDisk::open(image.path(), false).unwrap();
        assert_eq!((disk.sectors, disk.sector_size), (16, 512));
        assert!(disk.physical_sector_size >= 512 && 8192 % disk.physical_sector_size == 0);
        assert_eq!(Some(disk.identity), Identity::of(&fstat(image.as_file()).unwrap()));
        assert_eq!(OpenDisk::open(image.path(), true).unwrap().discard, None);
        // A disk with a part of a physical sector at its end has smaller ones.
        assert_eq!(OpenDisk::open(file(512).path(), false).unwrap().physical_sector_size, 512);
    }

    #[test]
    fn what_cannot_be_a_disk_is_refused_with_the_reason() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let [empty, short, ragged] = [0, 511, 1000].map(file);
        for (path, part) in [
            (&folder.path().join("none"), "does not exist; create it: truncate -s 64M /"),
            (&folder.path().to_owned(), "is a folder: must be a file or a block device"),
            (&pipe, "is a pipe"),
            (&"/dev/null".into(), "is a character device"),
            (
                &empty.path().to_owned(),
                "has 0 bytes: must be at least one sector of 512 bytes; create",
            ),
            (&short.path().to_owned(), "has 511 bytes"),
            (&ragged.path().to_owned(), "has 1000 bytes: must be a multiple"),
        ] {
            for read_only in [true, false] {
                let error = OpenDisk::open(path, read_only).unwrap_err().to_string();
                assert!(error.contains(part), "{error}");
                assert!(error.contains(&path.display().to_string()), "{error}");
            }
        }
    }

    /// A remedy may be pasted by a user who has named the wrong file.
    #[test]
    fn no_remedy_changes_what_is_there() {
        let missing = open_file("/dev/no-such-device".as_ref(), true).unwrap_err();
        assert_eq!(missing.to_string(), "disk /dev/no-such-device does not exist");
        for size in [0, 100, 1000] {
            let file = file(size);
            let error = OpenDisk::open(file.path(), true).unwrap_err().to_string();
            let (_, remedy) = error.split_once("; ").unwrap();
            let truncated = remedy.split_once("truncate ").unwrap().1;
            assert!(!truncated.contains(&file.path().display().to_string()), "{error}");
        }
        let device =
            |size| DiskError::TooSmall { path: "/dev/x".into(), size, sector: 512, is_file: false };
        let text = device(0).to_string();
        assert_eq!(text, "disk /dev/x has 0 bytes: must be at least one sector of 512 bytes");
    }

    #[test]
    fn a_file_that_is_executed_is_not_a_writable_disk() {
        // The kernel refuses to open a running program for writing.
        let myself = std::env::current_exe().unwrap();
        let error = OpenDisk::open(&myself, false).unwrap_err();
        assert!(matches!(error, DiskError::ReadOnly { .. }), "{error}");
        assert!(error.to_string().contains("access=r"), "{error}");
    }

    #[test]
    fn the_descriptor_waits_for_reads_and_writes() {
        for read_only in [true, false] {
            let disk = OpenDisk::open(file(512).path(), read_only).unwrap();
            let flags = OFlag::from_bits_retain(fcntl(&disk.file, FcntlArg::F_GETFL).unwrap());
            let access = if read_only { OFlag::O_RDONLY } else { OFlag::O_RDWR };
            assert_eq!(flags & (OFlag::O_ACCMODE | OFlag::O_NONBLOCK), access, "{flags:?}");
        }
    }

    #[test]
    fn a_received_disk_equals_the_opened_one() {
        let image = file(8192);
        for read_only in [true, false] {
            let opened = OpenDisk::open(image.path(), read_only).unwrap();
            let sent = open_file(image.path(), read_only).unwrap();
            // The path is not used.
            let received = OpenDisk::receive(sent, Path::new("/none"), read_only).unwrap();
            let facts = |disk: &OpenDisk| {
                let sizes = (disk.sectors, disk.sector_size, disk.physical_sector_size);
                (disk.identity, sizes, disk.discard, fcntl_getfl(&disk.file).unwrap())
            };
            assert_eq!(facts(&received), facts(&opened));
        }
    }

    #[test]
    fn a_descriptor_that_cannot_be_a_disk_is_refused() {
        let receive = |options: &OpenOptions, path: &Path, read_only| {
            let file = options.open(path).unwrap();
            OpenDisk::receive(file, Path::new("/x"), read_only).unwrap_err().to_string()
        };
        let mut reads = OpenOptions::new();
        reads.read(true);
        let [mut writes, mut both, mut path_only] = [0; 3].map(|_| reads.clone());
        writes.read(false).write(true);
        both.write(true);
        path_only.custom_flags(libc::O_PATH);
        let image = file(512);
        for (options, read_only, wanted) in [
            (&reads, false, "for reading and writing"),
            (&writes, false, "for reading and writing"),
            (&writes, true, "for reading only"),
            (&both, true, "for reading only"),
            (&path_only, true, "for reading only"),
            (&path_only, false, "for reading and writing"),
        ] {
            let error = receive(options, image.path(), read_only);
            assert!(error.starts_with("the file descriptor of disk /x must"), "{error}");
            assert!(error.ends_with(wanted), "{error}");
        }
        let folder = tempfile::tempdir().unwrap();
        for path in [folder.path(), Path::new("/dev/null")] {
            let error = receive(&reads, path, true);
            assert_eq!(error, "disk /x is of another kind: must be a file or a block device");
        }
        let error = receive(&both, file(1000).path(), false);
        assert!(error.contains("disk /x has 1000 bytes: must be a multiple"), "{error}");
    }

    #[test]
    fn flags_that_change_writes_are_cleared_of_a_received_descriptor() {
        let image = file(512);
        let flags = libc::O_NONBLOCK | libc::O_APPEND;
        let sent = OpenOptions::new().read(true).write(true).custom_flags(flags).open(image.path());
        let disk = OpenDisk::receive(sent.unwrap(), image.path(), false).unwrap();
        assert!(!fcntl_getfl(&disk.file).unwrap().intersects(CHANGEABLE));
    }

    #[test]
    fn the_descriptor_is_not_passed_to_programs() {
        let disk = OpenDisk::open(file(512).path(), false).unwrap();
        let flags = fcntl(&disk.file, FcntlArg::F_GETFD).unwrap();
        assert_ne!(flags & libc::FD_CLOEXEC, 0, "descriptor {}", disk.file.as_raw_fd());
    }
}
