//! The data: keys, values, and when they expire.

use alloc::collections::BTreeSet;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::num::NonZeroU64;

use foldhash::fast::FixedState;
use indexmap::IndexMap;

use crate::error::Refused;
use crate::memory::{Memory, data_room, fits};
use crate::random::Random;
use crate::value::{Hash, List, Set, Value};
use crate::zset::SortedSet;

/// A value and when it expires, in milliseconds after the Unix epoch.
#[derive(Debug)]
struct Entry {
    value: Value,
    expires: Option<NonZeroU64>,
}

/// Bytes that one more small value takes beside its own: boxes, tree nodes, map entries.
const OVERHEAD: usize = 256;

/// The data of one server: one database, and what `INFO` tells.
///
/// Keys that have expired are as good as gone: no command sees them, and [`Store::expire`] takes
/// them away for good.
pub struct Store {
    entries: IndexMap<Rc<[u8]>, Entry, FixedState>,
    /// Keys that expire, by time. They are shared, so that a key is let go without a copy of it.
    deadlines: BTreeSet<(u64, Rc<[u8]>)>,
    hasher: FixedState,
    memory: &'static dyn Memory,
    pub(crate) random: Random,
    pub(crate) stats: Stats,
    /// Held once here and once by each connection.
    clients: Rc<()>,
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
    /// An empty store. `seed` keeps peers from choosing keys that collide, so it must be one they
    /// do not know.
    #[must_use]
    pub fn new(seed: u64, now_ms: u64, memory: &'static dyn Memory) -> Self {
        let hasher = FixedState::with_seed(seed);
        Self {
            entries: IndexMap::with_hasher(hasher.clone()),
            deadlines: BTreeSet::new(),
            hasher,
            memory,
            random: Random::new(seed.rotate_left(32)),
            stats: Stats { started_ms: now_ms, ..Stats::default() },
            clients: Rc::new(()),
        }
    }

    /// When the next key expires, in milliseconds after the Unix epoch.
    #[must_use]
    pub fn next_expiry(&self) -> Option<u64> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Takes away keys that have expired, at most `most`.
    pub fn expire(&mut self, now_ms: u64, most: usize) {
        for _ in 0..most {
            if self.next_expiry().is_none_or(|deadline| deadline > now_ms) {
                return;
            }
            if let Some((_, key)) = self.deadlines.pop_first() {
                self.entries.swap_remove(&key);
                self.stats.expired += 1;
            }
        }
    }

    /// Counts a connection for as long as the result lives.
    pub(crate) fn count_client(&self) -> Rc<()> {
        Rc::clone(&self.clients)
    }

    /// How many connections there are.
    pub(crate) fn clients(&self) -> usize {
        Rc::strong_count(&self.clients) - 1
    }

