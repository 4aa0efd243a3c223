// SPDX-License-Identifier: GPL-3.0-or-later
//! Operations on files through io_uring.
//!
//! The kernel carries out the operations of a ring without asking the system call filter. So the
//! ring is restricted, before it is enabled, to the operations below on descriptors that are open
//! already; it can open no file and create no socket.
//!
//! `unsafe`: the kernel reads and writes the buffers of an operation after the call that submits it.
#![allow(unsafe_code)]

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use io_uring::register::Restriction;
use io_uring::types::{Fd, FsyncFlags, SubmitArgs, Timespec};
use io_uring::{IoUring, opcode, squeue};
use slab::Slab;

use super::{FileIo, FinishedIo, IoKind, MAX_OPERATIONS};

/// Entries of the submission queue: operations that one system call starts.
const ENTRIES: u32 = 256;

/// Entries of the completion queue: it never overflows.
const COMPLETIONS: u32 = MAX_OPERATIONS;

/// What the ring may do.
const OPERATIONS: [u8; 4] =
    [opcode::Readv::CODE, opcode::Writev::CODE, opcode::Fsync::CODE, opcode::Fallocate::CODE];

/// Punches a hole without changing the file's size.
const PUNCH_HOLE: i32 = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;

/// A ring, and the operations that the kernel has.
pub struct Ring {
    ring: IoUring,
    flying: Slab<Flying>,
}

/// An operation that the kernel has. Its buffers are on the heap and do not move.
struct Flying {
    io: FileIo,
    /// The addresses of its parts, which the kernel reads when the operation is submitted.
    vectors: Vec<libc::iovec>,
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ring").field("flying", &self.flying.len()).finish_non_exhaustive()
    }
}

impl Ring {
    /// Sets up a ring.
    ///
    /// # Errors
    /// The kernel has no io_uring, forbids it, or is older than Linux 5.10, which cannot restrict a
    /// ring.
    pub fn new() -> io::Result<Self> {
        let ring =
            IoUring::builder().setup_r_disabled().setup_cqsize(COMPLETIONS).build(ENTRIES)?;
        let mut allowed = OPERATIONS.map(Restriction::sqe_op);
        ring.submitter().register_restrictions(&mut allowed)?;
        ring.submitter().register_enable_rings()?;
        // The kernel must have copied the vectors when a submission returns.
        if !ring.params().is_feature_submit_stable() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        Ok(Self { ring, flying: Slab::with_capacity(ENTRIES as usize) })
    }

    /// Returns the descriptor that is readable while operations are finished.
    pub fn fd(&self) -> RawFd {
        self.ring.as_raw_fd()
    }

    /// Takes an operation, which [`submit`](Self::submit) starts.
    pub fn begin(&mut self, mut io: FileIo) {
        let vectors: Vec<libc::iovec> = io
            .parts
            .iter_mut()
            .map(|part| {
                let data = part.data_mut();
                libc::iovec { iov_base: data.as_mut_ptr().cast(), iov_len: data.len() }
            })
            .collect();
        let number = self.flying.insert(Flying { io, vectors });
        let Flying { io, vectors } = &self.flying[number];
        let fd = Fd(io.file.as_raw_fd());
        let count = u32::try_from(vectors.len()).unwrap_or(u32::MAX);
        let entry = match io.kind {
            IoKind::Read => {
                opcode::Readv::new(fd, vectors.as_ptr(), count).offset(io.offset).build()
            }
            IoKind::Write => {
                opcode::Writev::new(fd, vectors.as_ptr(), count).offset(io.offset).build()
            }
            IoKind::Sync => opcode::Fsync::new(fd).flags(FsyncFlags::DATASYNC).build(),
            IoKind::Discard { length } => {
                opcode::Fallocate::new(fd, length).offset(io.offset).mode(PUNCH_HOLE).build()
            }
        };
        self.push(&entry.user_data(number as u64));
    }

