// SPDX-License-Identifier: GPL-3.0-or-later
//! dom0's side of discovery: what dom0 writes outside of the guest so that the guest finds its
//! devices. What it writes into the guest's memory is in [`crate::domain`].
//!
//! Each way of discovery is a module. A third one, such as XenStore nodes in a tree of the guest's
//! own, is another module and a branch in each `match` of this file.

mod device_page;
mod nodes;
mod way;
pub mod xenstore;

use crate::clients::xenstored::{Link, StoreError};
use crate::config::Discovery;
use crate::handle::DomainIdentity;
use crate::hypervisor::BuiltShell;

pub use nodes::{DiskNodes, GuestNodes, ScriptNodes};
pub use way::Announce;

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
