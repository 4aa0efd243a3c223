// SPDX-License-Identifier: GPL-3.0-or-later
//! Copies of frames in pages that stay mapped ([`crate::host::mapped`]).
//!
//! A vif is busy if it still has frames when its turn ends.

use noxs::VifFeatures;
use xen_ring::SharedPage;

use super::transfer::SHARED_BATCH;
use crate::host::buffers::{Buffers, GrantCopy};
use crate::host::mapped::MappedPages;
use crate::host::{DomId, Host};

/// What a guest accepts if its pages may stay mapped.
pub(super) const FEATURE: VifFeatures = VifFeatures::PERSISTENT_GRANTS;

/// Copies of a vif in a full turn from which on its pages are mapped: as many frames as it may have
/// while others are served, too.
const MANY: usize = SHARED_BATCH;

/// Makes a copy out of a page if that is mapped.
pub(super) fn fetch<M: SharedPage>(
    pages: &MappedPages<M>,
    buffers: &mut Buffers,
    copy: &mut GrantCopy,
) {
    copy.done = pages.read(copy.gref, copy.offset, buffers.get_mut(copy.local()));
}

/// Makes a copy into a page if that is mapped.
pub(super) fn deliver<M: SharedPage>(
    pages: &MappedPages<M>,
    buffers: &Buffers,
    copy: &mut GrantCopy,
) {
    copy.done = pages.write(copy.gref, copy.offset, buffers.get(copy.local()));
}

/// Maps the pages of the vif's copies in a full turn, if they are many. The guest must accept
/// [`FEATURE`].
pub(super) fn learn<H: Host>(
    pages: &mut MappedPages<H::Memory>,
    host: &mut H,
    domid: DomId,
    copies: &[GrantCopy],
) {
    if copies.len() >= MANY {
        pages.learn(host, domid, copies.iter().map(|copy| copy.gref));
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
