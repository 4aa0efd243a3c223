// SPDX-License-Identifier: GPL-3.0-or-later
//! Operations on files in threads, each of which waits for one operation at a time.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
#[cfg(test)]
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use nix::sys::uio::{preadv, pwritev};

use super::{FileIo, FinishedIo, IoKind};

/// Number of threads: a disk that does not answer takes at most as many as it has requests.
const THREADS: usize = 8;

/// Threads that carry out operations.
#[derive(Debug)]
pub struct Threads {
    orders: Sender<FileIo>,
    results: Receiver<FinishedIo>,
    /// Results of operations that no thread has taken, or that a test has waited for.
    waited: Vec<FinishedIo>,
    /// A byte for each result; fewer if its buffer is full.
    signal: UnixStream,
}

impl Threads {
    /// Starts the threads, which run until the value is dropped.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub fn start() -> io::Result<Self> {
        let (orders, todo) = channel();
        let (done, results) = channel();
        let (signal, end) = UnixStream::pair()?;
        signal.set_nonblocking(true)?;
        end.set_nonblocking(true)?;
        let todo = Arc::new(Mutex::new(todo));
        for _ in 0..THREADS {
            let (todo, done, end) = (Arc::clone(&todo), done.clone(), end.try_clone()?);
            thread::Builder::new().name("disk".into()).spawn(move || work(&todo, &done, &end))?;
        }
        Ok(Self { orders, results, waited: Vec::new(), signal })
    }

    /// Returns the descriptor that is readable while operations are finished.
    pub fn fd(&self) -> RawFd {
        self.signal.as_raw_fd()
    }

    /// Passes an operation to a thread.
    pub fn begin(&mut self, io: FileIo) {
        if let Err(rejected) = self.orders.send(io) {
            // All threads have panicked.
            let FileIo { key, parts, .. } = rejected.0;
            self.waited.push(FinishedIo { key, result: Err(Errno::EIO.into()), parts });
        }
    }

    /// Appends the results of finished operations.
    pub fn finished(&mut self, finished: &mut Vec<FinishedIo>) {
        // First the bytes: a result that comes later has one that comes later, too.
        let mut bytes = [0; 64];
        while matches!((&self.signal).read(&mut bytes), Ok(length) if length == bytes.len()) {}
        finished.append(&mut self.waited);
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

fn work(todo: &Mutex<Receiver<FileIo>>, done: &Sender<FinishedIo>, mut signal: &UnixStream) {
    loop {
        // Other threads wait for the lock while this one waits for an operation.
        let next = todo.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(mut io) = next else { return };
        let result = carry_out(&mut io);
        // Close the file before the result is known.
        let FileIo { key, parts, file, .. } = io;
        drop(file);
        if done.send(FinishedIo { key, result, parts }).is_err() {
            return;
        }
        // If the buffer is full, there are bytes to read anyway.
        let _ = signal.write(&[0]);
    }
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
