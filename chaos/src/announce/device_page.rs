// SPDX-License-Identifier: GPL-3.0-or-later
//! Discovery through the device page, which is in the guest's memory. dom0 announces nothing
//! elsewhere.

use super::nodes::GuestNodes;
use super::way::Announce;
use crate::clients::xenstored::{Link, StoreError};
use crate::handle::DomainIdentity;
use crate::hypervisor::BuiltShell;

/// The device page, as a way of discovery.
#[derive(Clone, Copy)]
pub(super) struct DevicePage;

impl Announce for DevicePage {
    fn publish(
        self,
        _: &Link,
        _: &impl BuiltShell,
        _: Option<&GuestNodes<'_>>,
    ) -> Result<bool, StoreError> {
        Ok(false)
    }

    fn identify(self, _: &Link, _: DomainIdentity, _: &GuestNodes<'_>) -> Result<(), StoreError> {
        Ok(())
    }

    fn must_be_paused(self) -> bool {
        false
    }

    fn withdraw(self, _: DomainIdentity) -> Result<(), StoreError> {
        Ok(())
    }

    fn withdraw_devices(self, _: DomainIdentity) -> Result<(), StoreError> {
        Ok(())
    }

    fn rename(self, _: DomainIdentity, _: &str) -> Result<(), StoreError> {
        Ok(())
    }
}
