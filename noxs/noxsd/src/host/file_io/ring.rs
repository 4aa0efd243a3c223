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
#[cfg(test)]
use std::time::Duration;

use io_uring::register::Restriction;
use io_uring::types::{Fd, FsyncFlags};
#[cfg(test)]
use io_uring::types::{SubmitArgs, Timespec};
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
    /// The addresses of what is left of its parts, which the kernel reads when the operation is
    /// submitted.
    vectors: Vec<libc::iovec>,
    /// How many bytes were transferred.
    done: usize,
}

impl Flying {
    /// Returns the operation on what is left.
    fn entry(&self) -> squeue::Entry {
        let Self { io, vectors, done } = self;
        let fd = Fd(io.file.as_raw_fd());
        let count = u32::try_from(vectors.len()).unwrap_or(u32::MAX);
        let offset = io.offset + *done as u64;
        match io.kind {
            IoKind::Read => opcode::Readv::new(fd, vectors.as_ptr(), count).offset(offset).build(),
            IoKind::Write => {
                opcode::Writev::new(fd, vectors.as_ptr(), count).offset(offset).build()
            }
            IoKind::Sync => opcode::Fsync::new(fd).flags(FsyncFlags::DATASYNC).build(),
            IoKind::Discard { length } => {
                opcode::Fallocate::new(fd, length).offset(offset).mode(PUNCH_HOLE).build()
            }
        }
    }

    /// Counts bytes that were transferred. The kernel must have finished the operation.
    fn advance(&mut self, mut bytes: usize) {
        self.done += bytes;
        let whole = self.vectors.iter().take_while(|vector| {
            let is_whole = vector.iov_len <= bytes;
            if is_whole {
                bytes -= vector.iov_len;
            }
            is_whole
        });
        let whole = whole.count();
        self.vectors.drain(..whole);
        if let Some(vector) = self.vectors.first_mut() {
            vector.iov_base = vector.iov_base.cast::<u8>().wrapping_add(bytes).cast();
            vector.iov_len -= bytes;
        }
    }
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
        let number = self.flying.insert(Flying { io, vectors, done: 0 });
        let entry = self.flying[number].entry();
        self.push(&entry.user_data(number as u64));
    }

    fn push(&mut self, entry: &squeue::Entry) {
        loop {
            // SAFETY: an entry's file, vectors and buffers must stay valid until the operation is
            // finished. `flying` owns all of them, on the heap, and changes none until `finished` has
            // taken the completion with the entry's number; `drop` leaks what is unfinished.
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

    /// Appends the results of finished operations. What was transferred in part continues, and
    /// [`submit`](Self::submit) starts it.
    pub fn finished(&mut self, finished: &mut Vec<FinishedIo>) {
        if self.flying.is_empty() {
            return;
        }
        let mut again = Vec::new();
        for completion in self.ring.completion() {
            let number = usize::try_from(completion.user_data()).unwrap_or(usize::MAX);
            let Some(flying) = self.flying.get_mut(number) else { continue };
            let left = flying.io.length() - flying.done;
            let result = match usize::try_from(completion.result()) {
                Err(_) => Err(io::Error::from_raw_os_error(-completion.result())),
                Ok(done) if done == left => Ok(()),
                // The kernel transfers less before an error, such as of a file system that is full,
                // and nothing only at the end of a file that was cut meanwhile. The rest has the
                // error.
                Ok(done) if (1..left).contains(&done) => {
                    flying.advance(done);
                    again.push(number);
                    continue;
                }
                Ok(_) => Err(io::ErrorKind::UnexpectedEof.into()),
            };
            let io = self.flying.remove(number).io;
            finished.push(FinishedIo { key: io.key, result, parts: io.parts });
        }
        for number in again {
            let entry = self.flying[number].entry();
            self.push(&entry.user_data(number as u64));
        }
    }

    /// Waits until an operation is finished, for `timeout` at most.
    #[cfg(test)]
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
    use std::fs::File;
    use std::io::Write;
    use std::os::fd::OwnedFd;
    use std::sync::Arc;

    use super::super::{IoPage, IoPart};
    use super::*;
    use crate::host::PAGE_SIZE;

    /// Carries out an operation that stays valid meanwhile, and returns its result.
    fn run(ring: &mut IoUring, entry: &squeue::Entry) -> i32 {
        // SAFETY: the operations of this test refer to static memory only.
        unsafe { ring.submission().push(entry) }.unwrap();
        ring.submit_and_wait(1).unwrap();
        ring.completion().next().unwrap().result()
    }

    /// The kernel transfers less than all of it from a pipe, in which there is not more.
    #[test]
    fn a_transfer_of_which_the_kernel_does_a_part_continues() {
        // Some machines have no io_uring, and threads repeat a transfer until all of it is done.
        let Ok(mut own) = Ring::new() else { return };
        let (reader, writer) = io::pipe().unwrap();
        let bytes: Vec<u8> = (0..=250).cycle().take(10_000).collect();
        let lengths = [4096, 512, 4096, 1296];
        let part = |length| IoPart { page: Box::new(IoPage([0; PAGE_SIZE])), length };
        let file = Arc::new(File::from(OwnedFd::from(reader)).into());
        let parts = lengths.map(part).into();
        own.begin(FileIo { key: 7, file, kind: IoKind::Read, offset: 0, parts });
        let mut finished = Vec::new();
        // Within a part, at the end of one, and in the next but one.
        for piece in [&bytes[..100], &bytes[100..4608], &bytes[4608..9000], &bytes[9000..]] {
            assert!(finished.is_empty());
            (&writer).write_all(piece).unwrap();
            assert!(own.submit());
            own.wait(Duration::from_secs(30));
            own.finished(&mut finished);
        }
        let [FinishedIo { key: 7, result: Ok(()), parts }] = &finished[..] else {
            panic!("{finished:?}")
        };
        let read: Vec<u8> = parts.iter().flat_map(|part| part.data().to_vec()).collect();
        assert_eq!(read, bytes);
    }

    #[test]
    fn a_transfer_that_ends_early_is_an_error() {
        let Ok(mut own) = Ring::new() else { return };
        let (reader, writer) = io::pipe().unwrap();
        (&writer).write_all(&[1; 100]).unwrap();
        drop(writer);
        let parts = vec![IoPart { page: Box::new(IoPage([0; PAGE_SIZE])), length: 512 }];
        let file = Arc::new(File::from(OwnedFd::from(reader)).into());
        own.begin(FileIo { key: 0, file, kind: IoKind::Read, offset: 0, parts });
        let mut finished = Vec::new();
        for _ in 0..2 {
            assert!(finished.is_empty());
            assert!(own.submit());
            own.wait(Duration::from_secs(30));
            own.finished(&mut finished);
        }
        let error = finished[0].result.as_ref().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
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
