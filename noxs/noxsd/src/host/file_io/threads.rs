// SPDX-License-Identifier: GPL-3.0-or-later
//! Operations on files in threads, each of which waits for one operation at a time.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
#[cfg(test)]
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, FcntlArg, OFlag, fallocate, fcntl};
use nix::sys::uio::{preadv, pwritev};

use super::workers::{THREADS, Workers};
use super::{FileIo, FinishedIo, IoKind, storage};

/// Bytes of a thread's stack.
const STACK: usize = 64 << 10;

/// Threads that carry out operations.
#[derive(Debug)]
pub struct Threads {
    workers: Arc<Workers>,
    results: Receiver<FinishedIo>,
    /// Results that a test has waited for.
    waited: Vec<FinishedIo>,
    /// Is readable after each result and each file that was closed.
    signal: PipeReader,
    is_readable: Arc<AtomicBool>,
}

/// The threads' end of the signal.
#[derive(Debug)]
struct Signal {
    end: PipeWriter,
    is_readable: Arc<AtomicBool>,
}

impl Signal {
    fn send(&self) {
        // If the buffer is full, there are bytes to read anyway.
        let _ = (&self.end).write(&[0]);
        // After the byte: who sees this reads it.
        self.is_readable.store(true, Ordering::Release);
    }
}

impl Threads {
    /// Starts the threads, which run until the value is dropped.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub fn start() -> io::Result<Self> {
        let (done, results) = channel();
        // Not a socket: the filter of system calls permits only `read` and `write`.
        let (signal, end) = io::pipe()?;
        for end in [signal.as_fd(), end.as_fd()] {
            fcntl(end, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        }
        let workers = Arc::new(Workers::default());
        let is_readable = Arc::new(AtomicBool::new(false));
        for _ in 0..THREADS {
            let (workers, done) = (Arc::clone(&workers), done.clone());
            let end = Signal { end: end.try_clone()?, is_readable: Arc::clone(&is_readable) };
            let builder = thread::Builder::new().name("disk".into()).stack_size(STACK);
            builder.spawn(move || work(&workers, &done, &end))?;
        }
        Ok(Self { workers, results, waited: Vec::new(), signal, is_readable })
    }

    /// Has the threads close the files of this process from now on.
    pub(super) fn close_files(&self) {
        storage::close_in(&self.workers);
    }

    /// Returns the descriptor that is readable while operations are finished, or files were closed.
    pub fn fd(&self) -> RawFd {
        self.signal.as_raw_fd()
    }

    /// Passes an operation to a thread.
    pub fn begin(&mut self, io: FileIo) {
        self.workers.begin(io);
    }

    /// Appends the results of finished operations.
    pub fn finished(&mut self, finished: &mut Vec<FinishedIo>) {
        finished.append(&mut self.waited);
        // Without a system call while there is nothing.
        if !self.is_readable.swap(false, Ordering::Acquire) {
            return;
        }
        // First the bytes: a result that comes later has one that comes later, too.
        let mut bytes = [0; 64];
        while matches!((&self.signal).read(&mut bytes), Ok(length) if length == bytes.len()) {}
        finished.extend(self.results.try_iter());
    }

    /// Waits until an operation is finished, for `timeout` at most.
    #[cfg(test)]
    pub fn wait(&mut self, timeout: Duration) {
        if self.waited.is_empty() {
            self.waited.extend(self.results.recv_timeout(timeout));
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.workers.end();
    }
}

fn work(workers: &Workers, done: &Sender<FinishedIo>, end: &Signal) {
    let work = |mut io: FileIo| {
        let result = carry_out(&mut io);
        // Give up the file before the result is known.
        let FileIo { key, parts, file, .. } = io;
        drop(file);
        done.send(FinishedIo { key, result, parts }).is_ok()
    };
    workers.run(work, || end.send());
}

fn carry_out(io: &mut FileIo) -> io::Result<()> {
    let file = Arc::clone(&io.file);
    let length = io.length();
    let offset = i64::try_from(io.offset).map_err(|_| Errno::EINVAL)?;
    match io.kind {
        IoKind::Read => {
            let mut slices: Vec<_> =
                io.parts.iter_mut().map(|part| IoSliceMut::new(part.data_mut())).collect();
            all(length, offset, &mut slices[..], IoSliceMut::advance_slices, |slices, offset| {
                preadv(&file, slices, offset)
            })
        }
        IoKind::Write => {
            let mut slices: Vec<_> =
                io.parts.iter().map(|part| IoSlice::new(part.data())).collect();
            all(length, offset, &mut slices[..], IoSlice::advance_slices, |slices, offset| {
                pwritev(&file, slices, offset)
            })
        }
        IoKind::Sync => file.sync_data(),
        IoKind::Discard { length } => discard(&file, offset, length),
    }
}

/// Repeats a transfer until all of it is done.
fn all<'a, S>(
    mut left: usize,
    mut offset: i64,
    mut slices: &'a mut [S],
    advance: impl Fn(&mut &'a mut [S], usize),
    transfer: impl Fn(&mut [S], i64) -> nix::Result<usize>,
) -> io::Result<()> {
    while left > 0 {
        match transfer(slices, offset) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(done) => {
                advance(&mut slices, done);
                left -= done;
                offset += i64::try_from(done).map_err(|_| Errno::EOVERFLOW)?;
            }
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

fn discard(file: &File, offset: i64, length: u64) -> io::Result<()> {
    let mode = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    let length = i64::try_from(length).map_err(|_| Errno::EINVAL)?;
    Ok(fallocate(file, mode, offset, length)?)
}
