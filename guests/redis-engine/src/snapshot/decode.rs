// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reads what `encode.rs` writes. Everything may be damaged: the checksum at the end covers all of it.

use alloc::boxed::Box;
use alloc::vec::Vec;

use foldhash::fast::FixedState;

use super::encode::{END, EXPIRES_MS, HASH, LIST, MAGIC, SELECT_DB, SET, SORTED_SET, STRING};
use super::stream::To;
use super::{BLOCK, PIECE};
use crate::bytes::{Bytes, Text};
use crate::memory::{Memory, data_room, fits};
use crate::value::{Hash, List, Set, Value};
use crate::zset::SortedSet;

/// The bytes that one element takes in addition to its own.
const OVERHEAD: usize = 256;

/// Why a snapshot is not loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    Damaged,
    Memory,
    Disk,
}

/// One key of a snapshot.
pub(crate) struct Item {
    pub(crate) key: Vec<u8>,
    pub(crate) value: Value,
    pub(crate) expires: Option<u64>,
}

/// Reads a snapshot.
pub(crate) struct Reader<'a> {
    from: To<'a>,
    memory: &'static dyn Memory,
    hasher: FixedState,
    piece: Vec<u8>,
    /// How much of the piece is read.
    used: usize,
    /// Where the next piece is.
    at: u64,
    /// The bytes that are left of the snapshot.
    left: u64,
    /// The checksum of what is read.
    crc: u64,
}

impl<'a> Reader<'a> {
    /// Starts to read a snapshot of `length` bytes at an offset, and checks its beginning.
    pub(crate) fn new(
        from: To<'a>,
        memory: &'static dyn Memory,
        hasher: FixedState,
        at: u64,
        length: u64,
    ) -> Result<Self, Wrong> {
        let piece = Vec::with_capacity(PIECE);
        let mut reader = Self { from, memory, hasher, piece, used: 0, at, left: length, crc: 0 };
        let mut start = [0; MAGIC.len() + 2];
        reader.read(&mut start)?;
        let (magic, select) = start.split_at(MAGIC.len());
        if magic == MAGIC && select == [SELECT_DB, 0] { Ok(reader) } else { Err(Wrong::Damaged) }
    }

    /// Reads the next key, or returns `None` at the end, if the checksum is right.
    pub(crate) fn next(&mut self) -> Result<Option<Item>, Wrong> {
        let mut kind = self.byte()?;
        let mut expires = None;
        if kind == EXPIRES_MS {
            let at = u64::from_le_bytes(self.bytes()?);
            // Times are signed, and 0 would mean that there is none.
            if at == 0 || i64::try_from(at).is_err() {
                return Err(Wrong::Damaged);
            }
            expires = Some(at);
            kind = self.byte()?;
        }
        if kind == END && expires.is_none() {
            let sum = self.crc;
            let is_right = u64::from_le_bytes(self.bytes()?) == sum && self.left == 0;
            return if is_right { Ok(None) } else { Err(Wrong::Damaged) };
        }
        let key = self.string(2)?;
        let value = self.value(kind)?;
        Ok(Some(Item { key, value, expires }))
    }

