// SPDX-License-Identifier: MIT OR Apache-2.0
//! The layout of the disk.
//!
//! ```text
//! 0        header of slot 0
//! 4096     header of slot 1
//! 8192     slot 0: an RDB file
//! ...      slot 1, as large as slot 0
//! ```
//!
//! A header has 48 bytes, little-endian: magic, version (u32, 1), zero (u32), number of the snapshot
//! (u64, counts up), length of the RDB file (u64), when it was saved (u64, milliseconds since the Unix
//! epoch), and the checksum of all before (CRC-64, as in RDB files). A header lies in one sector, which
//! a disk writes as a whole or not at all.

use super::{BLOCK, Crc, Disk, LoadError};

const MAGIC: [u8; 8] = *b"chaosRDB";
const VERSION: u64 = 1;

/// The number of 64-bit words of a header before its checksum.
const WORDS: usize = 5;

/// Where the slots are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    /// The size of a slot in bytes.
    pub(crate) slot: u64,
}

impl Layout {
    /// Divides a disk of this size. Returns `None` if it is too small.
    pub(crate) fn new(size: u64) -> Option<Self> {
        let block = BLOCK as u64;
        let slot = size.checked_sub(2 * block)? / 2 / block * block;
        (slot > 0).then_some(Self { slot })
    }

    /// Returns the offset of a slot.
    pub(crate) fn data(self, slot: usize) -> u64 {
        2 * BLOCK as u64 + slot as u64 * self.slot
    }

    /// Returns the offset of a slot's header.
    pub(crate) fn header(slot: usize) -> u64 {
        (slot * BLOCK) as u64
    }
}

/// The header of a slot that holds a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// Counts the snapshots of the disk, from 1 on.
    pub(crate) sequence: u64,
    /// The length of the RDB file in bytes.
    pub(crate) length: u64,
    /// When it was saved, in milliseconds since the Unix epoch.
    pub(crate) saved_ms: u64,
}

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    /// The slot was never written.
    Empty,
    /// There is something else than a header.
    Damaged,
    Used(Header),
}

impl Slot {
    pub(crate) fn header(self) -> Option<Header> {
        if let Self::Used(header) = self { Some(header) } else { None }
    }
}

/// What the headers of a disk say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contents {
    /// The disk was never written.
    Empty,
    /// It was written by this engine.
    Slots([Slot; 2]),
    /// It was written by something else.
    Other,
}

/// Returns the block of a header.
pub(crate) fn encode_header(crc: &Crc, header: Header) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let magic = u64::from_le_bytes(MAGIC);
    let words = [magic, VERSION, header.sequence, header.length, header.saved_ms];
    let (targets, _) = block.as_chunks_mut();
    for (target, word) in targets.iter_mut().zip(words) {
        *target = word.to_le_bytes();
    }
    let sum = crc.update(0, &block[..8 * WORDS]);
    block[8 * WORDS..][..8].copy_from_slice(&sum.to_le_bytes());
    block
}

fn decode_header(crc: &Crc, layout: Layout, block: &[u8; BLOCK]) -> Option<Header> {
    let mut words = [0; WORDS + 1];
    for (word, bytes) in words.iter_mut().zip(block.as_chunks().0) {
        *word = u64::from_le_bytes(*bytes);
    }
    let [magic, version, sequence, length, saved_ms, sum] = words;
    let is_whole = magic == u64::from_le_bytes(MAGIC)
        && version == VERSION
        && sum == crc.update(0, &block[..8 * WORDS])
        && length <= layout.slot
        && sequence > 0;
    is_whole.then_some(Header { sequence, length, saved_ms })
}

/// Reads both headers.
pub(crate) fn read_headers(
    disk: &mut dyn Disk,
    crc: &Crc,
    layout: Layout,
) -> Result<Contents, LoadError> {
    let mut is_ours = false;
    let mut slots = [Slot::Empty; 2];
    for (number, slot) in slots.iter_mut().enumerate() {
        let mut block = [0; BLOCK];
        disk.read(Layout::header(number), &mut block).map_err(|_| LoadError::Disk)?;
        is_ours |= block.starts_with(&MAGIC);
        if block.iter().any(|byte| *byte != 0) {
            *slot = decode_header(crc, layout, &block).map_or(Slot::Damaged, Slot::Used);
        }
    }
    Ok(match is_ours {
        _ if slots == [Slot::Empty; 2] => Contents::Empty,
        true => Contents::Slots(slots),
        false => Contents::Other,
    })
}