    fn push(&mut self, entry: &squeue::Entry) {
        loop {
            // SAFETY: an entry's file, vectors and buffers must stay valid until the operation is
            // finished. `flying` owns all of them, on the heap, until `finished` has taken the
            // completion with the entry's number; `drop` leaks what is unfinished.
            match unsafe { self.ring.submission().push(entry) } {
                Ok(()) => return,
                // The queue is full. The kernel refuses only for lack of memory, or of room for
                // completions, of which there is one for each operation.
                Err(_) => {
                    self.submit();
                }
            }
        }
    }

    /// Starts what was begun. Returns whether the kernel has taken all of it.
    pub fn submit(&mut self) -> bool {
        loop {
            if self.ring.submission().is_empty() {
                return true;
            }
            match self.ring.submit() {
                Ok(_) => {}
                Err(error) if error.raw_os_error() == Some(libc::EINTR) => {}
                Err(error) => {
                    tracing::debug!("the kernel takes no more operations on files: {error}");
                    return false;
                }
            }
        }
    }

    /// Appends the results of finished operations.
    pub fn finished(&mut self, finished: &mut Vec<FinishedIo>) {
        if self.flying.is_empty() {
            return;
        }
        for completion in self.ring.completion() {
            let number = usize::try_from(completion.user_data()).unwrap_or(usize::MAX);
            let Some(Flying { io, .. }) = self.flying.try_remove(number) else { continue };
            let result = match completion.result() {
                error @ ..0 => Err(io::Error::from_raw_os_error(-error)),
                // The kernel transfers less only at the end of a file that was cut meanwhile, or
                // before an error.
                done if usize::try_from(done) == Ok(io.length()) => Ok(()),
                _ => Err(io::ErrorKind::UnexpectedEof.into()),
            };
            finished.push(FinishedIo { key: io.key, result, parts: io.parts });
        }
    }

    /// Waits until an operation is finished, for `timeout` at most.
    pub fn wait(&mut self, timeout: Duration) {
        if self.flying.is_empty() {
            return;
        }
        let timeout = Timespec::from(timeout);
        // The result says only whether the time is over; the caller looks at what is finished.
        let _ = self.ring.submitter().submit_with_args(1, &SubmitArgs::new().timespec(&timeout));
    }
}

impl Drop for Ring {
    /// Leaks the buffers that the kernel may still access: closing the ring does not wait for it.
    fn drop(&mut self) {
        for (_, flying) in mem::take(&mut self.flying) {
            mem::forget(flying);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Carries out an operation that stays valid meanwhile, and returns its result.
    fn run(ring: &mut IoUring, entry: &squeue::Entry) -> i32 {
        // SAFETY: the operations of this test refer to static memory only.
        unsafe { ring.submission().push(entry) }.unwrap();
        ring.submit_and_wait(1).unwrap();
        ring.completion().next().unwrap().result()
    }

    /// What a noxsd that was taken over could do with its ring: the filter of system calls does not
    /// see it.
    #[test]
    fn the_ring_opens_no_file_and_no_socket() {
        // Some machines have no io_uring, and then there is no ring that could.
        let Ok(mut own) = Ring::new() else { return };
        let open = opcode::OpenAt::new(Fd(libc::AT_FDCWD), c"/dev/null".as_ptr()).build();
        let socket = opcode::Socket::new(libc::AF_UNIX, libc::SOCK_STREAM, 0).build();
        let close = opcode::Close::new(Fd(1 << 20)).build();
        let read = opcode::Read::new(Fd(0), std::ptr::null_mut(), 0).build();
        let flagged = opcode::Fsync::new(Fd(0)).build().flags(squeue::Flags::ASYNC);
        for entry in [&open, &socket, &close, &read, &flagged] {
            assert_eq!(run(&mut own.ring, entry), -libc::EACCES, "{entry:?}");
        }
        assert!(own.ring.submitter().register_restrictions(&mut []).is_err());
        let mut free = IoUring::new(4).unwrap();
        assert!(run(&mut free, &open) >= 0, "a ring without restrictions does");
    }
}
