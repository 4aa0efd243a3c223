// SPDX-License-Identifier: GPL-3.0-or-later
//! The guest's pages of a disk's requests: Xen copies from and to them, or noxsd does, if they stay
//! mapped ([`crate::host::mapped`]).

use xen_ring::SharedPage;

use crate::host::cx::Cx;
use crate::host::mapped::{MappedPages, Room, Use};
use crate::host::{CopyOp, GrantRef, Host};

/// Pages that Xen has copied for a disk from which on they are mapped: a disk that is used rarely
/// needs no mappings.
const MANY: usize = 64;

/// Pages that are mapped for all disks together: 16 MiB.
pub(super) const ALL_PAGES: usize = 4096;

/// The pages of one disk.
#[derive(Debug)]
pub(super) struct DiskPages<M> {
    /// Those from which noxsd copies, and those to which it does.
    from: MappedPages<M>,
    to: MappedPages<M>,
    /// How many Xen has copied.
    copied: usize,
}

/// Copies that Xen is to make.
struct Copies<'a> {
    ops: Vec<CopyOp<'a>>,
    /// The place of each among all copies.
    places: Vec<usize>,
    /// For all copies, whether one has failed.
    failed: Vec<bool>,
}

impl<M: SharedPage> DiskPages<M> {
    pub(super) fn new(room: &Room) -> Self {
        let pages = |what| MappedPages::new(what, room);
        Self { from: pages(Use::Read), to: pages(Use::Write), copied: 0 }
    }

    /// Copies out of the guest's pages, each from an offset. Returns for each copy whether it has
    /// failed. `persistent` says whether the guest always uses the same pages.
    pub(super) fn fetch<'a, H: Host<Memory = M>>(
        &mut self,
        cx: &mut Cx<'_, H>,
        persistent: bool,
        copies: impl Iterator<Item = (GrantRef, u16, &'a mut [u8])>,
    ) -> Vec<bool> {
        let mut left = Copies { ops: Vec::new(), places: Vec::new(), failed: Vec::new() };
        for (gref, offset, data) in copies {
            if !self.from.read(gref, offset, data) {
                left.add(CopyOp::from_grant(cx.domid, gref, offset, data));
            }
            left.failed.push(false);
        }
        self.copied += left.ops.len();
        let pages = (persistent && self.copied >= MANY).then_some(&mut self.from);
        left.make(cx, pages)
    }

    /// Copies into the guest's pages, as [`fetch`](Self::fetch) copies out of them.
    pub(super) fn deliver<'a, H: Host<Memory = M>>(
        &mut self,
        cx: &mut Cx<'_, H>,
        persistent: bool,
        copies: impl Iterator<Item = (GrantRef, u16, &'a [u8])>,
    ) -> Vec<bool> {
        let mut left = Copies { ops: Vec::new(), places: Vec::new(), failed: Vec::new() };
        for (gref, offset, data) in copies {
            if !self.to.write(gref, offset, data) {
                left.add(CopyOp::to_grant(cx.domid, gref, offset, data));
            }
            left.failed.push(false);
        }
        self.copied += left.ops.len();
        let pages = (persistent && self.copied >= MANY).then_some(&mut self.to);
        left.make(cx, pages)
    }
}

impl<'a> Copies<'a> {
    /// Adds the next copy.
    fn add(&mut self, op: CopyOp<'a>) {
        self.places.push(self.failed.len());
        self.ops.push(op);
    }

    /// Has Xen make the copies, and maps the pages for the next ones.
    fn make<H: Host>(
        mut self,
        cx: &mut Cx<'_, H>,
        pages: Option<&mut MappedPages<H::Memory>>,
    ) -> Vec<bool> {
        if self.ops.is_empty() {
            return self.failed;
        }
        cx.host.copy(&mut self.ops);
        for (op, place) in self.ops.iter().zip(self.places) {
            self.failed[place] = op.failed.is_some();
        }
        if let Some(pages) = pages {
            let copied = self.ops.iter().filter(|op| op.failed.is_none());
            pages.learn(cx.host, cx.domid, copied.map(|op| op.reference));
        }
        self.failed
    }
}
