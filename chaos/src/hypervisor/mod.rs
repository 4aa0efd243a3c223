// SPDX-License-Identifier: GPL-3.0-or-later
//! What the life cycle of a guest asks of Xen, as a trait.
//!
//! Programs use [`xen::Xen`]; all of it is static dispatch, so the trait adds no cost to a create.
//! Unit tests have another one, in which each call can fail.

#[cfg(test)]
pub(crate) mod fake;
mod real;

use std::fmt::Debug;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::sync::Arc;

use noxs::shared::PageWords;
use xen::Error;
use xen::domain::DomainInfo;
use xen::units::{DomId, DomainHandle, Gfn, GrantRef, Pages, Port};

use crate::clients::xenstored;
use crate::config::DomainConfig;
use crate::domain::{BuildError, Flavour, NoxsPages, Payload, Ports, TuneError, XenStoreRings};
use crate::image::Image;
use crate::timings::Timings;

/// Xen, as far as the life cycle of a guest needs it.
pub trait Hypervisor: Debug + Sized {
    /// A domain that has everything but an image.
    type Shell: BuiltShell;
    /// A mapped page of a guest.
    type Page: PageWords;
    /// dom0's ends of event channels.
    type Events: EventPorts;

    /// Returns what Xen says of a domain; `None` if there is none of this number.
    ///
    /// # Errors
    /// Xen refuses.
    fn domain_info(&self, domid: DomId) -> Result<Option<DomainInfo>, Error>;

    /// Returns the domains from this number on, in order.
    ///
    /// # Errors
    /// Xen refuses.
    fn domain_list(&self, first: DomId) -> Result<Vec<DomainInfo>, Error>;

    /// Returns the numbers of the domains that have begun or ended since they were last returned here,
    /// to any process; `None` if this Xen does not say it.
    ///
    /// # Errors
    /// Xen refuses.
    fn changed_domains(&self) -> Result<Option<Vec<DomId>>, Error>;

    /// Pauses a domain.
    ///
    /// # Errors
    /// Xen refuses; `ESRCH` if there is no such domain.
    fn pause(&self, domid: DomId) -> Result<(), Error>;

    /// Lets a paused domain run.
    ///
    /// # Errors
    /// As [`pause`](Self::pause).
    fn unpause(&self, domid: DomId) -> Result<(), Error>;

    /// Destroys a domain.
    ///
    /// # Errors
    /// As [`pause`](Self::pause).
    fn destroy(&self, domid: DomId) -> Result<(), Error>;

    /// Maps one page of a domain. As long as it is mapped, Xen remembers how the domain ended.
    ///
    /// # Errors
    /// There is no such page.
    fn map_page(&self, domid: DomId, gfn: Gfn) -> Result<Self::Page, Error>;

    /// Ensures that a domain has memory at a frame, and clears it. `most` is the limit of the domain's
    /// memory.
    ///
    /// # Errors
    /// There is no memory, or the domain is at its limit.
    fn provide_page(&self, domid: DomId, gfn: Gfn, most: Pages) -> Result<(), Error>;

    /// Grants pages of a domain to dom0.
    ///
    /// # Errors
    /// Xen refuses.
    fn grant_pages(&self, domid: DomId, pages: &[(GrantRef, Gfn)]) -> Result<(), Error>;

    /// Revokes grants of a domain. What is mapped stays mapped.
    ///
    /// # Errors
    /// Xen refuses.
    fn revoke_grants(&self, domid: DomId, references: &[GrantRef]) -> Result<(), Error>;

    /// Allocates a port of a domain, to which dom0 may bind.
    ///
    /// # Errors
    /// Xen refuses.
    fn alloc_port(&self, domid: DomId) -> Result<Port, Error>;

    /// Applies what few configs ask for to a domain that has not run yet ([`crate::domain::tune`]).
    ///
    /// # Errors
    /// As [`crate::domain::tune`].
    fn tune(
        &self,
        xenstored: &xenstored::Link,
        domid: DomId,
        config: &DomainConfig,
    ) -> Result<(), TuneError>;

    /// Replaces a domain's handle.
    ///
    /// # Errors
    /// Xen refuses.
    fn set_handle(&self, domid: DomId, handle: DomainHandle) -> Result<(), Error>;

    /// Opens an empty set of event channels.
    ///
    /// # Errors
    /// The device cannot be opened.
    fn open_events(&self) -> Result<Self::Events, Error>;

