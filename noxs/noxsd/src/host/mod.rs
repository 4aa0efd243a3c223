//! What the devices need of Xen and of the kernel, as a trait, so that all else runs in tests.
//!
//! [`buffers`] are private pages that grants are copied to and from, [`cx`] is what a device gets for
//! one turn, [`dom0`] is the real host. Memory that a guest can change at any time is a
//! [`SharedPage`] of the crate `xen_ring`, as are the backend's ends of the rings in it.

pub mod buffers;
pub mod cx;
pub mod dom0;
#[cfg(test)]
pub(crate) mod fake;

use std::fmt;
use std::io;

pub use xen::units::{DomId, GrantRef, PAGE_SIZE};
use xen_ring::SharedPage;

use self::buffers::{GrantCopy, PageBuffers};

/// Most ring pages that one [`Host::map`] takes.
pub const MAX_MAP: usize = xen::gntdev::MAX_MAP;

/// The guest's end of an event channel: what a toolstack names, and what is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemotePort(pub u32);

/// dom0's end of an event channel: what events are sent and received on.
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

    /// Binds an event channel to a port that the domain holds for dom0, and returns dom0's end.
    ///
    /// # Errors
    /// The system's answer; nothing is bound.
    fn bind(&mut self, domid: DomId, port: RemotePort) -> io::Result<LocalPort>;

    /// Binds the interrupt that Xen raises when some domain shuts down.
    ///
    /// # Errors
    /// The system's answer: `EEXIST` if another process holds it.
    fn bind_domain_exception(&mut self) -> io::Result<LocalPort>;

    /// Releases a local port.
    fn unbind(&mut self, port: LocalPort);

    /// Sends an event.
    fn notify(&mut self, port: LocalPort);

    /// Unmasks local ports. Reading an event masks its port.
    fn unmask(&mut self, ports: &[LocalPort]);

    /// Copies from guests into buffers: the first copy into the first buffer, and so on. Sets
    /// [`GrantCopy::done`] of each copy.
    fn fetch(&mut self, buffers: &mut PageBuffers, copies: &mut [GrantCopy]);

    /// Copies from buffers to guests. Sets [`GrantCopy::done`] of each copy.
    fn deliver(&mut self, buffers: &PageBuffers, copies: &mut [GrantCopy]);
}
