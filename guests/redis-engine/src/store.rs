// SPDX-License-Identifier: MIT OR Apache-2.0
//! The data: keys, values, and when they expire.

mod snapshots;

pub(crate) use self::snapshots::NotStarted;

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::rc::Rc;

use foldhash::fast::FixedState;

use crate::bytes::Text;
use crate::clients::Clients;
use crate::error::Refused;
use crate::keyed::Keyed;
use crate::memory::{Memory, fits};
use crate::random::Random;
use crate::requests::Requests;
use crate::snapshot::{SaveStats, Snapshots};
use crate::value::{Hash, List, Set, Value};
use crate::zset::SortedSet;

/// A value and when it expires.
#[derive(Debug)]
struct Entry {
    value: Value,
    expires: Expires,
}

/// When a value expires, in milliseconds since the Unix epoch, and a mark for snapshots in the bit
/// that times do not use, because they are signed.
#[derive(Clone, Copy, Debug)]
struct Expires(u64);

/// The bit of the mark.
const MARK: u64 = 1 << 63;

impl Expires {
    fn never(mark: bool) -> Self {
        Self(if mark { MARK } else { 0 })
    }

    fn at(self) -> Option<u64> {
        Some(self.0 & !MARK).filter(|at| *at != 0)
    }

    fn has_passed(self, now: u64) -> bool {
        self.at().is_some_and(|at| at <= now)
    }

    /// Sets the time. 0, which would mean never, becomes 1.
    fn set(&mut self, at: Option<u64>) {
        self.0 = self.0 & MARK | at.map_or(0, |at| at.clamp(1, !MARK));
    }

    fn mark(self) -> bool {
        self.0 & MARK != 0
    }

    fn set_mark(&mut self, mark: bool) {
        self.0 = self.0 & !MARK | Self::never(mark).0;
    }
}

/// The bytes that a small value takes in addition to its own: boxes, tree nodes, map entries.
const OVERHEAD: usize = 256;

/// The data of one server: one database, and what `INFO` reports.
///
/// No command sees keys that have expired; [`Store::expire`] removes them.
pub struct Store {
    entries: Keyed<Rc<[u8]>, Entry>,
    /// The keys that expire, by time. They share the key with `entries`, so that removing one needs
    /// no copy of it.
    deadlines: BTreeSet<(u64, Rc<[u8]>)>,
    hasher: FixedState,
    memory: &'static dyn Memory,
    pub(crate) random: Random,
    pub(crate) stats: Stats,
    pub(crate) clients: Clients,
    pub(crate) requests: Requests,
    /// The disk, if there is one.
    snapshots: Option<Box<Snapshots>>,
    pub(crate) saves: SaveStats,
    /// The mark of keys that a snapshot has written, and of new keys.
    epoch: bool,
    /// Whether a snapshot is being saved that has not written all keys yet.
    is_saving_keys: bool,
    /// Whether the current command has changed data.
    pub(crate) touched: bool,
    /// The commands that have changed data since the last snapshot.
    pub(crate) changes: u64,
}

/// What `INFO` counts.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stats {
    pub(crate) started_ms: u64,
    pub(crate) commands: u64,
    pub(crate) connections: u64,
    pub(crate) expired: u64,
    pub(crate) hits: u64,
    pub(crate) misses: u64,
}

impl core::fmt::Debug for Store {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Store").field("keys", &self.entries.len()).finish_non_exhaustive()
    }
}

impl Store {
    /// Creates an empty store. `seed` must be unknown to peers, because it prevents them from
    /// choosing keys whose hashes collide. `now_ms` is in milliseconds since the Unix epoch.
    #[must_use]
    pub fn new(seed: u64, now_ms: u64, memory: &'static dyn Memory) -> Self {
        let hasher = FixedState::with_seed(seed);
        Self {
            entries: Keyed::new(hasher.clone()),
            deadlines: BTreeSet::new(),
            hasher,
            memory,
            random: Random::new(seed.rotate_left(32)),
            stats: Stats { started_ms: now_ms, ..Stats::default() },
            clients: Clients::default(),
            requests: Requests::default(),
            snapshots: None,
            saves: SaveStats {
                last_ms: now_ms,
                saves: 0,
                background_ok: true,
                background_seconds: None,
                loaded: 0,
                expired: 0,
            },
            epoch: false,
            is_saving_keys: false,
            touched: false,
            changes: 0,
        }
    }

    /// Returns when the next key expires, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn next_expiry(&self) -> Option<u64> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Removes at most `most` keys that have expired.
    pub fn expire(&mut self, now_ms: u64, most: usize) {
        for _ in 0..most {
            if self.next_expiry().is_none_or(|deadline| deadline > now_ms) {
                return;
            }
            let position = self.deadlines.first().and_then(|(_, key)| self.entries.position(key));
            match position {
                Some(position) => {
                    self.remove_at(position);
                    self.stats.expired += 1;
                }
                // Not reached: each deadline has its key.
                None => drop(self.deadlines.pop_first()),
            }
        }
    }

