// SPDX-License-Identifier: GPL-3.0-or-later
//! The guest's pages of a disk's requests: Xen copies from and to them, or noxsd does, if they stay
//! mapped ([`crate::host::mapped`]).

use xen::gntdev::CopyLocal;
use xen_ring::SharedPage;

use crate::host::cx::Cx;
use crate::host::mapped::{MappedPages, Room, Use};
use crate::host::{CopyOp, Host};

/// Pages that Xen has copied for a disk from which on they are mapped: a disk that is used rarely
/// needs no mappings.
const MANY: usize = 64;

/// The pages of one disk.
#[derive(Debug)]
pub(super) struct DiskPages<M> {
    /// Those from which noxsd copies, and those to which it does.
    from: MappedPages<M>,
    to: MappedPages<M>,
    /// How many Xen has copied.
    copied: usize,
}

impl<M: SharedPage> DiskPages<M> {
    pub(super) fn new(room: &Room<M>) -> Self {
        let pages = |what| MappedPages::new(what, room);
        Self { from: pages(Use::Read), to: pages(Use::Write), copied: 0 }
    }

    /// Makes copies from and to the guest's pages. Returns for each whether it has failed. `persistent`
    /// says whether the guest always uses the same pages.
    pub(super) fn copy<H: Host<Memory = M>>(
        &mut self,
        cx: &mut Cx<'_, H>,
        persistent: bool,
        ops: Vec<CopyOp<'_>>,
    ) -> Vec<bool> {
        let mut failed = vec![false; ops.len()];
        // Those that Xen is to make, and the place of each among all.
        let (mut left, mut places) = (Vec::new(), Vec::new());
        for (place, mut op) in ops.into_iter().enumerate() {
            let is_done = match &mut op.local {
                CopyLocal::To(data) => self.from.read(op.reference, op.offset, data),
                CopyLocal::From(data) => self.to.write(op.reference, op.offset, data),
            };
            if !is_done {
                left.push(op);
                places.push(place);
            }
        }
        if left.is_empty() {
            return failed;
        }
        cx.host.copy(&mut left);
        for (op, place) in left.iter().zip(places) {
            failed[place] = op.failed.is_some();
        }
        self.copied += left.len();
        if persistent && self.copied >= MANY {
            let copied = |is_read: bool| {
                let is_copied = move |op: &&CopyOp<'_>| {
                    op.failed.is_none() && matches!(op.local, CopyLocal::To(_)) == is_read
                };
                left.iter().filter(is_copied).map(|op| op.reference)
            };
            self.from.learn(cx.host, cx.domid, copied(true));
            self.to.learn(cx.host, cx.domid, copied(false));
        }
        failed
    }
}
