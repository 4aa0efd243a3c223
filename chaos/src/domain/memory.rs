//! Giving a domain its memory, in as few and as large pieces as Xen has.

use xen::units::{DomId, Gfn, KiB, Pages};
use xen::{Error, Xen};

use super::BuildError;
use super::error::Doing;

/// Sizes of pieces, as powers of two of pages, from 1 GiB to one page. Xen maps the first two
/// with one entry each; the others only save hypercalls.
const ORDERS: [u32; 4] = [18, 9, 5, 0];

/// Gives the domain the pages `first .. first + count`.
///
/// Where Xen has no more pieces of one size, smaller ones are taken.
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
        // A run of one size ends where a larger one becomes possible, or none of this one fits.
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
            Err(error) => return Err(error).doing("give the guest memory"),
        }
    }
    Ok(())
}
