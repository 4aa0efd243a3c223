// SPDX-License-Identifier: GPL-3.0-or-later
//! Reads and writes files without waiting for them.
//!
//! [`ring`] passes operations to the kernel through io_uring, [`threads`] has some threads carry
//! them out, where the kernel has no io_uring or forbids it. Either takes the buffers with an
//! operation and returns them with its result, so that nothing else touches a buffer in between.
//! The file stays open until then, and with it its lock.

pub mod ring;
pub mod threads;

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;
#[cfg(test)]
use std::time::Duration;

use self::ring::Ring;
use self::threads::Threads;
use super::PAGE_SIZE;

/// Most operations that are begun and not finished.
pub const MAX_OPERATIONS: u32 = 1024;

/// A private page.
#[derive(Clone)]
#[repr(C, align(4096))]
pub struct IoPage(pub [u8; PAGE_SIZE]);

impl fmt::Debug for IoPage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IoPage")
    }
}

/// A part of an operation's data: the beginning of a page.
#[derive(Debug)]
pub struct IoPart {
    /// The page.
    pub page: Box<IoPage>,
    /// How many bytes of it are data, at most a page.
    pub length: u16,
}

impl IoPart {
    /// Returns the data.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        &self.page.0[..usize::from(self.length)]
    }

    /// Returns the data.
    pub fn data_mut(&mut self) -> &mut [u8] {
        &mut self.page.0[..usize::from(self.length)]
    }
}

/// What to do with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoKind {
    /// Read into the parts.
    Read,
    /// Write the parts.
    Write,
    /// Put on stable storage all that was written before.
    Sync,
    /// Discard so many bytes, which read as zeroes afterwards.
    Discard {
        /// How many.
        length: u64,
    },
}

/// An operation on a file.
#[derive(Debug)]
pub struct FileIo {
    /// The caller's number for it.
    pub key: usize,
    /// The file.
    pub file: Arc<File>,
    /// What to do.
    pub kind: IoKind,
    /// Where in the file, in bytes.
    pub offset: u64,
    /// The data; none unless it is to read or write.
    pub parts: Vec<IoPart>,
}

impl FileIo {
    /// Returns how many bytes are read or written.
    #[must_use]
    pub fn length(&self) -> usize {
        self.parts.iter().map(|part| usize::from(part.length)).sum()
    }
}

/// The result of an operation.
#[derive(Debug)]
pub struct FinishedIo {
    /// As in the operation.
    pub key: usize,
    /// Whether all of it was done. If not, a part of it may have been.
    pub result: io::Result<()>,
    /// As in the operation.
    pub parts: Vec<IoPart>,
}

/// Carries out operations on files.
#[derive(Debug)]
pub enum FileEngine {
    /// Through io_uring.
    Ring(Box<Ring>),
    /// In threads.
    Threads(Threads),
}

impl FileEngine {
    /// Sets up io_uring, or starts threads where the kernel refuses it, which is logged. Both need
    /// calls that the system call filter forbids.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn start() -> io::Result<Self> {
        match Ring::new() {
            Ok(ring) => Ok(Self::Ring(Box::new(ring))),
            Err(error) => {
                tracing::info!(
                    "disks are served by threads, because the kernel provides no io_uring: {error}"
                );
                Ok(Self::Threads(Threads::start()?))
            }
        }
    }

    /// Returns the descriptor that is readable while operations are finished.
    #[must_use]
    pub fn fd(&self) -> RawFd {
        match self {
            Self::Ring(ring) => ring.fd(),
            Self::Threads(threads) => threads.fd(),
        }
    }

    /// Takes an operation. [`submit`](Self::submit) starts it at the latest.
    pub fn begin(&mut self, io: FileIo) {
        match self {
            Self::Ring(ring) => ring.begin(io),
            Self::Threads(threads) => threads.begin(io),
        }
    }

    /// Starts all operations that were begun. Returns whether the kernel has taken them all;
    /// otherwise the caller tries again.
    pub fn submit(&mut self) -> bool {
        match self {
            Self::Ring(ring) => ring.submit(),
            Self::Threads(_) => true,
        }
    }

    /// Appends the results of finished operations.
    pub fn finished(&mut self, finished: &mut Vec<FinishedIo>) {
        match self {
            Self::Ring(ring) => ring.finished(finished),
            Self::Threads(threads) => threads.finished(finished),
        }
    }

    /// Waits until an operation is finished, for `timeout` at most.
    #[cfg(test)]
    pub fn wait(&mut self, timeout: Duration) {
        match self {
            Self::Ring(ring) => ring.wait(timeout),
            Self::Threads(threads) => threads.wait(timeout),
        }
    }
}

#[cfg(test)]
mod tests;
