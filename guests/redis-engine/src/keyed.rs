// SPDX-License-Identifier: MIT OR Apache-2.0
//! A hash table whose entries also have positions.
//!
//! The entries are stored in chunks, so that they are not copied when the table grows: memory can
//! be filled almost completely, and no command waits for a large copy. An index of positions, four
//! bytes each, finds an entry by its name. Removing an entry moves the last one into its place; the
//! cursors of `SCAN` rely on that.

use alloc::vec::Vec;
use core::borrow::Borrow;
use core::hash::BuildHasher;
use core::ops::Range;

use foldhash::fast::FixedState;
use hashbrown::HashTable;

use crate::error::Refused;
use crate::memory::{Memory, data_room, fits, fits_in_transit};

/// The number of entries in a chunk. A chunk is small enough to fit into fragmented memory.
const CHUNK: usize = 64;

/// The bytes that the index takes per place: a position, and one byte of hash.
const INDEX_PLACE: usize = size_of::<u32>() + 1;

/// The most bytes that the index takes in addition.
const INDEX_FRAME: usize = 64;

/// Returns the hash of the name at a position, for the index when it grows. It is one type for all
/// tables, so that the program contains the index's code only once.
type Rehash<'a> = &'a dyn Fn(&u32) -> u64;

/// An index with at most this many places is never made smaller.
const FEW_PLACES: usize = 64;

/// Names, each with a value.
#[derive(Debug)]
pub(crate) struct Keyed<K, V> {
    /// All chunks are full except the last ones. The first chunk grows step by step.
    chunks: Vec<Vec<(K, V)>>,
    index: HashTable<u32>,
    hasher: FixedState,
}

fn at<K, V>(chunks: &[Vec<(K, V)>], position: usize) -> Option<&(K, V)> {
    chunks.get(position / CHUNK)?.get(position % CHUNK)
}

/// Returns the hash of the name at a position.
fn hash_at<K: Borrow<[u8]>, V>(chunks: &[Vec<(K, V)>], hasher: &FixedState, position: u32) -> u64 {
    at(chunks, position as usize).map_or(0, |(key, _)| hasher.hash_one::<&[u8]>(key.borrow()))
}

impl<K: Borrow<[u8]>, V> Keyed<K, V> {
    pub(crate) fn new(hasher: FixedState) -> Self {
        Self { chunks: Vec::new(), index: HashTable::new(), hasher }
    }

    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Returns the position of a name.
    pub(crate) fn position(&self, key: &[u8]) -> Option<usize> {
        let same = |position: &u32| {
            at(&self.chunks, *position as usize).is_some_and(|(other, _)| other.borrow() == key)
        };
        self.index.find(self.hasher.hash_one(key), same).map(|position| *position as usize)
    }

    pub(crate) fn contains(&self, key: &[u8]) -> bool {
        self.position(key).is_some()
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<&V> {
        self.at(self.position(key)?).map(|(_, value)| value)
    }

    pub(crate) fn get_mut(&mut self, key: &[u8]) -> Option<&mut V> {
        self.at_mut(self.position(key)?).map(|(_, value)| value)
    }

    /// Returns the entry at a position.
    pub(crate) fn at(&self, position: usize) -> Option<(&K, &V)> {
        at(&self.chunks, position).map(|(key, value)| (key, value))
    }

    pub(crate) fn at_mut(&mut self, position: usize) -> Option<(&K, &mut V)> {
        let (key, value) = self.chunks.get_mut(position / CHUNK)?.get_mut(position % CHUNK)?;
        Some((key, value))
    }

    /// Returns all entries in the order of their positions.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.chunks.iter().flatten().map(|(key, value)| (key, value))
    }

