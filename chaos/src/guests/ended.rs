// SPDX-License-Identifier: GPL-3.0-or-later
//! Guests that have exited, for the supervisor.

use std::collections::HashSet;
use std::path::Path;

use daemon::chain::chain;
use xen::domain::{DomainInfo, ShutdownReason};
use xen::units::{DomId, DomainHandle};

use super::classify::Condition;
use super::destroy::{self, Destroyed, if_possible};
use super::dump_core::dump_to;
use super::error::LifecycleError;
use super::host::Host;
use super::resolve::{Guest, examine};
use super::state::GuestState;
use crate::announce::Announce;
use crate::backends;
use crate::backends::nbd::Releasing;
use crate::config::Action;
use crate::dump::CoreSummary;
use crate::handle::{self, DomainIdentity};
use crate::hypervisor::Hypervisor;
use crate::records::{Record, RecordError, RecordLock, Records};

/// A guest that has exited, with its record. No other process changes its devices.
#[derive(Debug)]
pub struct EndedGuest {
    guest: Guest,
    handle: DomainHandle,
    /// Its record.
    pub record: Record,
    /// The record that its successor is created from. It has the config that replaced that of the guest
    /// ([`update_config`](super::update_config())), if one did.
    pub successor: Record,
    _lock: Option<RecordLock>,
}

impl EndedGuest {
    /// Returns its handle.
    #[must_use]
    pub fn handle(&self) -> DomainHandle {
        self.handle
    }

    /// Returns its identity.
    #[must_use]
    pub fn identity(&self) -> DomainIdentity {
        DomainIdentity { domid: self.guest.domid, handle: self.handle }
    }

    /// Returns what its config says to do with it.
    #[must_use]
    pub fn action(&self) -> Action {
        let config = &self.successor.config;
        match self.guest.info.as_ref().and_then(|info| info.state.shutdown) {
            Some(ShutdownReason::Watchdog) => config.on_watchdog(),
            Some(ShutdownReason::SoftReset) => config.on_soft_reset(),
            _ => self.state().action(config),
        }
    }

    /// Writes its memory and its registers to a core file ([`dump_core`](super::dump_core())).
    ///
    /// # Errors
    /// As [`dump_core`](super::dump_core()).
    pub fn dump_core(
        &self,
        host: &Host,
        path: &Path,
        should_stop: &mut dyn FnMut() -> bool,
    ) -> Result<CoreSummary, LifecycleError> {
        dump_to(host, &self.guest, self.record.name(), path, should_stop)
    }

    /// Returns how it exited.
    #[must_use]
    pub fn state(&self) -> GuestState {
        self.guest.state()
    }
}

/// A domain that has shut down, perhaps of another toolstack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndedDomain {
    /// Its number.
    pub domid: DomId,
    /// Its handle.
    pub handle: DomainHandle,
    /// How it has shut down. A suspended domain may be resumed.
    pub state: GuestState,
}

impl EndedDomain {
    /// Returns its identity. A config may give several domains the same handle, one after another.
    #[must_use]
    pub fn identity(&self) -> DomainIdentity {
        DomainIdentity { domid: self.domid, handle: self.handle }
    }
}

/// A guest that was renamed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renamed {
    /// Its new name.
    pub name: String,
    /// A failure in spite of which it is renamed.
    pub warning: Option<String>,
}

/// All domains at one moment, also those of other toolstacks.
#[derive(Debug)]
pub struct DomainScan(Vec<DomainInfo>);

/// How far a domain has come. Each later stage is an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DomainStage {
    /// It has not shut down.
    Alive,
    /// It has shut down.
    Ended,
    /// Xen is destroying it.
    Dying,
}

impl DomainScan {
    /// Lists the domains. Costs one hypercall and reads no record.
    ///
    /// # Errors
    /// Xen refuses.
    pub fn new<H: Hypervisor>(host: &Host<H>) -> Result<Self, LifecycleError> {
        Ok(Self(host.xen.domain_list(DomId::DOM0)?))
    }

