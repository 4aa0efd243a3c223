// SPDX-License-Identifier: MIT OR Apache-2.0
//! Saves the store to a disk and loads it from there.

use alloc::boxed::Box;
use alloc::rc::Rc;

use super::{Entry, Store};
use crate::keyed::Keyed;
use crate::snapshot::{
    Contents, Crc, Disk, Header, Layout, LoadError, Loaded, Phase, Reader, Running, SaveError,
    Slot, Snapshots, Stream, To, Work, Wrong, encode_header, end, entry, read_headers, start,
};

/// The bytes of a snapshot in the background after which clients are served again.
const SLICE: u64 = 64 * 1024;

/// What passing over a key that is written already counts for, in bytes.
const PASSED: u64 = 16;

/// Why no snapshot was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotStarted {
    NoDisk,
    ReadOnly,
    Running,
}

impl Snapshots {
    fn to(&mut self) -> (&mut Stream, To<'_>) {
        (&mut self.stream, To { disk: &mut *self.disk, crc: &self.crc })
    }

    /// Writes a key, unless it is written already.
    #[inline(never)]
    fn write(&mut self, entries: &mut Keyed<Rc<[u8]>, Entry>, epoch: bool, position: usize) {
        if let Some((key, found)) = entries.at_mut(position)
            && found.expires.mark() != epoch
        {
            found.expires.set_mark(epoch);
            let (stream, mut to) = self.to();
            entry(stream, &mut to, key, &found.value, found.expires.at());
        }
    }

    /// Continues with a phase in which no keys are written. Returns what to do then.
    fn finish(&mut self, running: &mut Running, now_ms: u64) -> Work {
        match self.disk.is_idle() {
            Err(_) => return Work::Over(Err(SaveError::Disk)),
            Ok(false) => return Work::Wait,
            Ok(true) => {}
        }
        let slot = 1 - self.newest;
        running.phase = match running.phase {
            Phase::Keys | Phase::Data => {
                self.disk.flush();
                Phase::DataFlush
            }
            Phase::DataFlush => {
                let (sequence, length) = (self.sequence + 1, self.stream.length);
                let header = Header { sequence, length, saved_ms: now_ms };
                self.disk.write(Layout::header(slot), &encode_header(&self.crc, header));
                Phase::Header
            }
            Phase::Header => {
                self.disk.flush();
                Phase::HeaderFlush
            }
            Phase::HeaderFlush => {
                (self.newest, self.sequence) = (slot, self.sequence + 1);
                return Work::Over(Ok(()));
            }
        };
        Work::More
    }
}

impl Store {
    /// Loads the newest snapshot that is undamaged, and keeps the disk for further ones. If there is a
    /// snapshot, the store must be empty. Keys that have expired are left out.
    ///
    /// # Errors
    /// The data cannot be loaded. The store must not be used then: its next snapshot would replace
    /// the data.
    pub fn load(&mut self, mut disk: Box<dyn Disk>, now_ms: u64) -> Result<Loaded, LoadError> {
        let layout = Layout::new(disk.size()).ok_or(LoadError::TooSmall)?;
        let crc = Crc::new();
        let contents = read_headers(&mut *disk, &crc, layout)?;
        let mut snapshots = Snapshots {
            disk,
            layout,
            crc,
            newest: 1,
            sequence: 0,
            running: None,
            stream: Stream::new(),
        };
        let mut loaded = Loaded::default();
        match contents {
            Contents::Other => return Err(LoadError::NotOurs),
            Contents::Slots(slots) if slots.iter().any(|slot| slot.header().is_some()) => {
                if self.len() > 0 {
                    return Err(LoadError::HasKeys);
                }
                loaded = self.load_newest(&mut snapshots, slots, now_ms)?;
                self.saves.last_ms = loaded.saved_ms;
            }
            // A first snapshot whose header was never completed is none.
            Contents::Slots(_) | Contents::Empty => {}
        }
        self.saves.loaded = loaded.keys;
        self.snapshots = Some(Box::new(snapshots));
        Ok(loaded)
    }

    /// Loads a disk as [`load`](Self::load) does, for a store that is in use and stays so if that
    /// fails.
    ///
    /// # Errors
    /// The data cannot be loaded. The store is as it was before, without the disk.
    pub fn add_disk(&mut self, disk: Box<dyn Disk>, now_ms: u64) -> Result<Loaded, LoadError> {
        let was_empty = self.len() == 0;
        let loaded = self.load(disk, now_ms);
        if loaded.is_err() && was_empty {
            self.clear();
        }
        loaded
    }

