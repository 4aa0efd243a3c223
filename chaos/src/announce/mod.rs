//! dom0's side of discovery: what is written outside of the guest so that it finds its devices. The
//! guest's side is in [`crate::domain`].
//!
//! A third way, such as XenStore nodes in a tree of the guest's own, is a file beside the two here
//! and a branch in each `match` of this file.

mod device_page;
pub mod xenstore;

use noxs_control::VifIdentity;

use self::xenstore::DiskNodes;
use crate::clients::xenstored::{Link, StoreError};
use crate::config::Discovery;
use crate::handle::DomainIdentity;
use crate::hypervisor::BuiltShell;

/// What is announced of a guest beyond its shell.
#[derive(Clone, Copy, Debug)]
pub struct GuestNodes<'a> {
    /// Its name.
    pub name: &'a str,
    /// Who its vifs are.
    pub vifs: &'a [VifIdentity],
    /// Its disks.
    pub disks: &'a [DiskNodes<'a>],
}

/// What a way of discovery does outside of the guest.
pub trait Announce: Copy {
    /// Announces a shell, and the guest if that is known already. `false` if nothing needs to be
    /// announced.
    ///
    /// # Errors
    /// xenstored does not answer, or refuses.
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

    /// Returns whether a domain has to be paused before [`withdraw`](Self::withdraw).
    fn must_be_paused(self) -> bool;

    /// Removes all that is announced of a domain, if anything is. A host without xenstored has
    /// nothing to remove.
    ///
    /// # Errors
    /// xenstored does not answer.
    fn withdraw(self, id: DomainIdentity) -> Result<(), StoreError>;

    /// Removes the devices of a domain that does not run, and keeps the rest.
    ///
    /// # Errors
    /// xenstored does not answer.
    fn withdraw_devices(self, id: DomainIdentity) -> Result<(), StoreError>;

    /// Announces another name.
    ///
    /// # Errors
    /// xenstored does not answer.
    fn rename(self, id: DomainIdentity, name: &str) -> Result<(), StoreError>;
}

/// The one place where the way is looked at.
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
