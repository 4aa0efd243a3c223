// SPDX-License-Identifier: GPL-3.0-or-later
//! Ensures that a domain has its vCPUs before its ports.

use xen::hvm_context::PvhVcpu;
use xen::units::{DomId, Port};
use xen::{Error, Xen};

/// A domain that has its vCPUs.
///
/// Only such a domain may get event channels and a vCPU context: Xen 4.17 to 4.20 dereference the
/// first vCPU without a check, and crash the host if it does not exist. [`crate::domain`] does both
/// only through this value, which only [`create`](Self::create) returns.
#[derive(Clone, Copy, Debug)]
pub(super) struct WithVcpus<'a> {
    xen: &'a Xen,
    domid: DomId,
    count: u16,
}

impl<'a> WithVcpus<'a> {
    /// Creates a domain's vCPUs.
    ///
    /// # Errors
    /// Xen refuses; `ENOMEM` if it has too little memory.
    pub(super) fn create(xen: &'a Xen, domid: DomId, count: u32) -> Result<Self, Error> {
        xen.max_vcpus(domid, count)?;
        // Xen creates at most 128.
        let count = u16::try_from(count).unwrap_or(u16::MAX);
        Ok(Self { xen, domid, count })
    }

    /// Allocates a port of the domain that dom0 may bind to.
    ///
    /// # Errors
    /// Xen refuses.
    pub(super) fn alloc_port(self) -> Result<Port, Error> {
        self.xen.evtchn_alloc_unbound(self.domid, DomId::DOM0)
    }

    /// Sets the context of the first vCPU: it starts at `entry`, with the address `start_info` in
    /// `ebx`.
    ///
    /// # Errors
    /// Xen refuses.
    pub(super) fn set_context(self, entry: u32, start_info: u64) -> Result<(), Error> {
        let context = PvhVcpu { entry, start_info }.context(self.count);
        self.xen.set_hvm_context(self.domid, &context)
    }
}