    /// Asks Xen only for the domains that have changed since the last call. Returns their numbers and
    /// what is left of them, or `None` if Xen does not say which have changed.
    ///
    /// # Errors
    /// Xen refuses. The domains are not named again then, so make a [`new`](Self::new) scan.
    pub fn of_changed<H: Hypervisor>(
        host: &Host<H>,
    ) -> Result<Option<(Vec<DomId>, Self)>, LifecycleError> {
        let Some(changed) = host.xen.changed_domains()? else { return Ok(None) };
        let mut infos = Vec::new();
        for domid in &changed {
            infos.extend(host.xen.domain_info(*domid)?);
        }
        Ok(Some((changed, Self(infos))))
    }

    /// Returns the domains that have shut down and are not being destroyed.
    #[must_use]
    pub fn ended(&self) -> Vec<EndedDomain> {
        let all = self.0.iter().filter(|info| !info.state.dying);
        let ended = all.filter_map(|info| {
            let state = GuestState::of_end(info)?;
            Some(EndedDomain { domid: info.domid, handle: info.handle, state })
        });
        ended.collect()
    }

    /// Returns the stage of each domain.
    pub fn stages(&self) -> impl Iterator<Item = (DomainIdentity, DomainStage)> {
        self.0.iter().map(|info| {
            let stage = match info.state {
                state if state.dying => DomainStage::Dying,
                state if state.shutdown.is_some() => DomainStage::Ended,
                _ => DomainStage::Alive,
            };
            (DomainIdentity { domid: info.domid, handle: info.handle }, stage)
        })
    }
}

/// Returns the guests of `owner` that [`rename_ended`] has kept of guests called `name`, without the
/// `keep` that were created last. Another user may have had the name before.
///
/// # Errors
/// A name cannot be read, or Xen refuses.
pub fn old_copies<H: Hypervisor>(
    host: &Host<H>,
    name: &str,
    owner: u32,
    keep: usize,
) -> Result<Vec<EndedDomain>, LifecycleError> {
    let mut copies = Vec::new();
    for domid in host.records.copies(name)? {
        let guest = examine(host, domid)?;
        if let (Condition::Guest(record), Some(info)) = (&guest.condition, &guest.info)
            && record.renamed_from.as_deref() == Some(name)
            && record.owner == owner
            && let Some(state) = GuestState::of_end(info)
        {
            copies.push((record.created_ms, EndedDomain { domid, handle: info.handle, state }));
        }
    }
    copies.sort_by_key(|(created, _)| std::cmp::Reverse(*created));
    Ok(copies.into_iter().skip(keep).map(|(_, copy)| copy).collect())
}

/// Returns the handles of all domains, except for those that are being destroyed. Costs one
/// hypercall.
///
/// # Errors
/// Xen refuses.
pub fn handles<H: Hypervisor>(host: &Host<H>) -> Result<HashSet<[u8; 16]>, LifecycleError> {
    let all = host.xen.domain_list(DomId::DOM0)?.into_iter().filter(|info| !info.state.dying);
    Ok(all.map(|info| info.handle.0).collect())
}

/// Returns the guest with this number, if chaos created it and it has powered off, asked for a
/// reboot, or crashed.
///
/// # Errors
/// Xen refuses, or another process is changing its devices: the record does not have the last ones
/// yet.
pub fn ended_guest<H: Hypervisor>(
    host: &Host<H>,
    domid: DomId,
) -> Result<Option<EndedGuest>, LifecycleError> {
    ended_guest_with(host, domid, Records::try_lock_devices)
}

/// As [`ended_guest`], but waits for a process that is changing the guest's devices. It notices that
/// the guest has exited.
///
/// # Errors
/// Xen refuses, or the process does not finish within 10 s.
pub fn settled_ended_guest<H: Hypervisor>(
    host: &Host<H>,
    domid: DomId,
) -> Result<Option<EndedGuest>, LifecycleError> {
    ended_guest_with(host, domid, Records::lock_devices)
}

