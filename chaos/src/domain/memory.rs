// SPDX-License-Identifier: GPL-3.0-or-later
//! Allocates the memory of a domain, in as few and as large extents as possible.
//!
//! Memory that is allocated in vain is missing elsewhere meanwhile: other creates fail. So a large
//! guest claims its memory first, which Xen grants or refuses at once. For a small one, a claim
//! costs more than it saves: it is made only when Xen has returned less than was asked for.

use nix::errno::Errno;
use xen::units::{DomId, Gfn, KiB, Pages};
use xen::{Error, Xen};

use super::error::{BuildError, Doing};

/// Sizes of extents, as powers of two of pages, from 1 GiB to one page. Xen maps an extent of the
/// first two sizes with one entry; the third only saves hypercalls.
const ORDERS: [u32; 4] = [18, 9, 5, 0];

/// Guests with this memory or more claim it first: 64 MiB.
const LARGE: Pages = Pages(16 * 1024);

/// What allocating memory asks of Xen.
pub(super) trait HostMemory {
    /// As [`Xen::populate_range`].
    fn populate_range(&self, domid: DomId, first: Gfn, count: u64, order: u32)
    -> Result<(), Error>;

    /// As [`Xen::claim_pages`].
    fn claim_pages(&self, domid: DomId, pages: Pages) -> Result<(), Error>;

    /// Returns how much memory is free and not claimed.
    ///
    /// # Errors
    /// Xen refuses.
    fn available(&self) -> Result<Pages, Error>;

    /// Returns how much memory a domain has.
    ///
    /// # Errors
    /// Xen refuses.
    fn held_by(&self, domid: DomId) -> Result<Pages, Error>;
}

impl HostMemory for Xen {
    fn populate_range(
        &self,
        domid: DomId,
        first: Gfn,
        count: u64,
        order: u32,
    ) -> Result<(), Error> {
        Self::populate_range(self, domid, first, count, order)
    }

    fn claim_pages(&self, domid: DomId, pages: Pages) -> Result<(), Error> {
        Self::claim_pages(self, domid, pages)
    }

    fn available(&self) -> Result<Pages, Error> {
        let host = self.physinfo()?;
        Ok(Pages(host.free.0.saturating_sub(host.outstanding.0)))
    }

    fn held_by(&self, domid: DomId) -> Result<Pages, Error> {
        Ok(self.domain_info(domid)?.map_or(Pages(0), |info| info.tot_pages))
    }
}

/// How much memory a guest needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Needs {
    /// Its own memory, with the special pages.
    pub(super) pages: Pages,
    /// The pool from which Xen takes the guest's page tables.
    pub(super) paging: Pages,
}

impl Needs {
    fn total(self) -> KiB {
        Pages(self.pages.0.saturating_add(self.paging.0)).to_kib()
    }

    /// Turns an error into [`BuildError::NoMemory`], with the amount of memory that was free before
    /// the domain had any, if Xen ran out of memory. `domid` is the domain, if it exists, and
    /// `paging` how much of its pool it has.
    pub(super) fn explain(
        self,
        xen: &impl HostMemory,
        domid: Option<DomId>,
        paging: Pages,
        error: Error,
        doing: &'static str,
    ) -> BuildError {
        if !error.is_out_of_memory() {
            return BuildError::Xen { doing, source: error };
        }
        let free = || {
            let mut free = paging.0;
            if let Some(domid) = domid {
                // What the domain has claimed is available to it, too.
                xen.claim_pages(domid, Pages(0))?;
                free += xen.held_by(domid)?.0;
            }
            Ok::<_, Error>(Pages(free + xen.available()?.0).to_kib())
        };
        match free() {
            // Something else was missing, such as pages of the pool or room in Xen's heap.
            Ok(free) if free >= self.total() => BuildError::Xen { doing, source: error },
            Ok(free) => BuildError::NoMemory { wanted: self.total(), free },
            Err(source) => BuildError::Xen { doing: "ask how much memory is free", source },
        }
    }
}

/// Allocates the memory of one domain.
#[derive(Debug)]
pub(super) struct Allocation<'a, X> {
    xen: &'a X,
    domid: DomId,
    needs: Needs,
    /// Whether the domain has claimed what it needs. The claim shrinks as memory is allocated, and
    /// ends with the domain.
    claimed: bool,
}

