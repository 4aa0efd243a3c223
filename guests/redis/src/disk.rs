// SPDX-License-Identifier: MIT OR Apache-2.0
//! The guest's disk, as the engine uses it for snapshots.

use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};

use redis_engine::{Disk, DiskFailed};
use unikernel::block::{self, Buffer, DiskError, Request, Vbd};
use unikernel::{Guest, println};

/// The buffers, and the pages of each. A page has 4 KiB; the engine writes at most four at once.
const BUFFERS: usize = 4;
const PAGES: usize = 4;

/// The first disk.
pub(crate) struct SnapshotDisk {
    disk: block::Disk,
    /// Those that no request uses.
    buffers: Vec<Buffer>,
    /// Whether a request has failed since the engine has asked.
    failed: bool,
    /// Where the buffers go when the disk is removed. They are granted for good.
    spare: Spare,
    /// Whether the disk's backend is gone.
    gone: Rc<Cell<bool>>,
}

/// The buffers of a disk that was removed, for the next one.
pub(crate) type Spare = Rc<RefCell<Vec<Buffer>>>;

impl SnapshotDisk {
    /// Opens the disk.
    pub(crate) fn open(guest: &mut Guest, spare: &Spare) -> Result<Self, DiskError> {
        let disk = block::Disk::open(guest, 0)?;
        let mut buffers = core::mem::take(&mut *spare.borrow_mut());
        if buffers.is_empty() {
            buffers = disk.buffers(guest, BUFFERS, PAGES)?;
        }
        Ok(Self { disk, buffers, failed: false, spare: Rc::clone(spare), gone: Rc::default() })
    }

    /// Returns what the device page says about the disk.
    pub(crate) fn vbd(&self) -> Vbd {
        *self.disk.vbd()
    }

    /// Returns what says that the disk's backend is gone.
    pub(crate) fn gone(&self) -> Rc<Cell<bool>> {
        Rc::clone(&self.gone)
    }

    #[cold]
    fn fail(&mut self, error: DiskError) {
        println!("redis: the disk failed: {error}");
        self.failed = true;
    }

    /// Takes what is done.
    fn collect(&mut self) {
        if self.gone.get() {
            self.disk.lose();
        }
        while let Some(done) = self.disk.complete() {
            self.buffers.extend(done.buffer);
            if let Err(error) = done.result {
                self.fail(error);
            }
        }
    }

    fn submit(&mut self, request: Request) {
        if let Err(rejected) = self.disk.submit(request) {
            if let Request::Write { buffer, .. } = rejected.request {
                self.buffers.push(buffer);
            }
            self.fail(rejected.error);
        }
        self.disk.start();
    }
}

impl Drop for SnapshotDisk {
    fn drop(&mut self) {
        self.spare.borrow_mut().append(&mut self.buffers);
    }
}

impl Disk for SnapshotDisk {
    fn size(&self) -> u64 {
        self.disk.size()
    }

    fn is_writable(&self) -> bool {
        !self.disk.vbd().geometry.read_only
    }

    fn read(&mut self, mut at: u64, to: &mut [u8]) -> Result<(), DiskFailed> {
        let Some(mut buffer) = self.buffers.pop() else { return Err(DiskFailed) };
        let mut result = Ok(());
        for piece in to.chunks_mut(buffer.size()) {
            result = result.and_then(|()| self.disk.read(at, &mut buffer, piece.len()));
            buffer.get(0, piece);
            at += piece.len() as u64;
        }
        self.buffers.push(buffer);
        result.map_err(|error| println!("redis: the disk failed: {error}")).or(Err(DiskFailed))
    }

    fn write(&mut self, at: u64, bytes: &[u8]) {
        let mut buffer = loop {
            match self.buffers.pop() {
                Some(buffer) => break buffer,
                None => self.wait(),
            }
        };
        buffer.put(0, bytes);
        self.submit(Request::Write { at, length: bytes.len(), buffer, durable: false });
    }

    fn flush(&mut self) {
        self.submit(Request::Flush);
    }

    fn has_room(&mut self) -> bool {
        self.collect();
        !self.buffers.is_empty()
    }

    fn is_idle(&mut self) -> Result<bool, DiskFailed> {
        self.collect();
        if core::mem::take(&mut self.failed) {
            Err(DiskFailed)
        } else {
            Ok(self.disk.in_flight() == 0)
        }
    }

    fn is_waiting(&mut self) -> bool {
        self.disk.is_waiting()
    }

    fn wait(&mut self) {
        self.disk.wait();
        self.collect();
    }
}