fn ended_guest_with<H: Hypervisor>(
    host: &Host<H>,
    domid: DomId,
    lock: fn(&Records, DomId) -> Result<RecordLock, RecordError>,
) -> Result<Option<EndedGuest>, LifecycleError> {
    let has_exited = |guest: &Guest| {
        let state = guest.state();
        matches!(state, GuestState::PoweredOff | GuestState::Rebooted | GuestState::Crashed)
    };
    let guest = examine(host, domid)?;
    if !has_exited(&guest) || !matches!(guest.condition, Condition::Guest(_)) {
        return Ok(None);
    }
    let lock = if_possible(lock(&host.records, domid))?;
    // What a command that had the lock has changed is in the record now.
    let guest = examine(host, domid)?;
    let (Condition::Guest(record), Some(info)) = (&guest.condition, &guest.info) else {
        return Ok(None);
    };
    let (handle, record) = (info.handle, Record::clone(record));
    let successor = host.records.with_next(&record)?;
    Ok(has_exited(&guest).then_some(EndedGuest { guest, handle, record, successor, _lock: lock }))
}

/// Destroys a guest that has exited.
///
/// # Errors
/// Xen refuses.
pub fn remove_ended<H: Hypervisor>(
    host: &Host<H>,
    ended: &EndedGuest,
) -> Result<Destroyed, LifecycleError> {
    destroy::remove_locked(host, &ended.guest)
}

/// Renames a guest that has exited to the first free name of `NAME-1`, `NAME-2`, …, and removes its
/// devices, so that its successor can have its name and its addresses.
///
/// # Errors
/// The record cannot be changed, another process is changing it, or `noxsd` does not answer.
pub fn rename_ended<H: Hypervisor>(
    host: &Host<H>,
    ended: &EndedGuest,
) -> Result<Renamed, LifecycleError> {
    let mut record = ended.record.clone();
    let (old, domid) = (record.name().to_owned(), ended.guest.domid);
    let _lock = host.records.try_lock(domid)?;
    // Free the addresses before the name: the successor is created as soon as the name is free. If
    // this process is killed halfway, the next one repeats all steps.
    let images = Releasing::of_domain(&host.records, domid);
    host.records.forget_devices(domid)?;
    let (discovery, backends) = (record.config.store.discovery(), record.config.store.backends());
    let id = DomainIdentity { domid, handle: ended.handle };
    let failed = match record.config.has_scripts() {
        true => backends::disconnect(backends, host.links(), id),
        false => Vec::new(),
    };
    let failed: Vec<_> = failed.iter().map(|error| chain(error)).collect();
    discovery.withdraw_devices(id)?;
    backends::detach(backends, host.links(), id)?;
    // The successor waits for the image, and fails if it is not free.
    let _ = images.finish();
    let mut names = (1..u32::MAX).map(|number| format!("{old}-{number}"));
    record.config.name = loop {
        let name = names.next().unwrap_or_else(|| old.clone());
        match host.records.holder(&name)? {
            None => {
                host.records.reserve_name(&name, domid, None)?;
                break name;
            }
            // A process that was killed has reserved this name for the guest.
            Some(holder) if holder == domid && name != old => break name,
            Some(_) => {}
        }
    };
    record.renamed_from = Some(old.clone());
    discovery.rename(id, record.name())?;
    if let Some(extras) = record.config.extras.as_mut().filter(|extras| extras.uuid.is_some()) {
        // The successor gets the UUID, as with xl.
        extras.uuid = None;
        record.handle = handle::new_handle().map_err(LifecycleError::Process)?;
        host.xen.set_handle(domid, record.handle)?;
    }
    // The successor carries out the actions of the config, not this guest.
    let config = &mut record.config;
    (config.on_poweroff, config.on_reboot, config.on_crash) =
        (Action::Preserve, Action::Preserve, Action::Preserve);
    if let Some(extras) = &mut config.extras {
        (extras.on_watchdog, extras.on_soft_reset) = (None, None);
    }
    host.records.replace(&record)?;
    host.records.remove_name(&old)?;
    Ok(Renamed { name: record.config.name, warning: destroy::joined(&failed) })
}
