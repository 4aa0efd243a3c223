// SPDX-License-Identifier: GPL-3.0-or-later
//! Requests in flight, through io_uring, which reads and writes the buffers while this process goes
//! on, and so needs `unsafe`.
#![allow(unsafe_code)]

use std::fs::File;
use std::mem::ManuallyDrop;
use std::os::fd::AsRawFd;

use anyhow::{Context, Result, ensure};
use io_uring::types::Fd;
use io_uring::{IoUring, opcode};

/// The alignment that `O_DIRECT` needs at most.
const ALIGNMENT: usize = 4096;

/// A queue of requests of one size.
pub(crate) struct Queue<'a> {
    ring: IoUring,
    disk: &'a File,
    block_size: u32,
    /// One behind the other, from an aligned address on. They are leaked if requests may still use
    /// them.
    buffers: ManuallyDrop<Vec<u8>>,
    free: Vec<usize>,
    in_flight: usize,
}

impl<'a> Queue<'a> {
    /// Returns a queue for `depth` requests of `block_size` bytes each.
    pub(crate) fn new(disk: &'a File, depth: u32, block_size: u32) -> Result<Self> {
        let size = depth as usize * block_size as usize + ALIGNMENT;
        Ok(Self {
            ring: IoUring::new(depth.next_power_of_two())?,
            disk,
            block_size,
            buffers: ManuallyDrop::new(vec![0xb5; size]),
            free: (0..depth as usize).collect(),
            in_flight: 0,
        })
    }

    /// Queues a request. [`wait`](Self::wait) submits it.
    pub(crate) fn push(&mut self, at: u64, writes: bool) -> Result<()> {
        let index = self.free.pop().context("there is no free buffer")?;
        let base = self.buffers.as_mut_ptr();
        let offset = base.align_offset(ALIGNMENT) + index * self.block_size as usize;
        // In bounds: `new` has made room for all buffers and the alignment.
        let buffer = base.wrapping_add(offset);
        let (disk, length) = (Fd(self.disk.as_raw_fd()), self.block_size);
        let entry = if writes {
            opcode::Write::new(disk, buffer, length).offset(at).build()
        } else {
            opcode::Read::new(disk, buffer, length).offset(at).build()
        };
        // SAFETY: the buffer and the descriptor are valid until the request is answered: `buffers`
        // is neither moved, read nor freed while a request is in flight (see `drop`), no two
        // requests have the same buffer, and `disk` is borrowed for longer.
        unsafe { self.ring.submission().push(&entry.user_data(index as u64)) }?;
        self.in_flight += 1;
        Ok(())
    }

    /// Submits what is queued, waits for an answer, and returns how many requests were answered.
    pub(crate) fn wait(&mut self) -> Result<u64> {
        self.ring.submit_and_wait(1)?;
        let mut done = 0;
        for answer in self.ring.completion() {
            self.in_flight -= 1;
            self.free.push(usize::try_from(answer.user_data())?);
            ensure!(
                u32::try_from(answer.result()) == Ok(self.block_size),
                "a request of {} bytes has the result {}",
                self.block_size,
                answer.result()
            );
            done += 1;
        }
        Ok(done)
    }
}

impl Drop for Queue<'_> {
    fn drop(&mut self) {
        if self.in_flight == 0 {
            // SAFETY: it is not used again, and no request uses the memory.
            unsafe { ManuallyDrop::drop(&mut self.buffers) };
        }
    }
}
