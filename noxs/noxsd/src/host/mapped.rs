// SPDX-License-Identifier: GPL-3.0-or-later
//! Pages of a guest that stay mapped, so that no grant copy is needed.
//!
//! A grant copy takes dom0 some 4000 instructions, however short it is: Linux looks up and pins the
//! private page, Xen the grant. A guest that says so uses the same pages for all data of a device.
//! Those are mapped, once, when the device is busy, and noxsd then copies without a system call. What
//! is in them is still copied before it is looked at.
//!
//! All is bounded: [`MOST_PAGES`] in each direction of a device, and [`ALL_PAGES`] for all devices
//! together, of which those of one domain take at most half of what the others leave. Pages beyond
//! that are copied by Xen, as are those that cannot be mapped. A guest that grants another page by the
//! same reference harms itself: the mapped page stays the one that it was.
//!
//! A guest that ends may have thousands of mappings. [`AT_ONCE`] of them are removed in a turn, so
//! that the other guests need not wait.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::rc::Rc;

use xen_ring::SharedPage;

use super::{DomId, GrantRef, Host, MAX_MAP, PAGE_SIZE};

/// Pages that are mapped for one direction of a device: as many as a vif's ring has slots.
const MOST_PAGES: usize = 256;

/// Pages that are mapped for all devices: 48 MiB.
const ALL_PAGES: usize = 12288;

/// Mappings of one direction of a device.
const MAX_GROUPS: usize = 64;

/// Mappings that are removed in one turn. Each takes a system call, in which Xen flushes the TLBs.
const AT_ONCE: usize = 16;

/// Grants whose pages are mapped: those of the first frame of a grant table.
const GRANTS: usize = 512;

/// The pages that are mapped for all devices, and those that are to be unmapped.
pub(crate) struct Room<M>(Rc<RefCell<Pages<M>>>);

struct Pages<M> {
    /// How many more may be mapped.
    free: usize,
    /// How many each domain has. None has 0.
    taken: HashMap<DomId, usize>,
    /// Those of devices that were removed.
    unused: VecDeque<Group<M>>,
    /// Mappings that may still be removed in this turn.
    left: usize,
}

/// Pages of a domain that were mapped in one call.
#[derive(Debug)]
struct Group<M> {
    memory: M,
    domid: DomId,
    pages: usize,
}

impl<M> Room<M> {
    /// Returns room for the pages of all devices.
    pub(crate) fn new() -> Self {
        let (taken, unused) = (HashMap::new(), VecDeque::new());
        Self(Rc::new(RefCell::new(Pages { free: ALL_PAGES, taken, unused, left: AT_ONCE })))
    }

    /// Returns whether there are pages to unmap.
    pub(crate) fn has_unused(&self) -> bool {
        !self.0.borrow().unused.is_empty()
    }

    /// Begins another turn, in which some more of the pages of removed devices are unmapped.
    pub(crate) fn begin_turn(&self) {
        let mut pages = self.0.borrow_mut();
        pages.left = AT_ONCE;
        pages.unmap();
    }

    /// Returns how many more pages of a domain may be mapped.
    fn left(&self, domid: DomId) -> usize {
        let pages = self.0.borrow();
        let own = pages.taken.get(&domid).copied().unwrap_or_default();
        // `own` is to become at most half of all that is not another domain's.
        pages.free.saturating_sub(own) / 2
    }

    fn take(&self, domid: DomId, count: usize) {
        let mut pages = self.0.borrow_mut();
        pages.free = pages.free.saturating_sub(count);
        *pages.taken.entry(domid).or_default() += count;
    }
}

impl<M> Pages<M> {
    /// Unmaps pages of removed devices, as many as may be in this turn.
    fn unmap(&mut self) {
        while self.left > 0
            && let Some(group) = self.unused.pop_front()
        {
            self.left -= 1;
            self.give_back(group.domid, group.pages);
        }
    }

    fn give_back(&mut self, domid: DomId, count: usize) {
        self.free += count;
        if let Some(taken) = self.taken.get_mut(&domid) {
            *taken = taken.saturating_sub(count);
            if *taken == 0 {
                self.taken.remove(&domid);
            }
        }
    }
}

impl<M> Clone for Room<M> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<M> fmt::Debug for Room<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Room({} free)", self.0.borrow().free)
    }
}

/// What noxsd does with the pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// It reads what the guest sends or writes.
    Read,
    /// It writes what the guest receives or reads.
    Write,
}

/// The pages of one direction of a device.
#[derive(Debug)]
pub(crate) struct MappedPages<M> {
    what: Use,
    groups: Vec<Group<M>>,
    /// The group of each grant reference, and its page there.
    places: Vec<Option<(u16, u16)>>,
    count: usize,
    room: Room<M>,
    /// A page could not be mapped, so that no other is tried.
    failed: bool,
}

impl<M> MappedPages<M> {
    /// Returns no pages; they are to be taken out of `room`.
    pub(crate) fn new(what: Use, room: &Room<M>) -> Self {
        let (groups, places) = (Vec::new(), Vec::new());
        Self { what, groups, places, count: 0, room: room.clone(), failed: false }
    }

    /// Returns whether no page is mapped.
    pub(crate) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    fn is_mapped(&self, gref: GrantRef) -> bool {
        self.places.get(gref.0 as usize).is_some_and(Option::is_some)
    }

