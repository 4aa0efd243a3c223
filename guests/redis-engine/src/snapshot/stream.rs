// SPDX-License-Identifier: MIT OR Apache-2.0
//! Writes a snapshot to the disk in pieces.

use alloc::vec::Vec;

use super::{BLOCK, Crc, Disk, PIECE};

/// The part of a snapshot that is not on its way to the disk yet.
#[derive(Debug)]
pub(crate) struct Stream {
    piece: Vec<u8>,
    /// Where the piece goes, and where the slot ends.
    at: u64,
    end: u64,
    /// The bytes so far, and their checksum.
    pub(crate) length: u64,
    pub(crate) crc: u64,
    /// Whether the slot was too small.
    pub(crate) is_too_long: bool,
}

impl Stream {
    /// Returns a stream that has its memory. [`start`](Self::start) must follow.
    pub(crate) fn new() -> Self {
        let piece = Vec::with_capacity(PIECE);
        Self { piece, at: 0, end: 0, length: 0, crc: 0, is_too_long: false }
    }

    /// Starts a snapshot in the slot between two offsets of the disk.
    pub(crate) fn start(&mut self, at: u64, end: u64) {
        self.piece.clear();
        (self.at, self.end) = (at, end);
        (self.length, self.crc, self.is_too_long) = (0, 0, false);
    }

    /// Appends bytes. Waits for the disk if it has no room.
    #[inline(never)]
    pub(crate) fn put(&mut self, to: &mut To<'_>, mut bytes: &[u8]) {
        self.length += bytes.len() as u64;
        self.crc = to.crc.update(self.crc, bytes);
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(PIECE - self.piece.len()));
            self.piece.extend_from_slice(now);
            bytes = later;
            if self.piece.len() == PIECE {
                self.send(to);
            }
        }
    }

    /// Writes what is left, with zeros up to the end of the last block.
    pub(crate) fn finish(&mut self, to: &mut To<'_>) {
        self.piece.resize(self.piece.len().next_multiple_of(BLOCK), 0);
        self.send(to);
    }

    fn send(&mut self, to: &mut To<'_>) {
        let length = self.piece.len() as u64;
        self.is_too_long |= self.end - self.at < length;
        if !self.is_too_long && length > 0 {
            to.disk.write(self.at, &self.piece);
            self.at += length;
        }
        self.piece.clear();
    }
}

/// Where a stream writes to.
pub(crate) struct To<'a> {
    pub(crate) disk: &'a mut dyn Disk,
    pub(crate) crc: &'a Crc,
}
