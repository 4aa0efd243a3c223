// SPDX-License-Identifier: GPL-3.0-or-later
//! What devices need from Xen and the kernel, as a trait, so that tests can run all the rest.
//!
//! [`buffers`] are private pages that granted pages are copied to and from, [`cx`] is what a device
//! is served with in one turn, [`dom0`] is the real host, [`file_io`] reads and writes files for it,
//! `mapped` has the pages of busy devices, [`serving`] is the domain that is being served. Memory that
//! a guest may change at any time is a [`SharedPage`]; the back ends of the rings in it are in the
//! crate `xen_ring`, too.

pub mod buffers;
pub mod cx;
pub mod dom0;
#[cfg(any(test, feature = "fuzzing"))]
#[cfg_attr(not(test), allow(dead_code))]
#[allow(clippy::unwrap_used)]
pub(crate) mod fake;
pub mod file_io;
pub(crate) mod mapped;
pub mod serving;

use std::fmt;
use std::io;

pub use xen::gntdev::CopyOp;
pub use xen::units::{DomId, GrantRef, PAGE_SIZE};
use xen_ring::SharedPage;

use self::buffers::{Buffers, GrantCopy};
use self::file_io::{FileIo, FinishedIo};

/// Most ring pages that one call of [`Host::map`] can map.
pub const MAX_MAP: usize = xen::gntdev::MAX_MAP;

/// The guest's end of an event channel, which a toolstack names and noxsd binds to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemotePort(pub u32);

/// dom0's end of an event channel, on which noxsd sends and receives events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LocalPort(pub u32);

impl fmt::Display for LocalPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// dom0's side of Xen.
pub trait Host {
    /// Mapped ring pages; dropping them unmaps them.
    type Memory: SharedPage;

    /// Maps pages that a domain has granted, one after the other.
    ///
    /// # Errors
    /// The system's answer; nothing is mapped.
    fn map(&mut self, domid: DomId, grants: &[GrantRef]) -> io::Result<Self::Memory>;

    /// Maps pages of frames that a domain has granted, as [`map`](Self::map) does; to be read only, if
    /// they are not `writable`.
    ///
    /// # Errors
    /// The system's answer; nothing is mapped.
    fn map_frames(
        &mut self,
        domid: DomId,
        grants: &[GrantRef],
        writable: bool,
    ) -> io::Result<Self::Memory>;

    /// Binds an event channel to a port that the domain has allocated for dom0, and returns dom0's
    /// end.
    ///
    /// # Errors
    /// The system's answer; nothing is bound.
    fn bind(&mut self, domid: DomId, port: RemotePort) -> io::Result<LocalPort>;

    /// Binds the interrupt that Xen raises when any domain shuts down.
    ///
    /// # Errors
    /// The system's answer: `EEXIST` if another process holds it.
    fn bind_domain_exception(&mut self) -> io::Result<LocalPort>;

    /// Releases a local port.
    fn unbind(&mut self, port: LocalPort);

    /// Sends an event.
    fn notify(&mut self, port: LocalPort);

    /// Unmasks local ports. The kernel masks a port when its event is read.
    fn unmask(&mut self, ports: &[LocalPort]);

    /// Copies from guests' pages into the buffers. The private ends of the copies follow one another
    /// in the buffers and do not overlap. Sets [`GrantCopy::done`] in each copy.
    fn fetch(&mut self, buffers: &mut Buffers, copies: &mut [GrantCopy]);

    /// Copies from the buffers into guests' pages. Sets [`GrantCopy::done`] in each copy.
    fn deliver(&mut self, buffers: &Buffers, copies: &mut [GrantCopy]);

    /// Copies between guests' pages and any buffers, in either direction. Sets
    /// [`CopyOp::failed`] in each copy.
    fn copy(&mut self, copies: &mut [CopyOp<'_>]);

    /// Takes an operation on a file. [`submit_io`](Self::submit_io) starts it at the latest.
    fn begin_io(&mut self, io: FileIo);

    /// Starts the operations that were begun. Returns whether all are started; otherwise the caller
    /// tries again.
    fn submit_io(&mut self) -> bool;

    /// Appends the results of finished operations. What was done in part continues, once
    /// [`submit_io`](Self::submit_io) starts it.
    fn finished_io(&mut self, finished: &mut Vec<FinishedIo>);
}
