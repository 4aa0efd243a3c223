// SPDX-License-Identifier: MIT OR Apache-2.0
//! A disk in memory that carries out what was started only when it is waited for.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use redis_engine::{Disk, DiskFailed};

/// The most writes in flight.
const ROOM: usize = 4;

/// What was started.
#[derive(Clone, Debug)]
pub(crate) enum Started {
    Write(usize, Vec<u8>),
    Flush,
}

/// The disk. Clones share it, so that a test can look at it.
#[derive(Clone, Debug)]
pub(crate) struct Ram(pub(crate) Rc<RefCell<State>>);

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) content: Vec<u8>,
    pub(crate) is_read_only: bool,
    /// What is in flight.
    started: VecDeque<Started>,
    /// All that was done, in order.
    pub(crate) done: Vec<Started>,
    /// Fail when so much more was done; then once.
    pub(crate) fail_after: Option<usize>,
    failed: bool,
}

impl Ram {
    /// Returns an empty disk.
    pub(crate) fn new(size: usize) -> Self {
        Self::with(vec![0; size])
    }

    pub(crate) fn with(content: Vec<u8>) -> Self {
        Self(Rc::new(RefCell::new(State { content, ..State::default() })))
    }
}

impl State {
    /// Carries out what was started first.
    fn proceed(&mut self) {
        let Some(next) = self.started.pop_front() else { return };
        if self.fail_after == Some(0) {
            self.fail_after = None;
            self.failed = true;
            return;
        }
        self.fail_after = self.fail_after.map(|left| left - 1);
        if let Started::Write(at, bytes) = &next {
            self.content[*at..][..bytes.len()].copy_from_slice(bytes);
        }
        self.done.push(next);
    }
}

impl Disk for Ram {
    fn size(&self) -> u64 {
        self.0.borrow().content.len() as u64
    }

    fn is_writable(&self) -> bool {
        !self.0.borrow().is_read_only
    }

    fn read(&mut self, at: u64, to: &mut [u8]) -> Result<(), DiskFailed> {
        let at = usize::try_from(at).unwrap();
        assert!(at.is_multiple_of(4096) && to.len().is_multiple_of(4096));
        let state = self.0.borrow();
        // A disk that has become shorter.
        to.copy_from_slice(state.content.get(at..at + to.len()).ok_or(DiskFailed)?);
        Ok(())
    }

    fn write(&mut self, at: u64, bytes: &[u8]) {
        let at = usize::try_from(at).unwrap();
        assert!(at.is_multiple_of(4096) && bytes.len().is_multiple_of(4096));
        assert!(bytes.len() <= 16 * 1024 && !bytes.is_empty());
        let mut state = self.0.borrow_mut();
        assert!(at + bytes.len() <= state.content.len(), "past the end");
        while state.started.len() == ROOM {
            state.proceed();
        }
        state.started.push_back(Started::Write(at, bytes.to_vec()));
    }

    fn flush(&mut self) {
        let mut state = self.0.borrow_mut();
        assert!(state.started.is_empty(), "a flush covers only writes that are done");
        state.started.push_back(Started::Flush);
    }

    fn has_room(&mut self) -> bool {
        self.0.borrow().started.len() < ROOM
    }

    fn is_idle(&mut self) -> Result<bool, DiskFailed> {
        let mut state = self.0.borrow_mut();
        match std::mem::take(&mut state.failed) {
            true => Err(DiskFailed),
            false => Ok(state.started.is_empty()),
        }
    }

    fn is_waiting(&mut self) -> bool {
        !self.0.borrow().started.is_empty()
    }

    fn wait(&mut self) {
        self.0.borrow_mut().proceed();
    }
}