    fn value(&mut self, kind: u8) -> Result<Value, Wrong> {
        if kind == STRING {
            return Ok(Value::String(Text::of(self.string(1)?)));
        }
        let count = self.length()?;
        // No collection is empty.
        if count == 0 {
            return Err(Wrong::Damaged);
        }
        let memory = self.memory;
        Ok(match kind {
            LIST => {
                let mut list = List::new();
                for _ in 0..count {
                    data_room(memory, &mut list, 1).map_err(|_| Wrong::Memory)?;
                    list.push_back(self.element()?);
                }
                Value::List(Box::new(list))
            }
            SET => {
                let mut set = Set::new(self.hasher.clone());
                for _ in 0..count {
                    set.room(memory, 1).map_err(|_| Wrong::Memory)?;
                    let member = self.element()?;
                    new(!set.contains(&member))?;
                    set.add(member, ());
                }
                Value::Set(Box::new(set))
            }
            HASH => {
                let mut hash = Hash::new(self.hasher.clone());
                for _ in 0..count {
                    hash.room(memory, 1).map_err(|_| Wrong::Memory)?;
                    let (field, value) = (self.element()?, self.element()?);
                    new(!hash.contains(&field))?;
                    hash.add(field, value);
                }
                Value::Hash(Box::new(hash))
            }
            SORTED_SET => {
                let mut set = SortedSet::new(self.hasher.clone());
                for _ in 0..count {
                    set.room(memory, 1).map_err(|_| Wrong::Memory)?;
                    let member = self.string(2)?;
                    let score = f64::from_le_bytes(self.bytes()?);
                    new(!score.is_nan() && set.score(&member).is_none())?;
                    set.insert(&member, score);
                }
                Value::SortedSet(Box::new(set))
            }
            _ => return Err(Wrong::Damaged),
        })
    }

    #[inline(never)]
    fn element(&mut self) -> Result<Bytes, Wrong> {
        self.string(1).map(Bytes::of)
    }

    /// Reads a string of any length, of which there will be this many copies at the same time.
    #[inline(never)]
    fn string(&mut self, copies: usize) -> Result<Vec<u8>, Wrong> {
        let length = self.length()?;
        if length > self.left {
            return Err(Wrong::Damaged);
        }
        let length = usize::try_from(length).map_err(|_| Wrong::Damaged)?;
        let mut bytes = Vec::new();
        if !fits(self.memory, length.saturating_mul(copies).saturating_add(OVERHEAD))
            || bytes.try_reserve_exact(length).is_err()
        {
            return Err(Wrong::Memory);
        }
        bytes.resize(length, 0);
        self.read(&mut bytes)?;
        Ok(bytes)
    }

    #[inline(never)]
    fn length(&mut self) -> Result<u64, Wrong> {
        let first = self.byte()?;
        match first {
            0..=0x3f => Ok(first.into()),
            0x40..=0x7f => Ok(u64::from(first & 0x3f) << 8 | u64::from(self.byte()?)),
            0x81 => self.bytes().map(u64::from_be_bytes),
            _ => Err(Wrong::Damaged),
        }
    }

    fn byte(&mut self) -> Result<u8, Wrong> {
        self.bytes().map(|[byte]| byte)
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], Wrong> {
        let mut bytes = [0; N];
        self.read(&mut bytes)?;
        Ok(bytes)
    }

    /// Reads exactly this many bytes.
    #[inline(never)]
    fn read(&mut self, mut to: &mut [u8]) -> Result<(), Wrong> {
        while !to.is_empty() {
            if self.used == self.piece.len() {
                self.next_piece()?;
            }
            let there = &self.piece[self.used..];
            let count = there.len().min(to.len());
            let (now, later) = to.split_at_mut(count);
            now.copy_from_slice(&there[..count]);
            self.crc = self.from.crc.update(self.crc, now);
            self.used += count;
            self.left -= count as u64;
            to = later;
        }
        Ok(())
    }

    /// Reads the next piece, which ends with the snapshot.
    fn next_piece(&mut self) -> Result<(), Wrong> {
        let length = usize::try_from(self.left.min(PIECE as u64)).unwrap_or(PIECE);
        if length == 0 {
            return Err(Wrong::Damaged);
        }
        self.piece.resize(length.next_multiple_of(BLOCK), 0);
        self.from.disk.read(self.at, &mut self.piece).map_err(|_| Wrong::Disk)?;
        self.piece.truncate(length);
        self.at += length as u64;
        self.used = 0;
        Ok(())
    }
}

/// Refuses an element that is in the collection already.
fn new(is_new: bool) -> Result<(), Wrong> {
    if is_new { Ok(()) } else { Err(Wrong::Damaged) }
}
