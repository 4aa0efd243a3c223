// SPDX-License-Identifier: MIT OR Apache-2.0
//! Disks: the front end of `public/io/blkif.h` on the ring of a vbd of the device page.
//!
//! [`Disk::open`] starts a disk, and [`Buffer`]s hold what is transferred: their pages are granted to
//! the backend once. There are two ways to use a disk, which can be mixed:
//!
//! * [`Disk::read`], [`Disk::write`], [`Disk::flush`] and [`Disk::discard`] return when the request is
//!   done.
//! * [`Disk::submit`] starts a request, of which 32 can be in flight, and takes its buffer until
//!   [`Disk::complete`] returns both. [`Disk::wait`] sleeps until a request is done.
//!
//! Offsets and lengths are in bytes, and must be multiples of [`Disk::sector_size`]. Requests are done
//! in any order; those in flight together must not overlap if one of them writes. What was written
//! survives a crash of the host only if a flush that was submitted afterwards is done.
//!
//! The disk trusts its backend with the data only. A response to a request that is not in flight, or
//! more responses than requests, break it: this is printed, and all its requests fail. After a restart
//! of `noxsd`, requests that were not answered are still in the ring and are answered by the new
//! process, so the guest has nothing to do.

mod buffer;
mod queue;
mod request;
#[cfg(test)]
mod tests;

use alloc::vec::Vec;

pub use noxs::Vbd;
use noxs::layout::vbd_ring;
use xen_ring::{FrontRing, RawPage, SharedPage};

pub use self::buffer::Buffer;
use self::queue::Queue;
pub use self::queue::{Done, Ticket};
use self::request::Operation;
pub use self::request::{Rejected, Request};
use crate::device_page::ring_page;
use crate::event::{self, Port};
use crate::guest::Guest;
use crate::println;

/// The most requests that can be in flight.
pub const DEPTH: usize = queue::DEPTH;

/// Why a disk or a request fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskError {
    /// The config has no disk with this number.
    NoDisk {
        /// The number, from 0 on.
        number: usize,
    },
    /// The disk was opened before.
    InUse,
    /// Memory or grant entries do not suffice for a buffer.
    Memory,
    /// Xen refuses to map the grant table.
    GrantTable {
        /// Xen's error number.
        errno: i64,
    },
    /// [`DEPTH`] requests are in flight.
    Full,
    /// The disk is read-only.
    ReadOnly,
    /// The disk does not support the request.
    Unsupported,
    /// The length is 0, or the offset or the length is not a multiple of the sector size.
    Unaligned,
    /// The request lies past the end of the disk.
    OutOfRange,
    /// The request is longer than its buffer, or than the disk supports.
    TooLong,
    /// The backend has failed to carry out the request; it may have done a part of it.
    Failed,
    /// The backend has broken the protocol, or is gone: the disk is not used any more.
    Broken,
}

impl core::fmt::Display for DiskError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::NoDisk { number } => {
                return write!(f, "no disk {number}: add disk = ['FILE,raw,xvda,w'] to the config");
            }
            Self::GrantTable { errno } => {
                return write!(f, "cannot map the grant table: Xen error {errno}");
            }
            Self::InUse => "the disk is opened already",
            Self::Memory => "not enough memory or grants for the disk's buffers",
            Self::Full => "too many requests are in flight",
            Self::ReadOnly => "the disk is read-only",
            Self::Unsupported => "the disk does not support the request",
            Self::Unaligned => "the request does not consist of whole sectors",
            Self::OutOfRange => "the request lies past the end of the disk",
            Self::TooLong => "the request is longer than its buffer or than the disk supports",
            Self::Failed => "the request failed: dom0 has logged the cause",
            Self::Broken => "the disk's backend broke the protocol or is gone",
        })
    }
}

/// A disk of the guest.
#[derive(Debug)]
pub struct Disk {
    queue: Queue<RawPage>,
    port: Port,
}

impl Disk {
    /// Starts the disk with a number, which counts the disks of the config from 0 on.
    ///
    /// # Errors
    /// There is no such disk, or it was opened before.
    pub fn open(guest: &Guest, number: usize) -> Result<Self, DiskError> {
        let vbd = *guest.disks().nth(number).ok_or(DiskError::NoDisk { number })?;
        let page = ring_page(&vbd.backend.rings[0]);
        if queue::was_used(&page) {
            return Err(DiskError::InUse);
        }
        // Buffers are granted once, for good.
        page.store(vbd_ring::PERSISTENT_GRANTS, 1);
        Ok(Self { queue: Queue::new(vbd, FrontRing::new(page)), port: Port(vbd.backend.port) })
    }

    /// Allocates `count` buffers of `pages` pages (4 KiB) for this disk. They are never freed: create
    /// a few and use them again. The grants of a guest suffice for about 400 pages in all.
    ///
    /// # Errors
    /// Memory or grant entries do not suffice, or Xen does not map the grant table.
    pub fn buffers(
        &self,
        guest: &mut Guest,
        count: usize,
        pages: usize,
    ) -> Result<Vec<Buffer>, DiskError> {
        use crate::grant::GrantError;

        let domid = self.vbd().backend.domid;
        let table = guest.grants().map_err(|error| match error {
            GrantError::NoFrame => DiskError::Memory,
            GrantError::Xen(error) => DiskError::GrantTable { errno: error.errno },
        })?;
        Buffer::several(count, pages, domid, table).ok_or(DiskError::Memory)
    }

    /// Returns what the device page says about the disk.
    #[must_use]
    pub fn vbd(&self) -> &Vbd {
        self.queue.vbd()
    }