impl<'a, X: HostMemory> Allocation<'a, X> {
    /// Begins to allocate the memory of a domain that has none yet, and whose limit is
    /// `needs.pages`.
    ///
    /// # Errors
    /// [`BuildError::NoMemory`] if the guest is large and Xen has too little. Nothing is allocated
    /// then.
    pub(super) fn begin(xen: &'a X, domid: DomId, needs: Needs) -> Result<Self, BuildError> {
        let mut allocation = Self { xen, domid, needs, claimed: false };
        if needs.pages >= LARGE {
            allocation.claim(Pages(0))?;
        }
        Ok(allocation)
    }

    fn claim(&mut self, paging: Pages) -> Result<(), BuildError> {
        let Self { xen, domid, needs, .. } = *self;
        match xen.claim_pages(domid, needs.pages) {
            Ok(()) => {
                self.claimed = true;
                Ok(())
            }
            Err(error) if error.errno() == Some(Errno::ENOMEM) => {
                Err(needs.explain(xen, Some(domid), paging, error, "claim the guest's memory"))
            }
            Err(error) => Err(error).doing("claim the guest's memory"),
        }
    }

    /// Allocates memory for the frames `first .. first + count`.
    ///
    /// Where Xen has no more extents of one size, smaller ones are used, if Xen has enough memory
    /// for the whole guest.
    ///
    /// # Errors
    /// [`BuildError::NoMemory`] if Xen has too little.
    pub(super) fn populate(&mut self, first: Gfn, count: Pages) -> Result<(), BuildError> {
        let Self { xen, domid, needs, .. } = *self;
        let end = first.0 + count.0;
        let mut at = first.0;
        let mut largest = 0;
        while at < end {
            let order = ORDERS[largest..]
                .iter()
                .copied()
                .find(|order| at.is_multiple_of(1 << order) && end - at >= 1 << order)
                .unwrap_or(0);
            // A run of extents ends where a larger one is aligned and fits, or where the rest is
            // too small.
            let run_end = match ORDERS[largest..].iter().copied().take_while(|o| *o > order).last()
            {
                Some(larger) if end >= at.next_multiple_of(1 << larger) + (1 << larger) => {
                    at.next_multiple_of(1 << larger)
                }
                _ => end - (end - at) % (1 << order),
            };
            let extents = (run_end - at) >> order;
            match xen.populate_range(domid, Gfn(at), extents, order) {
                Ok(()) => at = run_end,
                Err(Error::ShortPopulate { done, .. }) if !self.claimed => {
                    at += done << order;
                    largest = smaller_than(order);
                    self.claim(needs.paging)?;
                }
                Err(Error::ShortPopulate { done, .. }) if order > 0 => {
                    at += done << order;
                    largest = smaller_than(order);
                }
                Err(error) => {
                    let doing = "allocate the guest's memory";
                    return Err(needs.explain(xen, Some(domid), needs.paging, error, doing));
                }
            }
        }
        Ok(())
    }
}

