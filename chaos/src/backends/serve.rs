// SPDX-License-Identifier: GPL-3.0-or-later
//! What every kind of backends does for the devices of a shell.

use std::fs::File;
use std::sync::Arc;

use noxs_control::VifIdentity;

use super::disks::OpenDisks;
use super::error::DevicesError;
use crate::clients::{noxsd, xenstored};
use crate::config::DomainConfig;
use crate::records::Records;
use crate::timings::Timings;

/// The connections to the backends, and the records.
#[derive(Clone, Copy, Debug)]
pub struct Links<'a> {
    /// noxsd.
    pub noxsd: &'a noxsd::Link,
    /// xenstored.
    pub xenstored: &'a xenstored::Link,
    /// The records.
    pub records: &'a Records,
}

/// The guest that a shell becomes.
#[derive(Clone, Copy, Debug)]
pub struct GuestIdentity<'a> {
    /// Its config.
    pub config: &'a DomainConfig,
    /// The identities of its vifs.
    pub vifs: &'a [VifIdentity],
    /// Its disks, if they are open already.
    pub disks: Option<&'a Arc<OpenDisks>>,
}

impl GuestIdentity<'_> {
    /// Returns its disks. Opens them if they are not open.
    pub(super) fn open_disks(&self) -> Result<Arc<OpenDisks>, DevicesError> {
        match self.disks {
            Some(disks) => Ok(Arc::clone(disks)),
            None => Ok(Arc::new(OpenDisks::open(&self.config.disks)?)),
        }
    }
}

/// What backends do for the devices of one shell, in the order of the calls.
pub trait Serve {
    /// Stores what it needs of the guest that the shell becomes, and opens the guest's disks unless
    /// they are open already.
    ///
    /// # Errors
    /// A disk cannot be used.
    fn learn(&mut self, links: Links<'_>, guest: GuestIdentity<'_>) -> Result<(), DevicesError>;

    /// Asks the backend to attach the devices, without waiting for it. Returns the console's log,
    /// if there is one.
    ///
    /// # Errors
    /// A file cannot be written, or the request cannot be sent.
    fn begin_attach(
        &mut self,
        links: Links<'_>,
        timings: &mut Timings,
    ) -> Result<Option<File>, DevicesError>;

    /// Waits until the devices are attached. `log` is the return value of
    /// [`begin_attach`](Self::begin_attach).
    ///
    /// # Errors
    /// A device is refused, or its bridge cannot be connected.
    fn finish_attach(&self, links: Links<'_>, log: Option<&File>) -> Result<(), DevicesError>;

    /// Asks the backend again to attach the devices, after it has refused an address, with other
    /// identities of the vifs. [`finish_attach`](Self::finish_attach) must follow.
    ///
    /// # Errors
    /// As [`begin_attach`](Self::begin_attach).
    fn attach_again(
        &mut self,
        links: Links<'_>,
        vifs: &[VifIdentity],
        log: Option<&File>,
    ) -> Result<(), DevicesError>;

    /// Begins to configure devices that were attached before their guest was known. Returns whether
    /// [`finish_configure`](Self::finish_configure) must follow.
    ///
    /// # Errors
    /// As [`begin_attach`](Self::begin_attach) and [`finish_attach`](Self::finish_attach).
    fn begin_configure(&self, links: Links<'_>, vifs: &[VifIdentity])
    -> Result<bool, DevicesError>;

    /// Waits until the devices are configured.
    ///
    /// # Errors
    /// A device is refused.
    fn finish_configure(&self, links: Links<'_>, vifs: &[VifIdentity]) -> Result<(), DevicesError>;

    /// Detaches the devices of a shell that is destroyed, before its announcement is withdrawn.
    fn abandon(&self, links: Links<'_>);
}
