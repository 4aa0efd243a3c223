// SPDX-License-Identifier: GPL-3.0-or-later
//! Answers a disk's requests that are finished, in the order of the ring.

use std::io;

use xen_abi::io::blkif::{
    BLKIF_OP_DISCARD, BLKIF_OP_FLUSH_DISKCACHE, BLKIF_OP_READ, BLKIF_RSP_EOPNOTSUPP,
    BLKIF_RSP_ERROR, BLKIF_RSP_OKAY, Response,
};

use super::{Started, State, Taken};
use crate::block::{Disks, Pending};
use crate::host::cx::Cx;
use crate::host::{CopyOp, Host};

impl Started {
    /// Answers the requests at the head of the queue that are finished. Returns whether one of them
    /// has succeeded.
    pub(super) fn answer<H: Host>(
        &mut self,
        cx: &mut Cx<'_, H>,
        disks: &mut Disks<H::Memory>,
    ) -> bool {
        let is_finished = |taken: &&Taken| match taken.state {
            State::Refused(_) => true,
            State::Pending(key) => {
                disks.requests.get(key).is_none_or(|pending| pending.result.is_some())
            }
        };
        let count = self.queue.iter().take_while(is_finished).count();
        if count == 0 {
            return false;
        }
        let taken: Vec<Taken> = self.queue.drain(..count).collect();
        let mut pending: Vec<Option<Pending>> = taken
            .iter()
            .map(|taken| match taken.state {
                State::Refused(_) => None,
                State::Pending(key) => disks.requests.try_remove(key),
            })
            .collect();
        let failed = self.deliver(cx, disks, &pending);
        let mut progress = false;
        for ((taken, pending), failed) in taken.iter().zip(&mut pending).zip(failed) {
            let status = match (taken.state, pending) {
                (State::Refused(status), _) => status,
                (State::Pending(_), None) => BLKIF_RSP_ERROR,
                (State::Pending(_), Some(pending)) => {
                    let parts = std::mem::take(&mut pending.parts);
                    self.pages -= parts.len();
                    disks.free(self.image.file.storage(), parts);
                    let result = pending.result.take().unwrap_or(Ok(()));
                    self.status_of(cx, disks, taken, &result, failed)
                }
            };
            progress |= status == BLKIF_RSP_OKAY;
            let response = Response {
                id: taken.id,
                operation: taken.operation,
                status,
                ..Response::default()
            };
            // An answer takes the place of a request, which the next noxsd carries out if this one
            // is killed. So each answer is published at once, and not all at the end.
            self.notify |= self.ring.answer(cx.memory, &response);
        }
        progress
    }

    /// Counts a request that was carried out. Returns the status for the guest.
    fn status_of<H: Host>(
        &mut self,
        cx: &Cx<'_, H>,
        disks: &mut Disks<H::Memory>,
        taken: &Taken,
        result: &io::Result<()>,
        copy_failed: bool,
    ) -> i16 {
        if let Err(error) = result {
            self.status.failed_requests += 1;
            // A grant that the guest has not given, rather than an error of the storage.
            if error.kind() == io::ErrorKind::InvalidInput && error.raw_os_error().is_none() {
                return BLKIF_RSP_ERROR;
            }
            if self.health.fails(&mut disks.warnings, cx.now) {
                let (path, domid) = (&self.image.path, cx.domid);
                tracing::warn!("disk {path} of domain {domid} fails: {error}");
            }
            return match error.raw_os_error() {
                Some(libc::EOPNOTSUPP) => BLKIF_RSP_EOPNOTSUPP,
                _ => BLKIF_RSP_ERROR,
            };
        }
        if copy_failed {
            self.status.failed_requests += 1;
            return BLKIF_RSP_ERROR;
        }
        if self.health.works() {
            tracing::info!("disk {} of domain {} works again", self.image.path, cx.domid);
        }
        let bytes = u64::from(taken.bytes);
        match taken.operation {
            BLKIF_OP_READ => {
                self.status.read_requests += 1;
                self.status.read_bytes += bytes;
            }
            BLKIF_OP_DISCARD => self.status.discard_requests += 1,
            BLKIF_OP_FLUSH_DISKCACHE => self.status.flush_requests += 1,
            _ => {
                self.status.write_requests += 1;
                self.status.written_bytes += bytes;
            }
        }
        BLKIF_RSP_OKAY
    }

    /// Copies to the guest what was read, all at once. Returns for each request whether a copy has
    /// failed.
    fn deliver<H: Host>(
        &mut self,
        cx: &mut Cx<'_, H>,
        disks: &mut Disks<H::Memory>,
        pending: &[Option<Pending>],
    ) -> Vec<bool> {
        let read = |pending: &Pending| matches!(pending.result, Some(Ok(())));
        let pages = pending.iter().enumerate().flat_map(|(number, pending)| {
            let read = pending.iter().filter(|pending| read(pending));
            read.flat_map(|pending| pending.targets.iter().zip(&pending.parts))
                .map(move |page| (number, page))
        });
        let domid = cx.domid;
        let copies = pages
            .clone()
            .map(|(_, (to, part))| CopyOp::to_grant(domid, to.gref, to.offset, part.data()));
        let failed_pages = self.copy(cx, disks, copies.collect());
        disks.work += failed_pages.len();
        let mut failed = vec![false; pending.len()];
        for ((number, _), page) in pages.zip(failed_pages) {
            failed[number] |= page;
        }
        failed
    }
}