/// Returns the index of the next smaller size of extents; the smallest has none.
fn smaller_than(order: u32) -> usize {
    let index = ORDERS.iter().position(|o| *o == order).unwrap_or(0);
    (index + 1).min(ORDERS.len() - 1)
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;

    const DOMID: DomId = DomId(5);

    /// A host whose memory is in extents of one size, and what one domain has of it.
    #[derive(Debug, Default)]
    struct FakeHost {
        free: Cell<u64>,
        /// The largest order that is free.
        largest: u32,
        held: Cell<u64>,
        claimed: Cell<u64>,
        claimed_by_others: u64,
        most_held: Cell<u64>,
        calls: RefCell<Vec<&'static str>>,
    }

    impl FakeHost {
        fn with(free: u64) -> Self {
            Self { free: Cell::new(free), largest: 9, ..Self::default() }
        }

        fn unclaimed(&self) -> u64 {
            self.free.get() - self.claimed.get() - self.claimed_by_others
        }
    }

    impl HostMemory for FakeHost {
        fn populate_range(
            &self,
            domid: DomId,
            _: Gfn,
            count: u64,
            order: u32,
        ) -> Result<(), Error> {
            self.calls.borrow_mut().push("populate");
            let may_have =
                if order > self.largest { 0 } else { self.unclaimed() + self.claimed.get() };
            let done = count.min(may_have >> order);
            let pages = done << order;
            self.free.set(self.free.get() - pages);
            self.claimed.set(self.claimed.get().saturating_sub(pages));
            self.held.set(self.held.get() + pages);
            self.most_held.set(self.most_held.get().max(self.held.get()));
            match done == count {
                true => Ok(()),
                false => Err(Error::ShortPopulate { domid, done, wanted: count }),
            }
        }

        fn claim_pages(&self, domid: DomId, pages: Pages) -> Result<(), Error> {
            self.calls.borrow_mut().push("claim");
            if pages.0 == 0 {
                self.claimed.set(0);
                return Ok(());
            }
            assert_eq!(self.claimed.get(), 0, "Xen refuses a second claim");
            let more = pages.0.checked_sub(self.held.get()).unwrap();
            if more > self.unclaimed() {
                let (operation, errno) = ("claim_pages", Errno::ENOMEM);
                return Err(Error::Hypercall { operation, domid: Some(domid), errno });
            }
            self.claimed.set(more);
            Ok(())
        }

        fn available(&self) -> Result<Pages, Error> {
            Ok(Pages(self.unclaimed()))
        }

        fn held_by(&self, _: DomId) -> Result<Pages, Error> {
            Ok(Pages(self.held.get()))
        }
    }

    fn needs(pages: u64) -> Needs {
        Needs { pages: Pages(pages), paging: Pages(0) }
    }

    fn allocate(host: &FakeHost, pages: u64) -> Result<(), BuildError> {
        let mut allocation = Allocation::begin(host, DOMID, needs(pages))?;
        allocation.populate(Gfn(0), Pages(pages))
    }

    #[track_caller]
    fn assert_no_memory(result: Result<(), BuildError>, wanted: Pages, free: Pages) {
        let as_expected = matches!(&result, Err(BuildError::NoMemory { wanted: w, free: f })
            if (*w, *f) == (wanted.to_kib(), free.to_kib()));
        assert!(as_expected, "{result:?}");
    }

    #[test]
    fn a_large_guest_that_does_not_fit_takes_nothing() {
        let host = FakeHost::with(800_000);
        let result = allocate(&host, 900_000);
        assert_no_memory(result, Pages(900_000), Pages(800_000));
        assert_eq!((host.most_held.get(), host.unclaimed()), (0, 800_000));
    }

    #[test]
    fn memory_that_others_have_claimed_is_not_free() {
        let host = FakeHost { claimed_by_others: 100_000, ..FakeHost::with(800_000) };
        assert_no_memory(allocate(&host, 750_000), Pages(750_000), Pages(700_000));
    }

    #[test]
    fn a_small_guest_costs_no_claim_unless_memory_is_short() {
        let host = FakeHost::with(10_000);
        allocate(&host, 2048).unwrap();
        assert_eq!(*host.calls.borrow(), ["populate"]);
        let host = FakeHost::with(1700);
        assert_no_memory(allocate(&host, 2048), Pages(2048), Pages(1700));
        // Three extents of 2 MiB fit; then it stops, instead of taking the rest in smaller pieces.
        assert_eq!(host.most_held.get(), 1536);
        assert_eq!(host.calls.borrow()[..2], ["populate", "claim"]);
    }

    #[test]
    fn fragmented_memory_is_allocated_in_smaller_extents() {
        for pages in [2048, 20_000] {
            let host = FakeHost { largest: 5, ..FakeHost::with(pages) };
            allocate(&host, pages).unwrap();
            assert_eq!((host.held.get(), host.claimed.get()), (pages, 0));
        }
    }

    #[test]
    fn what_is_not_a_lack_of_memory_is_not_reported_as_one() {
        let host = FakeHost::with(10_000);
        let paging = Pages(4);
        let short = Error::ShortPopulate { domid: DOMID, done: 0, wanted: 1 };
        let error = needs(2048).explain(&host, Some(DOMID), paging, short, "populate");
        assert!(matches!(error, BuildError::Xen { doing: "populate", .. }), "{error:?}");
    }
}
