//! The order in which a domain gets its vCPUs and its ports.

use xen::hvm_context::PvhVcpu;
use xen::units::{DomId, Port};
use xen::{Error, Xen};

/// A domain that has its vCPUs.
///
/// Only such a domain may have event channels and a vCPU context: where the vCPU is missing, Xen 4.17
/// to 4.20 dereference it and take the host down. In this module tree, both are done through this
/// value, and it comes only from [`create`](Self::create).
#[derive(Clone, Copy, Debug)]
pub(super) struct WithVcpus<'a> {
    xen: &'a Xen,
    domid: DomId,
}

impl<'a> WithVcpus<'a> {
    /// Creates a domain's vCPUs.
    ///
    /// # Errors
    /// Xen refuses; `ENOMEM` if it has too little memory.
    pub(super) fn create(xen: &'a Xen, domid: DomId, count: u32) -> Result<Self, Error> {
        xen.max_vcpus(domid, count)?;
        Ok(Self { xen, domid })
    }

    /// Allocates a port of the domain's that dom0 may bind to.
    ///
    /// # Errors
    /// Xen refuses.
    pub(super) fn alloc_port(self) -> Result<Port, Error> {
        self.xen.evtchn_alloc_unbound(self.domid, DomId::DOM0)
    }

    /// Sets where the first vCPU starts: at `entry`, with the address of `start_info`.
    ///
    /// # Errors
    /// Xen refuses.
    pub(super) fn set_context(self, entry: u32, start_info: u64) -> Result<(), Error> {
        self.xen.set_hvm_context(self.domid, &PvhVcpu { entry, start_info }.context())
    }
}