    /// Returns whether the incomplete requests of all connections hold more memory than is free
    /// beside them. As long as this is true, the caller must close the connection whose request holds
    /// the most ([`Session::held_by_request`](crate::Session::held_by_request)).
    #[must_use]
    pub fn requests_exceed_their_share(&self) -> bool {
        self.requests.exceed(self.memory)
    }

    pub(crate) fn memory(&self) -> &'static dyn Memory {
        self.memory
    }

    /// Refuses unless there is memory for `values` more values with `bytes` bytes in total.
    pub(crate) fn need(&self, bytes: usize, values: usize) -> Result<(), Refused> {
        let wanted = bytes.saturating_add(values.saturating_mul(OVERHEAD));
        if fits(self.memory, wanted) { Ok(()) } else { Err(Refused::OutOfMemory) }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn expiring(&self) -> usize {
        self.deadlines.len()
    }

    pub(crate) fn clear(&mut self) {
        self.abandon_snapshot();
        self.touched |= !self.entries.is_empty();
        self.entries = Keyed::new(self.hasher.clone());
        self.deadlines.clear();
    }

    /// Returns the position of a key. Removes a key that has expired.
    fn find(&mut self, key: &[u8], now: u64) -> Option<usize> {
        let index = self.entries.position(key)?;
        let (_, entry) = self.entries.at(index)?;
        if entry.expires.has_passed(now) {
            self.remove_at(index);
            self.stats.expired += 1;
            return None;
        }
        Some(index)
    }

    /// Removes the entry at a position.
    fn remove_at(&mut self, index: usize) -> Option<Value> {
        self.preserve(index);
        self.preserve_last(index);
        let (key, entry) = self.entries.remove_at(index)?;
        if let Some(at) = entry.expires.at() {
            self.deadlines.remove(&(at, key));
        }
        self.entries.trim(self.memory);
        Some(entry.value)
    }

    pub(crate) fn get(&mut self, key: &[u8], now: u64) -> Option<&Value> {
        let index = self.find(key, now);
        self.stats.hits += u64::from(index.is_some());
        self.stats.misses += u64::from(index.is_none());
        self.entries.at(index?).map(|(_, entry)| &entry.value)
    }

    pub(crate) fn get_mut(&mut self, key: &[u8], now: u64) -> Option<&mut Value> {
        let index = self.find(key, now)?;
        self.preserve(index);
        self.entries.at_mut(index).map(|(_, entry)| &mut entry.value)
    }

    /// Adds a key that does not exist. The caller must have checked memory for the key itself.
    fn insert(&mut self, key: &[u8], value: Value) -> Result<usize, Refused> {
        self.entries.room(self.memory, 1)?;
        self.touched = true;
        Ok(self.entries.add(Rc::from(key), Entry { value, expires: Expires::never(self.epoch) }))
    }

    /// Returns the key's value, and creates it if it does not exist.
    fn get_or_create(
        &mut self,
        key: &[u8],
        now: u64,
        make: impl FnOnce(FixedState) -> Value,
    ) -> Result<&mut Value, Refused> {
        let index = match self.find(key, now) {
            Some(index) => {
                self.preserve(index);
                index
            }
            None => {
                let value = make(self.hasher.clone());
                self.insert(key, value)?
            }
        };
        // Always `Some`: the entry was found or added at this position.
        self.entries.at_mut(index).map(|(_, entry)| &mut entry.value).ok_or(Refused::OutOfMemory)
    }

    /// Sets a key. `keep_expiry` keeps the time at which it expires.
    pub(crate) fn set(
        &mut self,
        key: &[u8],
        value: Value,
        keep_expiry: bool,
        now: u64,
    ) -> Result<(), Refused> {
        let Some(index) = self.find(key, now) else { return self.insert(key, value).map(|_| ()) };
        self.preserve(index);
        if !keep_expiry {
            self.persist_at(index);
        }
        if let Some((_, entry)) = self.entries.at_mut(index) {
            entry.value = value;
        }
        Ok(())
    }

    /// Makes room, so that adding `keys` more keys cannot fail.
    pub(crate) fn make_room(&mut self, keys: usize) -> Result<(), Refused> {
        self.entries.room(self.memory, keys)
    }

    pub(crate) fn remove(&mut self, key: &[u8], now: u64) -> bool {
        self.find(key, now).and_then(|index| self.remove_at(index)).is_some()
    }

    /// Removes a key, and returns its value and when it expires.
    pub(crate) fn take(&mut self, key: &[u8]) -> Option<(Value, Option<u64>)> {
        let index = self.entries.position(key)?;
        let expires = self.entries.at(index)?.1.expires.at();
        self.remove_at(index).map(|value| (value, expires))
    }

    /// Removes a key whose value has become empty, or else frees memory that the value no longer
    /// needs. Must be called after something was removed from a key's value.
    pub(crate) fn settle(&mut self, key: &[u8]) {
        let Some(index) = self.entries.position(key) else { return };
        let Some((_, entry)) = self.entries.at_mut(index) else { return };
        if entry.value.is_spent() {
            self.remove_at(index);
        } else {
            entry.value.trim(self.memory);
        }
    }

    /// Returns when a key expires.
    pub(crate) fn expiry(&self, key: &[u8]) -> Option<u64> {
        self.entries.get(key)?.expires.at()
    }

    /// Sets when a key expires; does nothing if the key does not exist. Allocates a tree node
    /// without checking memory.
    pub(crate) fn expire_at(&mut self, key: &[u8], at_ms: u64) {
        if let Some(index) = self.entries.position(key) {
            self.expire_at_position(index, at_ms);
        }
    }

    fn expire_at_position(&mut self, index: usize, at_ms: u64) {
        self.persist_at(index);
        self.preserve(index);
        if let Some((key, entry)) = self.entries.at_mut(index) {
            entry.expires.set(Some(at_ms));
            if let Some(at) = entry.expires.at() {
                self.deadlines.insert((at, Rc::clone(key)));
            }
        }
    }

    /// Makes a key never expire. Returns whether it had an expiry.
    pub(crate) fn persist(&mut self, key: &[u8]) -> bool {
        self.entries.position(key).is_some_and(|index| self.persist_at(index))
    }

    fn persist_at(&mut self, index: usize) -> bool {
        let Some(at) = self.entries.at(index).and_then(|(_, entry)| entry.expires.at()) else {
            return false;
        };
        self.preserve(index);
        let Some((key, entry)) = self.entries.at_mut(index) else { return false };
        entry.expires.set(None);
        self.deadlines.remove(&(at, Rc::clone(key)))
    }

    /// Returns a random key that has not expired.
    pub(crate) fn random_key(&mut self, now: u64) -> Option<&[u8]> {
        self.expire(now, usize::MAX);
        let index = match self.entries.len() {
            0 => return None,
            len => self.random.below(len),
        };
        self.entries.at(index).map(|(key, _)| &**key)
    }

    /// Returns the key at a position, its type, and whether it has expired.
    pub(crate) fn key_at(&self, index: usize, now: u64) -> Option<(&[u8], &'static str, bool)> {
        let (key, entry) = self.entries.at(index)?;
        let expired = entry.expires.has_passed(now);
        Some((key, entry.value.type_name(), expired))
    }
}

