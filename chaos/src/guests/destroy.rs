// SPDX-License-Identifier: GPL-3.0-or-later
//! Destroys guests.

use std::io::ErrorKind;

use daemon::chain::chain;
use nix::errno::Errno;
use serde::Serialize;

use super::classify::Condition;
use super::error::LifecycleError;
use super::host::Host;
use super::resolve::{Guest, resolve};
use crate::announce::Announce;
use crate::backends;
use crate::backends::nbd::Releasing;
use crate::config::{Backends, Discovery, check_stored_name};
use crate::handle::DomainIdentity;
use crate::hypervisor::Hypervisor;
use crate::records::{Record, RecordError, RecordLock};

/// A guest that was destroyed.
#[derive(Clone, Debug, Serialize)]
pub struct Destroyed {
    /// Its number; `None` for a pending restart whose record could not be read.
    pub domid: Option<u16>,
    /// Its name, if it had one.
    pub name: Option<String>,
    /// Whether its domain was gone already and only its record was removed.
    pub was_gone: bool,
    /// A failure in spite of which the guest is destroyed.
    pub warning: Option<String>,
}

/// Destroys the guest with a name or a domid, and removes everything it has outside of Xen, its
/// pending restart too.
///
/// # Errors
/// There is no such guest, another process is creating it, another toolstack created it, or Xen
/// refuses.
pub fn destroy<H: Hypervisor>(host: &Host<H>, target: &str) -> Result<Destroyed, LifecycleError> {
    let guest = match resolve(host, target) {
        Err(LifecycleError::NoSuchGuest { target }) => return drop_restart(host, target),
        result => result?,
    };
    match &guest.condition {
        Condition::Creating => return Err(LifecycleError::BeingCreated { domid: guest.domid }),
        Condition::Shell => return Err(LifecycleError::Shell { domid: guest.domid }),
        // Before the guest is removed: chaosd restarts it as soon as its name is free.
        Condition::Guest(record) => drop(host.records.drop_restart(record.name())?),
        _ => {}
    }
    remove(host, &guest)
}

/// Removes the pending restart of a guest that is gone.
fn drop_restart<H: Hypervisor>(
    host: &Host<H>,
    target: String,
) -> Result<Destroyed, LifecycleError> {
    if check_stored_name(&target).is_err() {
        return Err(LifecycleError::NoSuchGuest { target });
    }
    // A pending restart that cannot be read is removed all the same.
    let restart = host.records.pending_restart(&target).ok().flatten();
    let domid = restart.map(|record| record.domid.0);
    if !host.records.drop_restart(&target)? {
        return Err(LifecycleError::NoSuchGuest { target });
    }
    Ok(Destroyed { domid, name: Some(target), was_gone: true, warning: None })
}

/// Withdraws a guest's announcement and makes its backends unmap its pages. Returns what failed.
fn detach_all<H: Hypervisor>(host: &Host<H>, guest: &Guest) -> Option<String> {
    let record = match &guest.condition {
        Condition::Guest(record) => Some(Record::clone(record)),
        Condition::Gone => host.records.read(guest.domid).ok().flatten(),
        _ => None,
    };
    let recorded =
        record.as_ref().map(|record| DomainIdentity { domid: guest.domid, handle: record.handle });
    let id = guest.identity().or(recorded)?;
    // Without a usable record, any way of discovery and any backends are possible: the record is
    // damaged, or the creator was killed before it wrote one.
    let has_scripts = record.as_ref().is_none_or(|record| record.config.has_scripts());
    let store = record.map(|record| record.config.store);
    let discoveries = match store {
        Some(store) => &[store.discovery()][..],
        None => &Discovery::ALL,
    };
    let backends = match store {
        Some(store) => &[store.backends()][..],
        None => &Backends::ALL,
    };
    let runs = guest.info.is_some();
    let mut warnings = Vec::new();
    for discovery in discoveries {
        if runs && discovery.must_be_paused() {
            // If this fails, the domain has just exited and needs no pause.
            let _ = host.xen.pause(guest.domid);
        }
    }
    if has_scripts {
        for backends in backends {
            let failed = backends::disconnect(*backends, host.links(), id);
            warnings.extend(failed.iter().map(|error| chain(error)));
        }
    }
    for discovery in discoveries {
        if let Err(error) = discovery.withdraw(id) {
            warnings
                .push(format!("XenStore may still contain nodes of the guest: {}", chain(&error)));
            return joined(&warnings);
        }
    }
    for backends in backends.iter().filter(|_| runs) {
        if let Err(error) = backends::detach(*backends, host.links(), id) {
            warnings.push(format!("noxsd may still hold the guest's pages: {}", chain(&error)));
            break;
        }
    }
    joined(&warnings)
}

