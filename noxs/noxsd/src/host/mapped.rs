// SPDX-License-Identifier: GPL-3.0-or-later
//! Pages of a guest that stay mapped, so that no grant copy is needed.
//!
//! A grant copy takes dom0 some 4000 instructions, however short it is: Linux looks up and pins the
//! private page, Xen the grant. A guest that says so uses the same pages for all data of a device.
//! Those are mapped, once, when the device is busy, and noxsd then copies without a system call. What
//! is in them is still copied before it is looked at.
//!
//! All is bounded: [`MOST_PAGES`] in each direction of a device, and a number of pages for all devices
//! together, of which each takes half of what the others leave at most. Pages beyond that are copied
//! by Xen, as are those that cannot be mapped. A guest that grants another page by the same reference
//! harms itself: the mapped page stays the one that it was.

use std::cell::Cell;
use std::rc::Rc;

use xen_ring::SharedPage;

use super::{DomId, GrantRef, Host, MAX_MAP, PAGE_SIZE};

/// Pages that are mapped for one direction of a device: as many as a vif's ring has slots.
const MOST_PAGES: usize = 256;

/// Mappings of one direction of a device. When it is removed, each takes a system call.
const MAX_GROUPS: usize = 64;

/// Grants whose pages are mapped: those of the first frame of a grant table.
const GRANTS: usize = 512;

/// How many more pages may be mapped for some devices.
#[derive(Clone, Debug)]
pub(crate) struct Room(Rc<Cell<usize>>);

impl Room {
    /// Returns room for a number of pages.
    pub(crate) fn new(pages: usize) -> Self {
        Self(Rc::new(Cell::new(pages)))
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
    groups: Vec<M>,
    /// The group of each grant reference, and its page there.
    places: Vec<Option<(u16, u16)>>,
    count: usize,
    room: Room,
    /// A page could not be mapped, so that no other is tried.
    failed: bool,
}

impl<M> MappedPages<M> {
    /// Returns no pages; they are to be taken out of `room`.
    pub(crate) fn new(what: Use, room: &Room) -> Self {
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
            .map(|group| (group, offset))
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
        let room = (self.room.0.get() / 2).min(MOST_PAGES - self.count).min(MAX_MAP);
        let mut new: Vec<GrantRef> = Vec::new();
        for gref in copied.filter(|gref| (gref.0 as usize) < GRANTS) {
            if new.len() < room && !self.is_mapped(gref) && !new.contains(&gref) {
                new.push(gref);
            }
        }
        if new.is_empty() {
            return;
        }
        let Ok(pages) = host.map_frames(domid, &new, self.what == Use::Write) else {
            self.failed = true;
            return;
        };
        self.places.resize(GRANTS, None);
        let group = u16::try_from(self.groups.len()).unwrap_or(u16::MAX);
        for (gref, page) in new.iter().zip(0..) {
            self.places[gref.0 as usize] = Some((group, page));
        }
        self.groups.push(pages);
        self.count += new.len();
        self.room.0.set(self.room.0.get() - new.len());
    }
}

impl<M> Drop for MappedPages<M> {
    fn drop(&mut self) {
        self.room.0.set(self.room.0.get() + self.count);
    }
}
