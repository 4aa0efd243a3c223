// SPDX-License-Identifier: GPL-3.0-or-later
//! Pages of frames that stay mapped, so that no grant copy is needed.
//!
//! A grant copy takes dom0 some 4000 instructions, however short it is: Linux looks up and pins the
//! private page, Xen the grant. A guest with [`VifFeatures::PERSISTENT_GRANTS`] uses the same pages
//! for all its frames. They are mapped, once, if they are part of a turn that ends before there are no
//! more frames, and noxsd then copies without a system call. A frame is still copied before it is
//! looked at.
//!
//! All is bounded: [`VIF_PAGES`] in each direction of a vif, [`ALL_PAGES`] together, of which each
//! takes half of what the others leave at most. Pages beyond
//! that are copied by Xen, as are those that cannot be mapped. A guest that grants another page by
//! the same reference harms itself: the mapped page stays the one that it was.

use std::cell::Cell;
use std::rc::Rc;

use noxs::VifFeatures;
use xen_ring::SharedPage;

use super::transfer::SHARED_BATCH;
use crate::host::buffers::{Buffers, GrantCopy};
use crate::host::{DomId, GrantRef, Host, MAX_MAP, PAGE_SIZE};

/// What a guest accepts if its pages may stay mapped.
pub(super) const FEATURE: VifFeatures = VifFeatures::PERSISTENT_GRANTS;

/// Copies of a vif in a full turn from which on its pages are mapped: as many frames as it may have
/// while others are served, too.
const MANY: usize = SHARED_BATCH;

/// Pages that are mapped for one direction of a vif: as many as a ring has slots. So all vifs of a
/// domain have half of [`ALL_PAGES`].
const VIF_PAGES: usize = 256;

/// Mappings of one direction of a vif. When it is removed, each takes a system call.
const MAX_GROUPS: usize = 64;

/// Grants whose pages are mapped: those of the first frame of a grant table.
const GRANTS: usize = 512;

/// Pages that are mapped for all vifs together: 32 MiB.
const ALL_PAGES: usize = 8192;

/// What noxsd does with the pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// It reads sent frames.
    Read,
    /// It writes received ones.
    Write,
}

/// How many pages all vifs have mapped.
#[derive(Clone, Debug, Default)]
pub(super) struct Mapped(Rc<Cell<usize>>);

/// The pages of one direction of a vif.
#[derive(Debug)]
pub(super) struct MappedPages<M> {
    what: Use,
    groups: Vec<M>,
    /// The group of each grant reference, and its page there.
    places: Vec<Option<(u16, u16)>>,
    count: usize,
    all: Mapped,
    /// A page could not be mapped, so that no other is tried.
    failed: bool,
}

impl<M> MappedPages<M> {
    pub(super) fn new(what: Use, all: &Mapped) -> Self {
        let (groups, places) = (Vec::new(), Vec::new());
        Self { what, groups, places, count: 0, all: all.clone(), failed: false }
    }

    /// Returns whether no page is mapped.
    pub(super) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    fn is_mapped(&self, gref: GrantRef) -> bool {
        self.places.get(gref.0 as usize).is_some_and(Option::is_some)
    }

    /// Returns where a range of a page is mapped.
    fn find(&self, copy: &GrantCopy) -> Option<(&M, usize)> {
        let (group, page) = (*self.places.get(copy.gref.0 as usize)?)?;
        let is_in_page = usize::from(copy.offset) + usize::from(copy.length) <= PAGE_SIZE;
        let offset = usize::from(page) * PAGE_SIZE + usize::from(copy.offset);
        self.groups.get(usize::from(group)).filter(|_| is_in_page).map(|group| (group, offset))
    }
}

impl<M: SharedPage> MappedPages<M> {
    /// Makes a copy if its page is mapped.
    pub(super) fn fetch(&self, buffers: &mut Buffers, copy: &mut GrantCopy) {
        if self.what == Use::Read
            && let Some((pages, offset)) = self.find(copy)
        {
            pages.read(offset, buffers.get_mut(copy.local()));
            copy.done = true;
        }
    }

    /// Makes a copy if its page is mapped.
    pub(super) fn deliver(&self, buffers: &Buffers, copy: &mut GrantCopy) {
        if self.what == Use::Write
            && let Some((pages, offset)) = self.find(copy)
        {
            pages.write(offset, buffers.get(copy.local()));
            copy.done = true;
        }
    }

    /// Maps the pages of the vif's copies in a full turn, if they are many. The guest must accept
    /// [`FEATURE`].
    pub(super) fn learn<H: Host<Memory = M>>(
        &mut self,
        host: &mut H,
        domid: DomId,
        copies: &[GrantCopy],
    ) {
        if self.failed || copies.len() < MANY || self.groups.len() >= MAX_GROUPS {
            return;
        }
        let all = ALL_PAGES.saturating_sub(self.all.0.get()) / 2;
        let room = all.min(VIF_PAGES - self.count).min(MAX_MAP);
        let mut new: Vec<GrantRef> = Vec::new();
        for copy in copies.iter().filter(|copy| (copy.gref.0 as usize) < GRANTS) {
            if new.len() < room && !self.is_mapped(copy.gref) && !new.contains(&copy.gref) {
                new.push(copy.gref);
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
        self.all.0.set(self.all.0.get() + new.len());
    }
}

impl<M> Drop for MappedPages<M> {
    fn drop(&mut self) {
        self.all.0.set(self.all.0.get().saturating_sub(self.count));
    }
}

/// Makes those of the copies that are not done yet by `copy`.
pub(super) fn make_others(copies: &mut [GrantCopy], copy: impl FnOnce(&mut [GrantCopy])) {
    let done = copies.iter().filter(|copy| copy.done).count();
    if done == 0 {
        copy(copies);
    } else if done < copies.len() {
        let mut others: Vec<GrantCopy> = copies.iter().filter(|copy| !copy.done).copied().collect();
        copy(&mut others);
        for (slot, other) in copies.iter_mut().filter(|copy| !copy.done).zip(others) {
            *slot = other;
        }
    }
}