/// Returns warnings as one text, if there are any.
pub(super) fn joined(warnings: &[String]) -> Option<String> {
    (!warnings.is_empty()).then(|| warnings.join("; "))
}

/// Removes a guest, its domain and its records.
pub(super) fn remove<H: Hypervisor>(
    host: &Host<H>,
    guest: &Guest,
) -> Result<Destroyed, LifecycleError> {
    let _lock = lock_devices(host, guest)?;
    remove_locked(host, guest)
}

/// Keeps other processes from adding devices to a guest, which would stay in `noxsd` once those that
/// the guest has now are detached. Returns `None` if no process can add any.
///
/// A process that waits for the guest's answer holds the lock. It stops as soon as the domain is
/// destroyed, so that comes first then.
fn lock_devices<H: Hypervisor>(
    host: &Host<H>,
    guest: &Guest,
) -> Result<Option<RecordLock>, LifecycleError> {
    match &guest.condition {
        Condition::Guest(record) if record.device_page.is_some() => {}
        Condition::Gone => {}
        _ => return Ok(None),
    }
    match if_possible(host.records.try_lock_devices(guest.domid)) {
        Err(RecordError::Locked { .. }) => {
            destroy_domain(host, guest)?;
            Ok(if_possible(host.records.lock_devices(guest.domid))?)
        }
        result => Ok(result?),
    }
}

/// Returns a lock; `None` if no other process has it or gets it: the folder is gone, or `/run` has no
/// room for the file.
pub(super) fn if_possible(
    lock: Result<RecordLock, RecordError>,
) -> Result<Option<RecordLock>, RecordError> {
    match lock {
        Err(RecordError::File { source, .. })
            if matches!(source.kind(), ErrorKind::NotFound | ErrorKind::StorageFull) =>
        {
            Ok(None)
        }
        result => result.map(Some),
    }
}

/// Destroys a guest's domain, if there is one.
fn destroy_domain<H: Hypervisor>(host: &Host<H>, guest: &Guest) -> Result<(), LifecycleError> {
    if guest.info.is_none() {
        return Ok(());
    }
    match host.xen.destroy(guest.domid) {
        // The domain was a zombie and went away when its last page was unmapped.
        Err(error) if error.errno() == Some(Errno::ESRCH) => Ok(()),
        result => Ok(result?),
    }
}

/// As [`remove`], for a guest whose devices this process has locked.
pub(super) fn remove_locked<H: Hypervisor>(
    host: &Host<H>,
    guest: &Guest,
) -> Result<Destroyed, LifecycleError> {
    let images = match &guest.condition {
        Condition::Guest(record) if !record.config.has_images() => Releasing::default(),
        _ => Releasing::of_domain(&host.records, guest.domid),
    };
    // Backends first: a domain whose pages are mapped stays in Xen as a zombie.
    let warning = detach_all(host, guest);
    destroy_domain(host, guest)?;
    let warnings: Vec<String> = warning.into_iter().chain(images.finish()).collect();
    let warning = joined(&warnings);
    let name = match &guest.condition {
        Condition::Guest(record) => Some(record.name().to_owned()),
        _ => None,
    };
    match &name {
        Some(name) => host.records.remove(guest.domid, Some(name))?,
        None => {
            for name in host.records.names_of(guest.domid)? {
                host.records.remove_name(&name)?;
            }
            host.records.remove(guest.domid, None)?;
        }
    }
    let was_gone = guest.info.is_none();
    Ok(Destroyed { domid: Some(guest.domid.0), name, was_gone, warning })
}
