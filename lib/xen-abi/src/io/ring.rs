// SPDX-License-Identifier: MIT OR Apache-2.0
//! The page of a ring of requests and responses: `public/io/ring.h`.
//!
//! Indices only grow, and wrap at 2^32; the slot of an index is its remainder by the number of
//! slots. A response takes the slot of a request that was consumed.

use crate::PAGE_SIZE;

/// Offsets in `struct sring`: how many requests the front end has produced.
pub const REQ_PROD: usize = 0;
/// The back end requests an event when [`REQ_PROD`] passes this index.
pub const REQ_EVENT: usize = 4;
/// How many responses the back end has produced.
pub const RSP_PROD: usize = 8;
/// The front end requests an event when [`RSP_PROD`] passes this index.
pub const RSP_EVENT: usize = 12;
/// Bytes up to the first slot that no end of Xen's rings uses: zeros.
pub const PADDING: usize = 20;
/// The first slot.
pub const SLOTS: usize = 64;

/// Returns how many slots of a size, in bytes, a ring of one page has: the largest power of two
/// that fits (`__CONST_RING_SIZE`).
///
/// # Panics
/// No slot of this size fits into a page.
#[must_use]
pub const fn slots(slot_size: usize) -> u32 {
    1 << ((PAGE_SIZE - SLOTS) / slot_size).ilog2()
}

/// Returns whether moving an index from `old` to `new` passes `event`, so that the other end must
/// be notified (`RING_PUSH_REQUESTS_AND_CHECK_NOTIFY`). Any value of `event` is allowed.
#[must_use]
pub const fn wants_event(old: u32, new: u32, event: u32) -> bool {
    new.wrapping_sub(event) < new.wrapping_sub(old)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_wanted_when_the_index_passes_the_wish() {
        assert!(wants_event(0, 1, 1));
        assert!(wants_event(0, 5, 3));
        assert!(!wants_event(0, 5, 6));
        assert!(!wants_event(5, 6, 5));
        assert!(wants_event(u32::MAX, 1, 0));
        assert!(!wants_event(0, 0, 1));
    }
}
