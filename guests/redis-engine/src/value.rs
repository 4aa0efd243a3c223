//! The kinds of values, and what each is called.

use alloc::boxed::Box;
use alloc::collections::VecDeque;

use crate::bytes::{Bytes, Text};
use crate::keyed::Keyed;
use crate::memory::{Memory, is_wasteful, trim};
use crate::zset::SortedSet;

/// A hash: fields and their values, in the order they came.
pub(crate) type Hash = Keyed<Bytes, Bytes>;
/// A set, in the order its members came.
pub(crate) type Set = Keyed<Bytes, ()>;
/// A list.
pub(crate) type List = VecDeque<Bytes>;

/// What a key holds. Most hold strings, so that all else is elsewhere.
#[derive(Debug)]
pub(crate) enum Value {
    String(Text),
    List(Box<List>),
    Set(Box<Set>),
    Hash(Box<Hash>),
    SortedSet(Box<SortedSet>),
}

impl Value {
    /// The name that `TYPE` gives.
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Self::String(_) => "string",
            Self::List(_) => "list",
            Self::Set(_) => "set",
            Self::Hash(_) => "hash",
            Self::SortedSet(_) => "zset",
        }
    }

    /// Whether a key with this value is to be removed: only strings may be empty.
    pub(crate) fn is_spent(&self) -> bool {
        match self {
            Self::String(_) => false,
            Self::List(list) => list.is_empty(),
            Self::Set(set) => set.is_empty(),
            Self::Hash(hash) => hash.is_empty(),
            Self::SortedSet(set) => set.len() == 0,
        }
    }

    /// Gives back memory that what is left in it does not need.
    pub(crate) fn trim(&mut self, memory: &dyn Memory) {
        match self {
            Self::String(_) => {}
            Self::List(list) => trim(memory, &mut **list),
            Self::Set(set) => set.trim(memory),
            Self::Hash(hash) => hash.trim(memory),
            Self::SortedSet(set) => set.trim(memory),
        }
    }
}

/// Whether something was taken out of a list so that the key must be looked after.
pub(crate) fn needs_care(list: &List) -> bool {
    list.is_empty() || is_wasteful(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every key pays for it.
    #[test]
    fn a_value_is_three_words() {
        assert_eq!(size_of::<Value>(), 24);
    }
}
