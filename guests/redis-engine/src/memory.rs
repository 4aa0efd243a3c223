// SPDX-License-Identifier: MIT OR Apache-2.0
//! How the engine checks and allocates memory.
//!
//! Allocations whose size a peer can choose (values, tables, replies) are checked in advance and may
//! fail. Small ones (tree nodes, numbers as text) are not checked: they come from a reserve that the
//! checks keep free.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::error::Refused;

/// Reports how much memory is left.
pub trait Memory {
    /// Returns the bytes in use.
    fn used(&self) -> usize;

    /// Returns all bytes, used and free.
    fn total(&self) -> usize;

    /// Returns whether one allocation of `bytes` would succeed now.
    fn can_allocate(&self, bytes: usize) -> bool;
}

/// Bytes that commands which store data leave free. Small allocations use them without a check:
/// tree nodes, single values, and the reply that memory is short.
const RESERVE: usize = 96 * 1024;

/// The part of the reserve that long requests and replies keep free. The rest of the reserve is
/// theirs, so that data can be read when there is no room for more of it.
const LAST_RESERVE: usize = 32 * 1024;

/// The part of the reserve that short requests and replies keep free, too. They may use the rest,
/// so that a connection gets at least an error while long replies of others are unsent.
const SHORT_RESERVE: usize = 16 * 1024;

/// The longest request or reply that counts as short, in bytes.
const SHORT: usize = 1024;

/// No single allocation without a check is larger than this, tree nodes included.
const SMALLEST_PIECE: usize = 4096;

/// The size in bytes from which on a table no longer doubles when it grows.
const LARGE: usize = 16 * 1024;

/// A table with at most this many places is never made smaller.
const FEW_PLACES: usize = 64;

/// The smallest number of places by which a table grows.
const SMALLEST_GROWTH: usize = 4;

/// Returns the bytes that are free.
pub(crate) fn free(memory: &dyn Memory) -> usize {
    memory.total().saturating_sub(memory.used())
}

fn leaves(memory: &dyn Memory, bytes: usize, reserve: usize) -> bool {
    // The free memory may be fragmented into pieces that are too small for any allocation.
    free(memory) >= bytes.saturating_add(reserve) && memory.can_allocate(bytes.max(SMALLEST_PIECE))
}

/// Returns whether `bytes` can be allocated for data without touching the reserve.
pub(crate) fn fits(memory: &dyn Memory, bytes: usize) -> bool {
    leaves(memory, bytes, RESERVE)
}

/// Returns whether `bytes` can be allocated for a request or a reply.
pub(crate) fn fits_in_transit(memory: &dyn Memory, bytes: usize) -> bool {
    leaves(memory, bytes, if bytes <= SHORT { SHORT_RESERVE } else { LAST_RESERVE })
}

/// A table that can grow in a way that may fail.
pub(crate) trait Grow {
    /// The most bytes that one place takes.
    const PLACE: usize;
    fn used(&self) -> usize;
    fn places(&self) -> usize;
    /// Grows by exactly `by` places, and returns whether that succeeded.
    fn grow(&mut self, by: usize) -> bool;
    /// Reduces the table to this number of places.
    fn shrink(&mut self, places: usize);
}

/// Makes room for `more` entries, so that adding them cannot fail and seldom moves the others.
/// `fits` must return whether that many bytes can be allocated. Returns whether there is room.
pub(crate) fn room<T: Grow>(table: &mut T, more: usize, fits: impl Fn(usize) -> bool) -> bool {
    fn grow<T: Grow>(table: &mut T, by: usize, fits: &impl Fn(usize) -> bool) -> bool {
        // While the table moves, the old and the new copy both exist.
        let bytes = table.used().saturating_add(by).saturating_mul(T::PLACE);
        fits(bytes) && table.grow(by)
    }
    let used = table.used();
    if table.places() - used >= more {
        return true;
    }
    // Grow by a part of the table's size, so that many small steps cost little: a small table
    // doubles, a large one grows by half. When memory is short, grow by an eighth, or only as much
    // as is needed.
    let part = if used.saturating_mul(T::PLACE) < LARGE { used } else { used / 2 };
    [part, used / 8, 0]
        .into_iter()
        .map(|by| by.max(SMALLEST_GROWTH).max(more))
        .any(|by| grow(table, by, &fits))
}

/// Returns whether a table has far more places than it needs.
pub(crate) fn is_wasteful(table: &impl Grow) -> bool {
    table.places() > FEW_PLACES && table.used() < table.places() / 4
}

/// Frees places of a table that has far more than it needs.
pub(crate) fn trim<T: Grow>(memory: &dyn Memory, table: &mut T) {
    let kept = 2 * table.used();
    // Shrinking makes a copy, for which there must be memory.
    if is_wasteful(table) && fits_in_transit(memory, kept.saturating_mul(T::PLACE)) {
        table.shrink(kept);
    }
}

/// Makes room in a table of data, without touching the reserve.
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
