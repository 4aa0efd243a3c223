// SPDX-License-Identifier: MIT OR Apache-2.0
//! Snapshots of the data on a disk.
//!
//! The disk has two slots, each with a header. A snapshot is written into the slot that does not have
//! the newest one; its header is written last, after a flush. So there is always a complete snapshot,
//! whenever the guest or the host stops. The content of a slot is an RDB file (version 8), which Redis
//! from 4.0 on loads. `slots.rs` has the layout.
//!
//! A snapshot is consistent: it holds the data as it was when the command came. Keys are written in
//! the order of their positions, a few in each turn. A command that changes a key which is not written
//! yet has it written first (`Store::preserve`), so nothing is copied in memory, and a snapshot needs
//! the same memory whatever the data is. Each key has one bit that says whether it is written.

mod crc;
mod decode;
mod encode;
mod slots;
mod stream;

use alloc::boxed::Box;
use core::fmt;

pub(crate) use self::crc::Crc;
pub(crate) use self::decode::{Reader, Wrong};
pub(crate) use self::encode::{end, entry, start};
pub(crate) use self::slots::{Contents, Header, Layout, Slot, encode_header, read_headers};
pub(crate) use self::stream::{Stream, To};

/// The unit of offsets and lengths on a disk, in bytes.
pub(crate) const BLOCK: usize = 4096;

/// The most bytes that are written at once.
pub(crate) const PIECE: usize = 16 * 1024;

/// The disk does not do what it should. The program prints the cause where it occurs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskFailed;

/// A disk. All offsets and lengths are multiples of 4096 bytes.
pub trait Disk {
    /// Returns the size in bytes.
    fn size(&self) -> u64;

    /// Returns whether the disk can be written.
    fn is_writable(&self) -> bool;

    /// Reads, and waits for it.
    ///
    /// # Errors
    /// The disk does not return the bytes.
    fn read(&mut self, at: u64, to: &mut [u8]) -> Result<(), DiskFailed>;

    /// Starts to write at most 16 KiB, which are copied. Waits only for room.
    fn write(&mut self, at: u64, bytes: &[u8]);

    /// Starts a flush of all writes that are done.
    fn flush(&mut self);

    /// Returns whether [`write`](Self::write) would not wait.
    fn has_room(&mut self) -> bool;

    /// Returns whether everything that was started is done.
    ///
    /// # Errors
    /// Something that was started since the last error has failed.
    fn is_idle(&mut self) -> Result<bool, DiskFailed>;

    /// Requests an event for when more is done. Returns whether that is yet to come.
    fn is_waiting(&mut self) -> bool;

    /// Sleeps until more is done, or returns at once if everything is.
    fn wait(&mut self);
}

/// Why a snapshot was not saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SaveError {
    /// The disk has failed.
    Disk,
    /// The data does not fit into a slot of this size in bytes.
    TooLarge {
        /// The slot's size.
        slot: u64,
    },
}

impl fmt::Display for SaveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disk => f.write_str("the disk failed"),
            Self::TooLarge { slot } => {
                write!(
                    f,
                    "the snapshot has more than {slot} bytes, half of the disk; use a larger disk"
                )
            }
        }
    }
}

/// Why the data cannot be loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadError {
    /// The disk has no room for two slots.
    TooSmall,
    /// The disk is neither empty nor was it written by this engine.
    NotOurs,
    /// There are snapshots, and the store has keys already.
    HasKeys,
    /// There are snapshots, and none is undamaged.
    Damaged,
    /// The data does not fit into the memory.
    Memory,
    /// The disk has failed.
    Disk,
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooSmall => "the disk is smaller than 16 KiB",
            Self::NotOurs => {
                "the disk holds something else; use another one, or fill it with zeroes"
            }
            Self::HasKeys => {
                "the disk has a snapshot, and there are keys already; remove them, or fill the disk \
                 with zeroes"
            }
            Self::Damaged => {
                "no snapshot on the disk is undamaged; restore it, or fill it with zeroes"
            }
            Self::Memory => "the snapshot does not fit into the memory; increase memory=",
            Self::Disk => "the disk cannot be read",
        })
    }
}

/// What was loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// The number of keys.
    pub keys: usize,
    /// When the snapshot was saved, in milliseconds since the Unix epoch; 0 if there was none.
    pub saved_ms: u64,
    /// Whether the other snapshot is damaged, so that this one may not be the newest.
    pub other_is_damaged: bool,
}

/// What a snapshot in the background does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// There is none.
    Nothing,
    /// There is more to do.
    More,
    /// It waits for the disk.
    Wait,
    /// It is over.
    Over(Result<(), SaveError>),
}

/// The disk, and the snapshots on it.
pub(crate) struct Snapshots {
    pub(crate) disk: Box<dyn Disk>,
    pub(crate) layout: Layout,
    pub(crate) crc: Crc,
    /// The slot of the newest snapshot, and its number; 0 if there is none.
    pub(crate) newest: usize,
    pub(crate) sequence: u64,
    pub(crate) running: Option<Running>,
    /// The stream of the last snapshot, whose memory is kept.
    pub(crate) stream: Stream,
}

/// A snapshot that is being saved.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Running {
    pub(crate) phase: Phase,
    /// The position of the next key to write.
    pub(crate) cursor: usize,
    pub(crate) started_ms: u64,
    /// The number of changes when it started.
    pub(crate) changes: u64,
}

/// What a snapshot is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Writing keys.
    Keys,
    /// Waiting for these writes, and then for a flush.
    Data,
    DataFlush,
    /// Waiting for the write of the header, and then for a flush.
    Header,
    HeaderFlush,
}

/// What `INFO` and `LASTSAVE` report of snapshots.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SaveStats {
    pub(crate) last_ms: u64,
    pub(crate) saves: u64,
    pub(crate) background_ok: bool,
    /// How long the last snapshot in the background took.
    pub(crate) background_seconds: Option<u64>,
    pub(crate) loaded: usize,
    pub(crate) expired: usize,
}