    /// Makes room, so that adding `more` entries cannot fail.
    pub(crate) fn room(&mut self, memory: &dyn Memory, more: usize) -> Result<(), Refused> {
        let length = self.len() + more;
        if u32::try_from(length).is_err() {
            return Err(Refused::OutOfMemory);
        }
        if self.index.capacity() < length {
            // Removed entries leave tombstones, because of which the index may double although it
            // has enough places.
            let places = (length * 8 / 7 + 1).next_power_of_two().max(2 * self.index.num_buckets());
            let (chunks, hasher) = (&self.chunks, &self.hasher);
            let hash: Rehash<'_> = &|position| hash_at(chunks, hasher, *position);
            if !fits(memory, places * INDEX_PLACE + INDEX_FRAME)
                || self.index.try_reserve(more, hash).is_err()
            {
                return Err(Refused::OutOfMemory);
            }
        }
        self.room_in_chunks(memory, length)
    }

    fn room_in_chunks(&mut self, memory: &dyn Memory, length: usize) -> Result<(), Refused> {
        while self.chunks.len() < length.div_ceil(CHUNK) {
            match self.chunks.len() {
                0 if self.chunks.try_reserve_exact(1).is_err() => return Err(Refused::OutOfMemory),
                0 => self.chunks.push(Vec::new()),
                _ => {
                    // Growing copies the list of chunks; nothing else is ever copied.
                    data_room(memory, &mut self.chunks, 1)?;
                    self.fill_chunk(memory, self.chunks.len() - 1, CHUNK)?;
                    self.chunks.push(Vec::new());
                }
            }
        }
        match length.div_ceil(CHUNK).checked_sub(1) {
            Some(last) => self.fill_chunk(memory, last, length - last * CHUNK),
            None => Ok(()),
        }
    }

    /// Makes a chunk large enough for this many entries. Only the first chunk may have fewer places
    /// than a whole chunk.
    fn fill_chunk(
        &mut self,
        memory: &dyn Memory,
        number: usize,
        entries: usize,
    ) -> Result<(), Refused> {
        let Some(chunk) = self.chunks.get_mut(number) else { return Ok(()) };
        if chunk.capacity() >= entries {
            return Ok(());
        }
        let places = match number {
            0 => entries.next_power_of_two().clamp(1, CHUNK),
            _ => CHUNK,
        };
        let refused = !fits(memory, places * size_of::<(K, V)>())
            || chunk.try_reserve_exact(places - chunk.len()).is_err();
        if refused { Err(Refused::OutOfMemory) } else { Ok(()) }
    }

    /// Adds a name that is not in the table, and returns its position. Room must have been made.
    pub(crate) fn add(&mut self, key: K, value: V) -> usize {
        let position = self.len();
        let hash = self.hasher.hash_one::<&[u8]>(key.borrow());
        if let Some(chunk) = self.chunks.get_mut(position / CHUNK) {
            chunk.push((key, value));
            let (chunks, hasher) = (&self.chunks, &self.hasher);
            // Fits: `room` refuses more entries than 32 bits can count.
            let number = u32::try_from(position).unwrap_or(u32::MAX);
            let rehash: Rehash<'_> = &|other| hash_at(chunks, hasher, *other);
            self.index.insert_unique(hash, number, rehash);
        }
        position
    }

    /// Removes the entry at a position. The last entry moves there.
    pub(crate) fn remove_at(&mut self, position: usize) -> Option<(K, V)> {
        let last = self.len().checked_sub(1)?;
        let (from, to) = (u32::try_from(last).ok()?, u32::try_from(position).ok()?);
        let hash = |number| hash_at(&self.chunks, &self.hasher, number);
        let (removed, moved) = (hash(to), hash(from));
        self.index.find_entry(removed, |number| *number == to).ok()?.remove();
        if from != to
            && let Some(number) = self.index.find_mut(moved, |number| *number == from)
        {
            *number = to;
        }
        let entry = self.chunks.get_mut(last / CHUNK)?.pop()?;
        if from == to {
            return Some(entry);
        }
        let place = self.chunks.get_mut(position / CHUNK)?.get_mut(position % CHUNK)?;
        Some(core::mem::replace(place, entry))
    }

