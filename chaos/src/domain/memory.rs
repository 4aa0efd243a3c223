// SPDX-License-Identifier: GPL-3.0-or-later
//! Allocates the memory of a domain, in as few and as large extents as possible.

use xen::units::{DomId, Gfn, KiB, Pages};
use xen::{Error, Xen};

use super::error::{BuildError, Doing};

/// Sizes of extents, as powers of two of pages, from 1 GiB to one page. Xen maps an extent of the
/// first two sizes with one entry; the third only saves hypercalls.
const ORDERS: [u32; 4] = [18, 9, 5, 0];

/// Allocates memory for the frames `first .. first + count`.
///
/// Where Xen has no more extents of one size, smaller ones are used.
///
/// # Errors
/// [`BuildError::NoMemory`] if single pages run out too.
pub(super) fn populate(
    xen: &Xen,
    domid: DomId,
    first: Gfn,
    count: Pages,
    memory: KiB,
) -> Result<(), BuildError> {
    let end = first.0 + count.0;
    let mut at = first.0;
    let mut largest = 0;
    while at < end {
        let order = ORDERS[largest..]
            .iter()
            .copied()
            .find(|order| at.is_multiple_of(1 << order) && end - at >= 1 << order)
            .unwrap_or(0);
        // A run of extents ends where a larger one is aligned and fits, or where the rest is too
        // small.
        let run_end = match ORDERS[largest..].iter().copied().take_while(|o| *o > order).last() {
            Some(larger) if end >= at.next_multiple_of(1 << larger) + (1 << larger) => {
                at.next_multiple_of(1 << larger)
            }
            _ => end - (end - at) % (1 << order),
        };
        let extents = (run_end - at) >> order;
        match xen.populate_range(domid, Gfn(at), extents, order) {
            Ok(()) => at = run_end,
            Err(Error::ShortPopulate { .. }) if order == 0 => {
                let free = xen.physinfo().doing("ask how much memory is free")?.free;
                return Err(BuildError::NoMemory { wanted: memory, free: free.to_kib() });
            }
            Err(Error::ShortPopulate { done, .. }) => {
                at += done << order;
                largest = 1 + ORDERS.iter().position(|o| *o == order).unwrap_or(0);
            }
            Err(error) => return Err(error).doing("allocate the guest's memory"),
        }
    }
    Ok(())
}
