//! dom0's side of discovery: what dom0 writes outside of the guest so that the guest finds its
//! devices. What it writes into the guest's memory is in [`crate::domain`].
//!
//! Each way of discovery is a module. A third one, such as XenStore nodes in a tree of the guest's
//! own, is another module and a branch in each `match` of this file.

mod device_page;
pub mod xenstore;

use noxs_control::VifIdentity;

use self::xenstore::DiskNodes;
use crate::clients::xenstored::{Link, StoreError};
use crate::config::Discovery;
use crate::handle::DomainIdentity;
use crate::hypervisor::BuiltShell;

/// What is announced of a guest in addition to its shell.
#[derive(Clone, Copy, Debug)]
pub struct GuestNodes<'a> {
    /// Its name.
    pub name: &'a str,
    /// The identities of its vifs.
    pub vifs: &'a [VifIdentity],
    /// Its disks.
    pub disks: &'a [DiskNodes<'a>],
}

/// What a way of discovery does in dom0.
pub trait Announce: Copy {
    /// Announces a shell, and the guest if it is known already. Returns `false` if this way
    /// announces nothing.
    ///
    /// # Errors
    /// xenstored does not answer, or it refuses.
    fn publish(
        self,
        xenstored: &Link,
        shell: &impl BuiltShell,
        guest: Option<&GuestNodes<'_>>,
    ) -> Result<bool, StoreError>;

    /// Announces the guest that a shell becomes.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    fn identify(
        self,
        xenstored: &Link,
        id: DomainIdentity,
        guest: &GuestNodes<'_>,
    ) -> Result<(), StoreError>;

    /// Returns whether a domain must be paused before [`withdraw`](Self::withdraw).
    fn must_be_paused(self) -> bool;

    /// Removes everything that is announced of a domain, if anything is. Succeeds if xenstored does
    /// not run.
    ///
    /// # Errors
    /// xenstored does not answer.
    fn withdraw(self, id: DomainIdentity) -> Result<(), StoreError>;

    /// Removes the devices of a domain that does not run. The rest stays announced.
    ///
    /// # Errors
    /// xenstored does not answer.
    fn withdraw_devices(self, id: DomainIdentity) -> Result<(), StoreError>;

    /// Announces another name of a domain.
    ///
    /// # Errors
    /// xenstored does not answer.
    fn rename(self, id: DomainIdentity, name: &str) -> Result<(), StoreError>;
}

/// Selects the module of the way.
impl Announce for Discovery {
    fn publish(
        self,
        xenstored: &Link,
        shell: &impl BuiltShell,
        guest: Option<&GuestNodes<'_>>,
    ) -> Result<bool, StoreError> {
        match self {
            Self::DevicePage => device_page::DevicePage.publish(xenstored, shell, guest),
            Self::XenStore => xenstore::XenStore.publish(xenstored, shell, guest),
        }
    }

    fn identify(
        self,
        xenstored: &Link,
        id: DomainIdentity,
        guest: &GuestNodes<'_>,
    ) -> Result<(), StoreError> {
        match self {
            Self::DevicePage => device_page::DevicePage.identify(xenstored, id, guest),
            Self::XenStore => xenstore::XenStore.identify(xenstored, id, guest),
        }
    }

    fn must_be_paused(self) -> bool {
        match self {
            Self::DevicePage => device_page::DevicePage.must_be_paused(),
            Self::XenStore => xenstore::XenStore.must_be_paused(),
        }
    }

    fn withdraw(self, id: DomainIdentity) -> Result<(), StoreError> {
        match self {
            Self::DevicePage => device_page::DevicePage.withdraw(id),
            Self::XenStore => xenstore::XenStore.withdraw(id),
        }
    }

    fn withdraw_devices(self, id: DomainIdentity) -> Result<(), StoreError> {
        match self {
            Self::DevicePage => device_page::DevicePage.withdraw_devices(id),
            Self::XenStore => xenstore::XenStore.withdraw_devices(id),
        }
    }

    fn rename(self, id: DomainIdentity, name: &str) -> Result<(), StoreError> {
        match self {
            Self::DevicePage => device_page::DevicePage.rename(id, name),
            Self::XenStore => xenstore::XenStore.rename(id, name),
        }
    }
}