macro_rules! typed {
    ($get:ident, $get_mut:ident, $make:ident, $variant:ident, $type:ty, $new:expr) => {
        impl Store {
            /// Returns the key's value; refuses if it has another type.
            pub(crate) fn $get(&mut self, key: &[u8], now: u64) -> Result<Option<&$type>, Refused> {
                match self.get(key, now) {
                    None => Ok(None),
                    Some(Value::$variant(value)) => Ok(Some(value)),
                    Some(_) => Err(Refused::WrongType),
                }
            }

            /// Returns the key's value for changing; refuses if it has another type.
            pub(crate) fn $get_mut(
                &mut self,
                key: &[u8],
                now: u64,
            ) -> Result<Option<&mut $type>, Refused> {
                match self.get_mut(key, now) {
                    None => Ok(None),
                    Some(Value::$variant(value)) => Ok(Some(value)),
                    Some(_) => Err(Refused::WrongType),
                }
            }

            /// Returns the key's value for changing, and creates it if it does not exist; refuses
            /// if it has another type.
            pub(crate) fn $make(&mut self, key: &[u8], now: u64) -> Result<&mut $type, Refused> {
                let make = |hasher| {
                    let new: fn(FixedState) -> $type = $new;
                    Value::$variant(new(hasher).into())
                };
                match self.get_or_create(key, now, make)? {
                    Value::$variant(value) => Ok(value),
                    _ => Err(Refused::WrongType),
                }
            }
        }
    };
}

typed!(string, string_mut, make_string, String, Text, |_| Text::EMPTY);
typed!(list, list_mut, make_list, List, List, |_| List::new());
typed!(set_value, set_mut, make_set, Set, Set, Set::new);
typed!(hash, hash_mut, make_hash, Hash, Hash, Hash::new);
typed!(zset, zset_mut, make_zset, SortedSet, SortedSet, SortedSet::new);