    /// Gives up the disk. A snapshot that is being saved in the background is abandoned. Returns when
    /// the disk has answered all requests.
    pub fn remove_disk(&mut self) {
        self.end_snapshot();
        let Some(snapshots) = &mut self.snapshots else { return };
        while !snapshots.disk.is_idle().unwrap_or(false) {
            snapshots.disk.wait();
        }
        self.snapshots = None;
    }

    fn load_newest(
        &mut self,
        snapshots: &mut Snapshots,
        slots: [Slot; 2],
        now_ms: u64,
    ) -> Result<Loaded, LoadError> {
        let sequence = |slot: usize| slots[slot].header().map_or(0, |header| header.sequence);
        snapshots.sequence = sequence(0).max(sequence(1));
        let newer = usize::from(sequence(1) > sequence(0));
        for slot in [newer, 1 - newer] {
            let Some(header) = slots[slot].header() else { continue };
            match self.load_slot(snapshots, slot, header.length, now_ms) {
                Ok(()) => {
                    snapshots.newest = slot;
                    return Ok(Loaded {
                        keys: self.len(),
                        saved_ms: header.saved_ms,
                        other_is_damaged: slot != newer || slots[1 - slot] == Slot::Damaged,
                    });
                }
                Err(Wrong::Memory) => return Err(LoadError::Memory),
                Err(Wrong::Disk) => return Err(LoadError::Disk),
                Err(Wrong::Damaged) => self.clear(),
            }
        }
        Err(LoadError::Damaged)
    }

    fn load_slot(
        &mut self,
        snapshots: &mut Snapshots,
        slot: usize,
        length: u64,
        now_ms: u64,
    ) -> Result<(), Wrong> {
        self.saves.expired = 0;
        let (memory, hasher) = (self.memory, self.hasher.clone());
        let at = snapshots.layout.data(slot);
        let (_, from) = snapshots.to();
        let mut reader = Reader::new(from, memory, hasher, at, length)?;
        while let Some(item) = reader.next()? {
            if item.expires.is_some_and(|at| at <= now_ms) {
                self.saves.expired += 1;
                continue;
            }
            if self.entries.contains(&item.key) {
                return Err(Wrong::Damaged);
            }
            let position = self.insert(&item.key, item.value).map_err(|_| Wrong::Memory)?;
            if let Some(at) = item.expires {
                self.expire_at_position(position, at);
            }
        }
        Ok(())
    }

    /// Must be called before the entry at a position changes: writes it, if a snapshot is being saved
    /// and has not come to it yet.
    pub(super) fn preserve(&mut self, position: usize) {
        self.touched = true;
        if self.is_saving_keys {
            self.write_early(position);
        }
    }

    // Apart from its many callers, because it is seldom needed and would make each larger.
    #[cold]
    #[inline(never)]
    fn write_early(&mut self, position: usize) {
        if let Some(snapshots) = &mut self.snapshots {
            snapshots.write(&mut self.entries, self.epoch, position);
        }
    }

    /// Must be called before the last entry moves to a position: writes it, if a snapshot that is
    /// being saved would not come to it any more.
    pub(super) fn preserve_last(&mut self, position: usize) {
        let cursor = || self.snapshots.as_ref()?.running.map(|running| running.cursor);
        if self.is_saving_keys && cursor().is_some_and(|cursor| position < cursor) {
            self.write_early(self.entries.len() - 1);
        }
    }

    /// Ends a snapshot of which keys are still to be written, without a result, before all keys are
    /// removed. Redis does the same.
    pub(super) fn abandon_snapshot(&mut self) {
        if self.is_saving_keys {
            self.end_snapshot();
        }
    }

    /// Ends a snapshot, complete or not.
    fn end_snapshot(&mut self) {
        self.is_saving_keys = false;
        let Some(snapshots) = &mut self.snapshots else { return };
        if snapshots.running.take().is_some() {
            for position in 0..self.entries.len() {
                if let Some((_, found)) = self.entries.at_mut(position) {
                    found.expires.set_mark(self.epoch);
                }
            }
        }
    }

