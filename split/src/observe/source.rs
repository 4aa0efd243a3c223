// SPDX-License-Identifier: GPL-3.0-or-later
//! Where the figures and events come from: Xen, `noxsd` and the names of guests.

use std::collections::HashMap;
use std::os::fd::OwnedFd;

use chaos::clients::noxsd::{BackendError, Noxsd};
use chaos::guests::{self, Figures, Host, LifecycleError};
use chaos::handle::{Creator, DomainIdentity};
use chaos::records::{NameChanges, NameTable, RecordError};
use nix::sys::inotify::Inotify;
use noxs_control::DomainStatus;
use xen::units::{DomId, DomainHandle};

/// Why something cannot be found out.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Xen refuses, or the names cannot be read.
    #[error(transparent)]
    Lifecycle(#[from] LifecycleError),
    /// `noxsd` does not answer.
    #[error(transparent)]
    Noxsd(#[from] BackendError),
    /// The names cannot be watched.
    #[error(transparent)]
    Names(#[from] RecordError),
}

/// What the thread asks of the host. Tests have another one.
pub trait Source {
    /// Returns what all guests use.
    ///
    /// # Errors
    /// Xen refuses, or the names cannot be read.
    fn figures(&mut self) -> Result<Figures, SourceError>;

    /// Returns how the names have changed since the last call, or that of [`figures`](Self::figures).
    /// The links of the names `touched` may have been replaced.
    ///
    /// # Errors
    /// The names cannot be read.
    fn changes(&mut self, touched: &[String]) -> Result<NameChanges, SourceError>;

    /// Returns all names of the last refresh.
    fn names(&self) -> Vec<(String, DomId)>;

    /// Returns the handles of all domains that are not being destroyed.
    ///
    /// # Errors
    /// Xen refuses.
    fn handles(&mut self) -> Result<HashMap<DomId, DomainHandle>, SourceError>;

    /// Returns whether this process has created a domain.
    fn is_own(&self, domain: DomainIdentity) -> bool;

    /// Returns the domains that have lost a device.
    ///
    /// # Errors
    /// `noxsd` does not answer.
    fn broken(&mut self) -> Result<Vec<DomainStatus>, SourceError>;

    /// Returns a descriptor that is readable when a guest has lost a device.
    ///
    /// # Errors
    /// `noxsd` does not answer.
    fn watch_devices(&mut self) -> Result<OwnedFd, SourceError>;

    /// Returns a descriptor that is readable when a name was reserved or freed.
    ///
    /// # Errors
    /// The names cannot be watched.
    fn watch_names(&mut self) -> Result<Inotify, SourceError>;
}

/// This host.
#[derive(Debug)]
pub struct HostSource {
    host: Host,
    names: NameTable,
}

impl HostSource {
    /// Opens this host, for one thread.
    ///
    /// # Errors
    /// As [`Host::open`].
    pub fn open() -> Result<Self, LifecycleError> {
        let (host, mut names) = (Host::open()?, NameTable::default());
        // Reading all names takes several times as long as the rest of a scrape, so the first client need
        // not wait for it. What fails now fails again, and is reported, when it asks.
        let _ = names.refresh(&host.records);
        Ok(Self { host, names })
    }
}

impl Source for HostSource {
    fn figures(&mut self) -> Result<Figures, SourceError> {
        Ok(guests::figures(&self.host, &mut self.names)?)
    }

    fn changes(&mut self, touched: &[String]) -> Result<NameChanges, SourceError> {
        touched.iter().for_each(|name| self.names.touched(name));
        Ok(self.names.refresh(&self.host.records)?)
    }

    fn names(&self) -> Vec<(String, DomId)> {
        self.names.iter().map(|(name, domid)| (name.to_owned(), domid)).collect()
    }

    fn handles(&mut self) -> Result<HashMap<DomId, DomainHandle>, SourceError> {
        let domains = self.host.xen.domain_list(DomId::DOM0).map_err(LifecycleError::from)?;
        let alive = domains.into_iter().filter(|info| !info.state.dying);
        Ok(alive.map(|info| (info.domid, info.handle)).collect())
    }

    fn is_own(&self, DomainIdentity { domid, handle }: DomainIdentity) -> bool {
        let noted = || self.host.records.creator(domid, handle).and_then(Creator::of);
        Creator::of(handle).or_else(noted).is_some_and(Creator::is_this_process)
    }

    fn broken(&mut self) -> Result<Vec<DomainStatus>, SourceError> {
        Ok(self.host.noxsd.call(Noxsd::broken)?)
    }

    fn watch_devices(&mut self) -> Result<OwnedFd, SourceError> {
        Ok(self.host.noxsd.connect()?.watch_devices()?)
    }

    fn watch_names(&mut self) -> Result<Inotify, SourceError> {
        Ok(self.host.records.watch_names()?)
    }
}