    /// Returns the size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        request::size(self.vbd())
    }

    /// Returns the logical sector size in bytes, from 512 to 4096.
    #[must_use]
    pub fn sector_size(&self) -> usize {
        self.vbd().geometry.sector_size as usize
    }

    /// Returns the length of the longest request that reads or writes, in bytes.
    #[must_use]
    pub fn longest(&self) -> usize {
        request::longest(self.vbd())
    }

    /// Returns the port to [wait](crate::wait) for, for a guest that serves other devices, too. Call
    /// [`is_waiting`](Self::is_waiting) before.
    #[must_use]
    pub fn port(&self) -> Port {
        self.port
    }

    /// Stops using the disk, whose backend is gone. All requests in flight fail.
    #[cfg(feature = "hot-plug")]
    pub fn lose(&mut self) {
        self.queue.fail_all();
    }

    /// Returns how many requests are in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.queue.in_flight()
    }

    /// Returns whether [`submit`](Self::submit) has room for a request.
    pub fn has_room(&mut self) -> bool {
        self.take_responses();
        self.queue.has_room()
    }

    /// Writes a request into the ring. The backend sees it after [`start`](Self::start), which
    /// [`wait`](Self::wait) calls, too.
    ///
    /// # Errors
    /// The request is not valid for this disk, or the ring is full. The request is returned.
    pub fn submit(&mut self, request: Request) -> Result<Ticket, Rejected> {
        if !self.queue.has_room() {
            self.take_responses();
        }
        self.queue.submit(request)
    }

    /// Has the backend carry out all requests that were submitted.
    pub fn start(&mut self) {
        if self.queue.publish() {
            self.port.notify();
        }
    }

    /// Returns a request that is done, or `None` if all are in flight. Does not sleep.
    pub fn complete(&mut self) -> Option<Done> {
        if let Some(done) = self.queue.complete() {
            return Some(done);
        }
        self.take_responses();
        self.queue.complete()
    }

    /// Starts the requests, and requests an event for the next one that is done. Returns whether the
    /// caller must wait for the [port](Self::port): requests are in flight, and none is done.
    #[must_use]
    pub fn is_waiting(&mut self) -> bool {
        self.start();
        self.take_responses();
        self.queue.is_waiting()
    }

    /// Sleeps until a request is done, or returns at once if none is in flight. All requests fail if
    /// dom0 removes the disk meanwhile because its backend is gone.
    pub fn wait(&mut self) {
        while self.is_waiting() {
            self.sleep();
        }
    }

    /// Sleeps until there may be a response. Loses the disk if its backend is gone: then there is none.
    fn sleep(&mut self) {
        #[cfg(feature = "hot-plug")]
        {
            let vbd = *self.queue.vbd();
            let is_lost = || crate::hot_plug::has_lost(&vbd);
            event::wait_until(&[self.port], None, &is_lost);
            if is_lost() {
                self.lose();
            }
        }
        #[cfg(not(feature = "hot-plug"))]
        event::wait_for_ports(&[self.port], None);
    }

    /// Reads `length` bytes at an offset of the disk into the beginning of a buffer.
    ///
    /// # Errors
    /// The request is not valid, or it fails.
    pub fn read(&mut self, at: u64, buffer: &mut Buffer, length: usize) -> Result<(), DiskError> {
        self.execute(Operation::Read, at, length as u64, Some(buffer))
    }

    /// Writes the first `length` bytes of a buffer at an offset of the disk. A durable write, and all
    /// that was written before, survives a crash of the host.
    ///
    /// # Errors
    /// The request is not valid, or it fails.
    pub fn write(
        &mut self,
        at: u64,
        buffer: &mut Buffer,
        length: usize,
        durable: bool,
    ) -> Result<(), DiskError> {
        if durable && !request::can_be_durable(self.vbd(), length) {
            self.execute(Operation::Write, at, length as u64, Some(buffer))?;
            return self.flush();
        }
        let operation = if durable { Operation::DurableWrite } else { Operation::Write };
        self.execute(operation, at, length as u64, Some(buffer))
    }

    /// Makes all writes that are done survive a crash of the host.
    ///
    /// # Errors
    /// The disk does not support it, or it fails.
    pub fn flush(&mut self) -> Result<(), DiskError> {
        self.execute(Operation::Flush, 0, 0, None)
    }

    /// Discards what the disk has at an offset. What is read there afterwards is undefined.
    ///
    /// # Errors
    /// The disk does not support it, the request is not valid, or it fails.
    pub fn discard(&mut self, at: u64, length: u64) -> Result<(), DiskError> {
        self.execute(Operation::Discard, at, length, None)
    }

    /// Carries out one request. Waits for room, and returns when it is done.
    fn execute(
        &mut self,
        operation: Operation,
        at: u64,
        length: u64,
        mut buffer: Option<&mut Buffer>,
    ) -> Result<(), DiskError> {
        let ticket = loop {
            match self.queue.put(operation, at, length, buffer.as_deref_mut()) {
                Ok(ticket) => break ticket,
                // Requests that are done and not yet taken keep their place, so there may be none
                // in flight.
                Err(DiskError::Full) if self.queue.is_in_flight() => self.wait_for_response(),
                Err(error) => return Err(error),
            }
        };
        loop {
            if let Some(result) = self.queue.finish(ticket) {
                return result;
            }
            self.wait_for_response();
        }
    }

    /// Sleeps until the backend has answered something that was not answered before.
    fn wait_for_response(&mut self) {
        self.start();
        while !self.take_responses() && self.queue.needs_event() {
            self.sleep();
        }
    }

    /// Takes the responses that there are. Returns whether there were any. Prints what is wrong with
    /// them if the disk breaks.
    fn take_responses(&mut self) -> bool {
        self.queue.take_responses().unwrap_or_else(|broken| {
            println!("disk {}: {broken}; it is not used any more", self.vbd().backend.index);
            true
        })
    }
}