    pub(crate) fn memory(&self) -> &'static dyn Memory {
        self.memory
    }

    /// Refuses unless there is memory for so many more bytes in so many values.
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
        self.entries = IndexMap::with_hasher(self.hasher.clone());
        self.deadlines.clear();
    }

    /// Removes the key if it has expired.
    fn drop_if_expired(&mut self, key: &[u8], now: u64) {
        let expires = self.entries.get(key).and_then(|entry| entry.expires);
        if expires.is_some_and(|expires| expires.get() <= now) {
            self.remove(key);
            self.stats.expired += 1;
        }
    }

    pub(crate) fn get(&mut self, key: &[u8], now: u64) -> Option<&Value> {
        self.drop_if_expired(key, now);
        match self.entries.get(key) {
            Some(entry) => {
                self.stats.hits += 1;
                Some(&entry.value)
            }
            None => {
                self.stats.misses += 1;
                None
            }
        }
    }

    pub(crate) fn get_mut(&mut self, key: &[u8], now: u64) -> Option<&mut Value> {
        self.drop_if_expired(key, now);
        self.entries.get_mut(key).map(|entry| &mut entry.value)
    }

    /// The key's value, which is made if there is none.
    fn get_or_make(
        &mut self,
        key: &[u8],
        now: u64,
        make: impl FnOnce(FixedState) -> Value,
    ) -> Result<&mut Value, Refused> {
        self.drop_if_expired(key, now);
        let index = match self.entries.get_index_of(key) {
            Some(index) => index,
            None => {
                data_room(self.memory, &mut self.entries, 1)?;
                self.need(key.len(), 1)?;
                let entry = Entry { value: make(self.hasher.clone()), expires: None };
                self.entries.insert_full(Rc::from(key), entry).0
            }
        };
        Ok(&mut self.entries[index].value)
    }

    /// Sets a key. `keep_expiry` leaves the time at which it expires.
    pub(crate) fn set(
        &mut self,
        key: &[u8],
        value: Value,
        keep_expiry: bool,
        now: u64,
    ) -> Result<(), Refused> {
        if !keep_expiry {
            self.persist(key);
        }
        *self.get_or_make(key, now, |_| Value::String(Vec::new()))? = value;
        Ok(())
    }

    /// Makes sure that so many keys of so many bytes in all can be set, and be given a time,
    /// without fail.
    pub(crate) fn make_room(&mut self, keys: usize, bytes: usize) -> Result<(), Refused> {
        data_room(self.memory, &mut self.entries, keys)?;
        self.need(bytes, 3 * keys)
    }

    pub(crate) fn remove(&mut self, key: &[u8]) -> bool {
        self.persist(key);
        self.entries.swap_remove(key).is_some()
    }

    /// Takes a key with its value and its time of expiry.
    pub(crate) fn take(&mut self, key: &[u8]) -> Option<(Value, Option<NonZeroU64>)> {
        let expires = self.entries.get(key)?.expires;
        self.persist(key);
        self.entries.swap_remove(key).map(|entry| (entry.value, expires))
    }

    /// Removes a key whose value has nothing left in it.
    pub(crate) fn drop_if_spent(&mut self, key: &[u8]) {
        if self.entries.get(key).is_some_and(|entry| entry.value.is_spent()) {
            self.remove(key);
        }
    }

    /// When a key expires.
    pub(crate) fn expiry(&self, key: &[u8]) -> Option<u64> {
        self.entries.get(key)?.expires.map(NonZeroU64::get)
    }

    /// Lets a key expire at a time; it must be there.
    pub(crate) fn expire_at(&mut self, key: &[u8], at_ms: u64) -> Result<(), Refused> {
        self.need(0, 1)?;
        self.persist(key);
        let at = NonZeroU64::new(at_ms).unwrap_or(NonZeroU64::MIN);
        if let Some((_, key, entry)) = self.entries.get_full_mut(key) {
            entry.expires = Some(at);
            self.deadlines.insert((at.get(), Rc::clone(key)));
        }
        Ok(())
    }

    /// Lets a key live for ever. Whether it had a time.
    pub(crate) fn persist(&mut self, key: &[u8]) -> bool {
        let Some((_, key, entry)) = self.entries.get_full_mut(key) else { return false };
        let Some(at) = entry.expires.take() else { return false };
        self.deadlines.remove(&(at.get(), Rc::clone(key)))
    }

    /// A key chosen at random that has not expired.
    pub(crate) fn random_key(&mut self, now: u64) -> Option<&[u8]> {
        self.expire(now, usize::MAX);
        let index = match self.entries.len() {
            0 => return None,
            len => self.random.below(len),
        };
        self.entries.get_index(index).map(|(key, _)| &**key)
    }

    /// The key at a position, with its type and whether it has expired.
    pub(crate) fn key_at(&self, index: usize, now: u64) -> Option<(&[u8], &'static str, bool)> {
        let (key, entry) = self.entries.get_index(index)?;
        let expired = entry.expires.is_some_and(|expires| expires.get() <= now);
        Some((key, entry.value.type_name(), expired))
    }
}

macro_rules! typed {
    ($get:ident, $get_mut:ident, $make:ident, $variant:ident, $type:ty, $new:expr) => {
        impl Store {
            /// The key's value if it has this type; refused if it has another.
            pub(crate) fn $get(&mut self, key: &[u8], now: u64) -> Result<Option<&$type>, Refused> {
                match self.get(key, now) {
                    None => Ok(None),
                    Some(Value::$variant(value)) => Ok(Some(value)),
                    Some(_) => Err(Refused::WrongType),
                }
            }

            /// As above, to be changed.
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

            /// As above, made if there is none.
            pub(crate) fn $make(&mut self, key: &[u8], now: u64) -> Result<&mut $type, Refused> {
                let make = |hasher| {
                    let new: fn(FixedState) -> $type = $new;
                    Value::$variant(new(hasher).into())
                };
                match self.get_or_make(key, now, make)? {
                    Value::$variant(value) => Ok(value),
                    _ => Err(Refused::WrongType),
                }
            }
        }
    };
}

typed!(string, string_mut, make_string, String, Vec<u8>, |_| Vec::new());
typed!(list, list_mut, make_list, List, List, |_| List::new());
typed!(set_value, set_mut, make_set, Set, Set, Set::with_hasher);
typed!(hash, hash_mut, make_hash, Hash, Hash, Hash::with_hasher);
typed!(zset, zset_mut, make_zset, SortedSet, SortedSet, SortedSet::new);