    /// Starts a snapshot.
    pub(crate) fn start_snapshot(&mut self, now_ms: u64) -> Result<(), NotStarted> {
        let Some(snapshots) = &mut self.snapshots else { return Err(NotStarted::NoDisk) };
        if snapshots.running.is_some() {
            return Err(NotStarted::Running);
        }
        if !snapshots.disk.is_writable() {
            return Err(NotStarted::ReadOnly);
        }
        // Requests of a snapshot that was abandoned may be in flight, and their errors do not count.
        while !snapshots.disk.is_idle().unwrap_or(false) {
            snapshots.disk.wait();
        }
        // All keys have the mark of the last snapshot, so with this none is written.
        self.epoch = !self.epoch;
        let at = snapshots.layout.data(1 - snapshots.newest);
        snapshots.stream.start(at, at + snapshots.layout.slot);
        let (stream, mut to) = snapshots.to();
        start(stream, &mut to);
        let changes = self.changes;
        let phase = Phase::Keys;
        self.is_saving_keys = true;
        snapshots.running = Some(Running { phase, cursor: 0, started_ms: now_ms, changes });
        Ok(())
    }

    /// Returns when the snapshot started that is being saved, in milliseconds since the Unix epoch.
    pub(crate) fn saving_since(&self) -> Option<u64> {
        Some(self.snapshots.as_ref()?.running?.started_ms)
    }

    /// Saves a snapshot, and waits for it.
    pub(crate) fn save(&mut self, now_ms: u64) -> Result<Result<(), SaveError>, NotStarted> {
        self.start_snapshot(now_ms)?;
        loop {
            match self.step(now_ms) {
                Work::Over(result) => return Ok(result),
                Work::Wait => {
                    if let Some(snapshots) = &mut self.snapshots {
                        snapshots.disk.wait();
                    }
                }
                Work::More => {}
                // Not reached: a snapshot was started.
                Work::Nothing => return Ok(Err(SaveError::Disk)),
            }
        }
    }

    /// Continues a snapshot in the background. Call it whenever there is nothing else to do, and when
    /// the disk has an event. It does not wait for the disk, except to write a value that is larger
    /// than what the disk has room for.
    pub fn work(&mut self, now_ms: u64) -> Work {
        let Some(started) = self.saving_since() else { return Work::Nothing };
        let work = self.step(now_ms);
        if let Work::Over(result) = work {
            self.saves.background_ok = result.is_ok();
            self.saves.background_seconds = Some(now_ms.saturating_sub(started) / 1000);
        }
        let is_done = |snapshots: &mut Box<Snapshots>| !snapshots.disk.is_waiting();
        if work == Work::Wait && self.snapshots.as_mut().is_some_and(is_done) {
            return Work::More;
        }
        work
    }

    /// Does a part of the work for a snapshot.
    fn step(&mut self, now_ms: u64) -> Work {
        let work = self.step_without_end(now_ms);
        if let Work::Over(result) = work {
            if result.is_ok()
                && let Some(running) =
                    self.snapshots.as_ref().and_then(|snapshots| snapshots.running)
            {
                self.changes -= running.changes;
                self.saves.last_ms = now_ms;
                self.saves.saves += 1;
            }
            self.end_snapshot();
        }
        work
    }

    fn step_without_end(&mut self, now_ms: u64) -> Work {
        let Some(snapshots) = &mut self.snapshots else { return Work::Nothing };
        let Some(mut running) = snapshots.running else { return Work::Nothing };
        if running.phase != Phase::Keys {
            let work = snapshots.finish(&mut running, now_ms);
            snapshots.running = Some(running);
            return work;
        }
        let (before, mut passed) = (snapshots.stream.length, 0);
        while snapshots.stream.length - before + passed < SLICE {
            if snapshots.stream.is_too_long {
                return Work::Over(Err(SaveError::TooLarge { slot: snapshots.layout.slot }));
            }
            if !snapshots.disk.has_room() {
                return Work::Wait;
            }
            if running.cursor >= self.entries.len() {
                let (stream, mut to) = snapshots.to();
                end(stream, &mut to);
                if snapshots.stream.is_too_long {
                    return Work::Over(Err(SaveError::TooLarge { slot: snapshots.layout.slot }));
                }
                running.phase = Phase::Data;
                self.is_saving_keys = false;
                snapshots.running = Some(running);
                return Work::More;
            }
            snapshots.write(&mut self.entries, self.epoch, running.cursor);
            running.cursor += 1;
            passed += PASSED;
            snapshots.running = Some(running);
        }
        Work::More
    }
}