    pub(crate) fn remove(&mut self, key: &[u8]) -> Option<(K, V)> {
        self.remove_at(self.position(key)?)
    }

    /// Returns the chunks that are not needed. One empty chunk is kept for the next entries.
    fn spare_chunks(&self) -> Range<usize> {
        (self.len() / CHUNK + 2).min(self.chunks.len())..self.chunks.len()
    }

    fn index_is_wasteful(&self) -> bool {
        self.index.num_buckets() > FEW_PLACES && self.len() < self.index.num_buckets() / 8
    }

    /// Returns whether there is memory to free.
    pub(crate) fn is_wasteful(&self) -> bool {
        !self.spare_chunks().is_empty() || self.index_is_wasteful()
    }

    /// Frees memory that is not needed.
    pub(crate) fn trim(&mut self, memory: &dyn Memory) {
        let spare = self.spare_chunks();
        self.chunks.truncate(spare.start);
        let kept = 2 * self.len();
        let places = (kept * 8 / 7 + 1).next_power_of_two();
        // Shrinking builds a new index, for which there must be memory.
        if self.index_is_wasteful() && fits_in_transit(memory, places * INDEX_PLACE + INDEX_FRAME) {
            let (chunks, hasher) = (&self.chunks, &self.hasher);
            let hash: Rehash<'_> = &|position| hash_at(chunks, hasher, *position);
            self.index.shrink_to(kept, hash);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::ToOwned;
    use std::collections::BTreeMap;
    use std::format;

    use super::*;

    struct Plenty;

    impl Memory for Plenty {
        fn used(&self) -> usize {
            0
        }

        fn total(&self) -> usize {
            1 << 40
        }

        fn can_allocate(&self, _: usize) -> bool {
            true
        }
    }

    /// Compares the table with a map of the standard library while both grow and shrink.
    #[test]
    fn it_behaves_like_a_map() {
        let mut table = Keyed::new(FixedState::with_seed(5));
        let mut map = BTreeMap::new();
        let mut state = 1_u64;
        for step in 0..20_000_u64 {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(11);
            // In the first half more entries are added, in the second half more are removed.
            let adds = (state >> 60) < if step < 10_000 { 11 } else { 4 };
            let key = format!("{}", (state >> 33) % 3000).into_bytes();
            if adds && !table.contains(&key) {
                table.room(&Plenty, 1).unwrap();
                let position = table.add(key.clone(), step);
                assert_eq!(table.at(position).map(|(key, _)| key), Some(&key));
                map.insert(key, step);
            } else if adds {
                *table.get_mut(&key).unwrap() = step;
                map.insert(key, step);
            } else {
                assert_eq!(table.remove(&key), map.remove_entry(&key));
                table.trim(&Plenty);
            }
            assert_eq!(table.len(), map.len());
        }
        let mut all: Vec<_> = table.iter().map(|(key, value)| (key.to_owned(), *value)).collect();
        all.sort();
        assert!(all.into_iter().eq(map.clone()));
        for (key, value) in map {
            assert_eq!(table.get(&key), Some(&value));
            let position = table.position(&key).unwrap();
            assert_eq!(table.at(position), Some((&key, &value)));
        }
    }

    #[test]
    fn removing_entries_frees_memory() {
        let mut table = Keyed::new(FixedState::with_seed(5));
        table.room(&Plenty, 10_000).unwrap();
        for number in 0..10_000_u32 {
            table.add(number.to_le_bytes().to_vec(), ());
        }
        assert!(!table.is_wasteful());
        for number in 10..10_000_u32 {
            table.remove(&number.to_le_bytes());
            table.trim(&Plenty);
        }
        assert!(!table.is_wasteful());
        assert!(table.chunks.len() <= 2);
        assert!(table.index.num_buckets() <= FEW_PLACES, "{}", table.index.num_buckets());
        assert!(table.remove(b"missing").is_none() && table.remove_at(10).is_none());
    }
}
