//! The kinds of values, and what each is called.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

use foldhash::fast::FixedState;
use indexmap::{IndexMap, IndexSet};

use crate::zset::SortedSet;

/// Bytes that belong to the store.
pub(crate) type Bytes = Box<[u8]>;
/// A hash: fields and their values, in the order they came.
pub(crate) type Hash = IndexMap<Bytes, Bytes, FixedState>;
/// A set, in the order its members came.
pub(crate) type Set = IndexSet<Bytes, FixedState>;
/// A list.
pub(crate) type List = VecDeque<Bytes>;

/// What a key holds.
#[derive(Debug)]
pub(crate) enum Value {
    String(Vec<u8>),
    List(List),
    Set(Set),
    Hash(Hash),
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
}
