// SPDX-License-Identifier: GPL-3.0-or-later
//! What every way of discovery does in dom0.

use super::nodes::GuestNodes;
use crate::clients::xenstored::{Link, StoreError};
use crate::handle::DomainIdentity;
use crate::hypervisor::BuiltShell;

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
