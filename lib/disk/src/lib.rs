// SPDX-License-Identifier: MIT OR Apache-2.0
//! The files and block devices behind the disks of guests: how they are opened, what they are, and
//! who may use them.
//!
//! * [`OpenDisk::open`] opens a path and reads the size of the disk and of its sectors.
//! * [`open_file`] only opens it, for another process that [receives](OpenDisk::receive) it.
//! * [`Identity`] recognizes a disk again: a path may name another file later.
//! * [`lock()`] keeps a second writer away.
//!
//! # Who locks
//! The lock is an *open file description lock* (`F_OFD_SETLK`, fcntl(2)) on the whole file: a write
//! lock for a disk that the guest may write, else a read lock. It belongs to what the descriptor
//! refers to, so it passes from process to process with the descriptor, and the kernel releases it
//! when the last descriptor is closed and the last operation on it has ended. QEMU locks single
//! bytes of its images with the same kind of lock, so each refuses what the other has open for
//! writing. On a block device, opening for writing is exclusive as well (`O_EXCL`), which keeps
//! mounts, LVM and loop devices away; `blkback` finds guests whose disk the kernel serves.

mod blkback;
mod error;
mod identity;
mod lock;
mod open;
mod queue;

pub use error::DiskError;
pub use identity::Identity;
pub use lock::{lock, lock_all_before};
pub use open::{Discard, OpenDisk, SECTOR, open_file};
