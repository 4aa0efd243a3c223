// SPDX-License-Identifier: GPL-3.0-or-later
//! Reads and writes files without waiting for them.
//!
//! [`ring`] passes operations to the kernel through io_uring, [`threads`] has some threads carry
//! them out: on file systems that make io_uring wait, and where the kernel has no io_uring or forbids
//! it. Either takes the buffers with an operation and returns them with its result, so that nothing
//! else touches a buffer in between. The file stays open until then, and with it its lock. [`storage`]
//! is the files, which the threads close, too; `workers` divides the threads.

pub mod ring;
pub mod storage;
pub mod threads;
mod workers;

use std::fmt;
use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;
#[cfg(test)]
use std::time::Duration;

use self::ring::Ring;
use self::storage::StorageFile;
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
    pub file: Arc<StorageFile>,
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
pub struct FileEngine {
    /// io_uring, where the kernel provides it.
    ring: Option<Box<Ring>>,
    threads: Threads,
}

impl FileEngine {
    /// Sets up io_uring, unless the kernel refuses it, which is logged, and starts threads, which
    /// close the files of this process from then on. Both need calls that the system call filter
    /// forbids.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn start() -> io::Result<Self> {
        let ring = Ring::new().map(Box::new).inspect_err(|error| {
            tracing::info!(
                "disks are served by threads, because the kernel provides no io_uring: {error}"
            );
        });
        let threads = Threads::start()?;
        threads.close_files();
        Ok(Self { ring: ring.ok(), threads })
    }

    /// Returns the descriptors of which one is readable while operations are finished, or files were
    /// closed.
    pub fn fds(&self) -> impl Iterator<Item = RawFd> {
        self.ring.iter().map(|ring| ring.fd()).chain([self.threads.fd()])
    }

    /// Takes an operation. [`submit`](Self::submit) starts it at the latest.
    pub fn begin(&mut self, io: FileIo) {
        match &mut self.ring {
            Some(ring) if io.file.is_quick() => ring.begin(io),
            _ => self.threads.begin(io),
        }
    }

    /// Starts all operations that were begun. Returns whether the kernel has taken them all;
    /// otherwise the caller tries again.
    pub fn submit(&mut self) -> bool {
        self.ring.as_mut().is_none_or(|ring| ring.submit())
    }

    /// Appends the results of finished operations.
    pub fn finished(&mut self, finished: &mut Vec<FinishedIo>) {
        if let Some(ring) = &mut self.ring {
            ring.finished(finished);
        }
        self.threads.finished(finished);
    }

    /// Waits until an operation is finished, for `timeout` at most.
    #[cfg(test)]
    pub fn wait(&mut self, timeout: Duration) {
        match &mut self.ring {
            Some(ring) => ring.wait(timeout),
            None => self.threads.wait(timeout),
        }
    }
}

#[cfg(test)]
mod tests;
