// SPDX-License-Identifier: MIT OR Apache-2.0
//! The types of values, and their names.

use alloc::boxed::Box;
use alloc::collections::VecDeque;

use crate::bytes::{Bytes, Text};
use crate::keyed::Keyed;
use crate::memory::{Memory, is_wasteful, trim};
use crate::zset::SortedSet;

/// A hash: fields and their values.
pub(crate) type Hash = Keyed<Bytes, Bytes>;
/// A set.
pub(crate) type Set = Keyed<Bytes, ()>;
/// A list.
pub(crate) type List = VecDeque<Bytes>;

/// The value of a key. Most values are strings, so all other types are boxed to keep this small.
#[derive(Debug)]
pub(crate) enum Value {
    String(Text),
    List(Box<List>),
    Set(Box<Set>),
    Hash(Box<Hash>),
    SortedSet(Box<SortedSet>),
}

impl Value {
    /// Returns the name that `TYPE` replies.
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Self::String(_) => "string",
            Self::List(_) => "list",
            Self::Set(_) => "set",
            Self::Hash(_) => "hash",
            Self::SortedSet(_) => "zset",
        }
    }

    /// Returns whether a key with this value must be removed. Only strings may be empty.
    pub(crate) fn is_spent(&self) -> bool {
        match self {
            Self::String(_) => false,
            Self::List(list) => list.is_empty(),
            Self::Set(set) => set.is_empty(),
            Self::Hash(hash) => hash.is_empty(),
            Self::SortedSet(set) => set.len() == 0,
        }
    }

    /// Frees memory that the value no longer needs.
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

/// Returns whether `Store::settle` must be called for a list from which something was removed.
pub(crate) fn needs_settling(list: &List) -> bool {
    list.is_empty() || is_wasteful(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every key takes this much memory.
    #[test]
    fn a_value_is_three_words() {
        assert_eq!(size_of::<Value>(), 24);
    }
}