    /// Prepares a shell ([`crate::domain::prepare`]).
    ///
    /// # Errors
    /// As [`crate::domain::prepare`]. Nothing is left behind.
    fn prepare(
        self: &Rc<Self>,
        flavour: Flavour,
        image: Option<&Image>,
        handle: DomainHandle,
        timings: &mut Timings,
    ) -> Result<Self::Shell, BuildError>;

    /// Turns a parked shell back into a shell.
    fn unpark(self: &Rc<Self>, parked: ParkedOf<Self>) -> Self::Shell;
}

/// The form in which a shell of this hypervisor is sent to another thread.
pub type ParkedOf<H> = <<H as Hypervisor>::Shell as BuiltShell>::Parked;

/// A complete domain of this hypervisor that does not run yet.
pub type ReadyOf<H> = <<H as Hypervisor>::Shell as BuiltShell>::Ready;

/// The memory of a guest of this hypervisor that is still mapped.
pub type MappedOf<H> = <ReadyOf<H> as ReadyDomain>::Mapped;

/// A domain that has everything but an image. Dropping it destroys the domain.
pub trait BuiltShell: Debug + Sized {
    /// The same without a handle of the hypervisor's.
    type Parked: Debug;
    /// What it becomes.
    type Ready: ReadyDomain;

    /// Returns the domain's number.
    fn domid(&self) -> DomId;
    /// Returns the domain's handle.
    fn handle(&self) -> DomainHandle;
    /// Returns what it was prepared for.
    fn flavour(&self) -> &Flavour;
    /// Returns its event channels.
    fn ports(&self) -> Ports;
    /// Returns the grant reference of the console's ring, if it has a console.
    fn console_grant(&self) -> Option<GrantRef>;
    /// Returns the grant references of a vif's transmit and receive ring.
    fn vif_grants(&self, index: u16) -> [GrantRef; 2];
    /// Returns the grant reference of a disk's ring.
    fn disk_grant(&self, index: u16) -> GrantRef;
    /// Returns its rings of XenStore and the console, if its guest finds its devices in XenStore.
    fn xenstore_rings(&self) -> Option<XenStoreRings>;

    /// Replaces its handle, in Xen too.
    ///
    /// # Errors
    /// Xen refuses.
    fn set_handle(&mut self, handle: DomainHandle) -> Result<(), Error>;

    /// Copies an image in ([`crate::domain::Shell::load`]).
    ///
    /// # Errors
    /// The image does not fit or cannot be read.
    fn load(&mut self, image: &Arc<Image>) -> Result<(), BuildError>;

    /// Makes the shell a guest ([`crate::domain::Shell::execute`]).
    ///
    /// # Errors
    /// Something does not fit, or Xen refuses. The domain is destroyed.
    fn execute(
        self,
        payload: &Payload<'_>,
        timings: &mut Timings,
    ) -> Result<Self::Ready, BuildError>;

    /// Drops the hypervisor's handle.
    fn park(self) -> Self::Parked;
}

/// A domain that has everything and does not run yet. Dropping it destroys the domain.
pub trait ReadyDomain {
    /// What is still mapped of it.
    type Mapped: Debug;

    /// Returns the pages of its device page, if it has one.
    fn noxs_pages(&self) -> Option<NoxsPages>;

    /// Lets the guest run.
    ///
    /// # Errors
    /// Xen refuses. The domain is destroyed.
    fn unpause(self, timings: &mut Timings) -> Result<Self::Mapped, BuildError>;

    /// Keeps the domain, paused.
    fn keep_paused(self) -> Self::Mapped;
}

/// dom0's ends of event channels ([`xen::evtchn::EventChannels`]). The descriptor can be read when
/// an event is pending.
pub trait EventPorts: AsFd + Debug {
    /// Binds to a port that another domain holds for dom0.
    ///
    /// # Errors
    /// The domain or the port does not exist, or another process is bound to it.
    fn bind_interdomain(&self, domid: DomId, remote: Port) -> Result<Port, Error>;

    /// Binds a virtual interrupt.
    ///
    /// # Errors
    /// Another process holds it.
    fn bind_virq(&self, virq: u32) -> Result<Port, Error>;

    /// Sends an event.
    ///
    /// # Errors
    /// The other domain is gone.
    fn notify(&self, port: Port) -> Result<(), Error>;

    /// Acknowledges all pending events.
    ///
    /// # Errors
    /// The device cannot be read.
    fn acknowledge_pending(&self) -> Result<(), Error>;
}