    /// Returns where a range of a page is mapped for this use.
    fn find(&self, what: Use, gref: GrantRef, offset: u16, length: usize) -> Option<(&M, usize)> {
        let (group, page) = (*self.places.get(gref.0 as usize)?)?;
        let is_in_page = usize::from(offset) + length <= PAGE_SIZE;
        let offset = usize::from(page) * PAGE_SIZE + usize::from(offset);
        self.groups
            .get(usize::from(group))
            .filter(|_| is_in_page && self.what == what)
            .map(|group| (&group.memory, offset))
    }
}

impl<M: SharedPage> MappedPages<M> {
    /// Copies out of a page. Returns `false` if it is not mapped for that.
    pub(crate) fn read(&self, gref: GrantRef, offset: u16, to: &mut [u8]) -> bool {
        let found = self.find(Use::Read, gref, offset, to.len());
        found.map(|(pages, offset)| pages.read(offset, to)).is_some()
    }

    /// Copies into a page. Returns `false` if it is not mapped for that.
    pub(crate) fn write(&self, gref: GrantRef, offset: u16, from: &[u8]) -> bool {
        let found = self.find(Use::Write, gref, offset, from.len());
        found.map(|(pages, offset)| pages.write(offset, from)).is_some()
    }

    /// Maps pages of a busy device that Xen has copied. The guest must have said that it always uses
    /// the same.
    pub(crate) fn learn<H: Host<Memory = M>>(
        &mut self,
        host: &mut H,
        domid: DomId,
        copied: impl Iterator<Item = GrantRef>,
    ) {
        if self.failed || self.groups.len() >= MAX_GROUPS {
            return;
        }
        let room = self.room.left(domid).min(MOST_PAGES - self.count).min(MAX_MAP);
        let mut new: Vec<GrantRef> = Vec::new();
        for gref in copied.filter(|gref| (gref.0 as usize) < GRANTS) {
            if new.len() < room && !self.is_mapped(gref) && !new.contains(&gref) {
                new.push(gref);
            }
        }
        if new.is_empty() {
            return;
        }
        let Ok(memory) = host.map_frames(domid, &new, self.what == Use::Write) else {
            self.failed = true;
            return;
        };
        self.places.resize(GRANTS, None);
        let group = u16::try_from(self.groups.len()).unwrap_or(u16::MAX);
        for (gref, page) in new.iter().zip(0..) {
            self.places[gref.0 as usize] = Some((group, page));
        }
        self.groups.push(Group { memory, domid, pages: new.len() });
        self.count += new.len();
        self.room.take(domid, new.len());
    }
}

impl<M> Drop for MappedPages<M> {
    fn drop(&mut self) {
        let mut pages = self.room.0.borrow_mut();
        pages.unused.extend(self.groups.drain(..));
        pages.unmap();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::fake::{FakeHost, FakePage};

    const GREFS: std::ops::Range<u32> = 8..512;

    fn host(domains: std::ops::RangeInclusive<u16>) -> FakeHost {
        let mut host = FakeHost::default();
        for domid in domains {
            host.pages.extend(GREFS.map(|gref| ((domid, gref), FakePage::new(1))));
        }
        host
    }

    /// Maps as many pages as may be, in calls for `at_once` of them. Returns how many.
    fn fill(
        host: &mut FakeHost,
        domid: u16,
        pages: &mut MappedPages<FakePage>,
        at_once: usize,
    ) -> usize {
        let grefs: Vec<u32> = GREFS.collect();
        for some in grefs.chunks(at_once) {
            pages.learn(host, DomId(domid), some.iter().copied().map(GrantRef));
        }
        pages.count
    }

    #[test]
    fn a_domain_takes_at_most_half_of_what_the_others_leave() {
        let (mut host, room) = (host(1..=3), Room::new());
        let mut take = |domid| -> (usize, Vec<MappedPages<FakePage>>) {
            let mut devices: Vec<_> =
                (0..64).map(|_| MappedPages::new(Use::Write, &room)).collect();
            let pages = devices.iter_mut().map(|pages| fill(&mut host, domid, pages, MAX_MAP));
            (pages.sum(), devices)
        };
        let (first, devices) = take(1);
        assert!((ALL_PAGES / 2 - 1..=ALL_PAGES / 2).contains(&first), "{first} pages");
        let (second, _others) = take(2);
        assert!((ALL_PAGES / 4 - 1..=ALL_PAGES / 4).contains(&second), "{second} pages");

        drop(devices);
        while room.has_unused() {
            room.begin_turn();
        }
        let half = (ALL_PAGES - second) / 2;
        let (third, _others) = take(3);
        assert!((half - 1..=half).contains(&third), "{third} pages");
    }

    #[test]
    fn a_few_mappings_are_removed_in_a_turn() {
        let (mut host, room) = (host(1..=1), Room::new());
        let mut pages = MappedPages::new(Use::Read, &room);
        assert_eq!(fill(&mut host, 1, &mut pages, 1), MAX_GROUPS, "each page has its own mapping");
        let mapped =
            |host: &FakeHost| host.pages.values().filter(|page| page.holders() > 1).count();
        assert_eq!(mapped(&host), MAX_GROUPS);

        drop(pages);
        for turn in 1..MAX_GROUPS / AT_ONCE {
            assert_eq!(mapped(&host), MAX_GROUPS - turn * AT_ONCE);
            assert!(room.has_unused());
            room.begin_turn();
        }
        assert_eq!(mapped(&host), 0);
        assert!(!room.has_unused());
        let left = room.0.borrow();
        assert_eq!((left.free, left.taken.len()), (ALL_PAGES, 0));
    }
}
