//! How much memory is left, and how the engine asks for it.
//!
//! What is as large as a peer likes (values, tables, replies) is asked for before it is taken and
//! taken in a way that can fail. What is small (tree nodes, numbers as text) is taken from the
//! reserve, which is never given away.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::error::Refused;

/// Tells how much memory is left.
pub trait Memory {
    /// Bytes in use.
    fn used(&self) -> usize;

    /// Bytes there are in all.
    fn total(&self) -> usize;

    /// Whether one piece of `bytes` can be had now.
    fn can_allocate(&self, bytes: usize) -> bool;
}

/// Kept free for what is allocated in small pieces without asking: tree nodes, single values,
/// the reply that says that memory is short.
const RESERVE: usize = 96 * 1024;

/// The part of the reserve that replies leave alone, so that data can be read when there is no
/// room for more of it.
const LAST_RESERVE: usize = 32 * 1024;

/// The part of that which is left alone by a short request and its short reply, so that a
/// connection can be served, if only with an error, while others wait with long ones.
const SHORT_RESERVE: usize = 16 * 1024;

/// Longest request or reply that counts as short, in bytes.
const SHORT: usize = 1024;

/// Nothing that is taken without asking is larger in one piece, a tree's node included.
const SMALLEST_PIECE: usize = 4096;

/// From how many bytes on a table no longer doubles.
const LARGE: usize = 16 * 1024;

/// A table of so few places is not made smaller.
const FEW_PLACES: usize = 64;

/// Smallest number of free places that a table is given.
const SMALLEST_GROWTH: usize = 4;

fn leaves(memory: &dyn Memory, bytes: usize, reserve: usize) -> bool {
    let left = memory.total().saturating_sub(memory.used());
    // What is left may be in pieces that are too small for the least that is taken from it.
    left >= bytes.saturating_add(reserve) && memory.can_allocate(bytes.max(SMALLEST_PIECE))
}

/// Whether `bytes` can be had and the reserve stays whole.
pub(crate) fn fits(memory: &dyn Memory, bytes: usize) -> bool {
    leaves(memory, bytes, RESERVE)
}

/// Whether `bytes` can be had for a request or a reply.
pub(crate) fn fits_in_transit(memory: &dyn Memory, bytes: usize) -> bool {
    leaves(memory, bytes, if bytes <= SHORT { SHORT_RESERVE } else { LAST_RESERVE })
}

/// What can be made larger in a way that may fail.
pub(crate) trait Grow {
    /// Bytes for one place, at most.
    const PLACE: usize;
    fn used(&self) -> usize;
    fn places(&self) -> usize;
    /// Whether it succeeded.
    fn grow(&mut self, by: usize) -> bool;
    /// Keeps so many places.
    fn shrink(&mut self, places: usize);
}

/// Makes room for `more`, so that adding them does not fail and seldom moves what is there.
/// `fits` tells whether there is memory.
pub(crate) fn room<T: Grow>(table: &mut T, more: usize, fits: impl Fn(usize) -> bool) -> bool {
    fn grow<T: Grow>(table: &mut T, by: usize, fits: &impl Fn(usize) -> bool) -> bool {
        // While it moves, both copies are held.
        let bytes = table.used().saturating_add(by).saturating_mul(T::PLACE);
        fits(bytes) && table.grow(by)
    }
    let used = table.used();
    if table.places() - used >= more {
        return true;
    }
    // Larger by a part of itself, so that many small steps cost little; a large table less so, and
    // an eighth when memory is short.
    let part = if used.saturating_mul(T::PLACE) < LARGE { used } else { used / 2 };
    [part, used / 8, 0]
        .into_iter()
        .map(|by| by.max(SMALLEST_GROWTH).max(more))
        .any(|by| grow(table, by, &fits))
}

/// Whether a table has far more places than it needs.
pub(crate) fn is_wasteful(table: &impl Grow) -> bool {
    table.places() > FEW_PLACES && table.used() < table.places() / 4
}

/// Gives back the places of a table that has far more than it needs.
pub(crate) fn trim<T: Grow>(memory: &dyn Memory, table: &mut T) {
    let kept = 2 * table.used();
    // The copy needs memory that must be there.
    if is_wasteful(table) && fits_in_transit(memory, kept.saturating_mul(T::PLACE)) {
        table.shrink(kept);
    }
}

/// Makes room in data: the reserve stays whole.
pub(crate) fn data_room(
    memory: &dyn Memory,
    table: &mut impl Grow,
    more: usize,
) -> Result<(), Refused> {
    if room(table, more, |bytes| fits(memory, bytes)) { Ok(()) } else { Err(Refused::OutOfMemory) }
}

macro_rules! grow {
    ([$($generics:tt)*] $table:ty, $place:expr) => {
        impl<$($generics)*> Grow for $table {
            const PLACE: usize = $place;

            fn used(&self) -> usize {
                self.len()
            }

            fn places(&self) -> usize {
                self.capacity()
            }

            fn grow(&mut self, by: usize) -> bool {
                self.try_reserve_exact(by).is_ok()
            }

            fn shrink(&mut self, places: usize) {
                self.shrink_to(places);
            }
        }
    };
}

grow!([T] Vec<T>, size_of::<T>());
grow!([T] VecDeque<T>, size_of::<T>());
