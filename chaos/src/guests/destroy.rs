//! Taking a guest away.

use std::collections::HashSet;

use nix::errno::Errno;
use noxs_control::DomainId;
use serde::Serialize;
use xen::domain::DomainInfo;
use xen::units::DomId;

use super::announced::{place_of, withdraw_announced};
use super::resolve::{Condition, Guest, judge};
use super::{Host, LifecycleError, resolve};
use crate::announce::xenstore::Place;
use crate::chain::chain;
use crate::clients::noxsd::BackendError;
use crate::config::Store;
use crate::config::check_name;
use crate::records::Record;

/// What was taken away.
#[derive(Clone, Debug, Serialize)]
pub struct Destroyed {
    /// Its number.
    pub domid: u16,
    /// Its name, if it had one.
    pub name: Option<String>,
    /// Whether only its record was left.
    pub was_gone: bool,
    /// What went wrong on the way without keeping the guest alive.
    pub warning: Option<String>,
}

/// Destroys a guest, found by name or domid, and everything it has outside of Xen. One that is to be
/// made again is not.
///
/// # Errors
/// There is no such guest, another process is making it, it is another toolstack's, or Xen
/// refuses.
pub fn destroy(host: &Host, target: &str) -> Result<Destroyed, LifecycleError> {
    let guest = match resolve(host, target) {
        Err(LifecycleError::NoSuchGuest { target }) => return withdraw(host, target),
        result => result?,
    };
    match &guest.condition {
        Condition::BeingMade => return Err(LifecycleError::BeingMade { domid: guest.domid }),
        Condition::Shell => return Err(LifecycleError::Shell { domid: guest.domid }),
        // First, for chaosd keeps a promise as soon as the name is free.
        Condition::Guest(record) => drop(host.records.drop_restart(record.name())?),
        _ => {}
    }
    remove(host, &guest)
}

/// Forgets a guest that is gone, and was to be made again.
fn withdraw(host: &Host, target: String) -> Result<Destroyed, LifecycleError> {
    if check_name(&target).is_err() {
        return Err(LifecycleError::NoSuchGuest { target });
    }
    // A promise that cannot be read is withdrawn all the same.
    let domid = host.records.promised_restart(&target).ok().flatten().map_or(0, |one| one.domid.0);
    if !host.records.drop_restart(&target)? {
        return Err(LifecycleError::NoSuchGuest { target });
    }
    Ok(Destroyed { domid, name: Some(target), was_gone: true, warning: None })
}

/// Takes a guest's devices away.
///
/// # Errors
/// `noxsd` runs, but does not do it.
pub(super) fn detach(host: &Host, guest: &Guest) -> Result<(), BackendError> {
    let Some(info) = &guest.info else { return Ok(()) };
    let id = DomainId { domid: guest.domid.0, handle: info.handle.0 };
    match host.noxsd.call(|noxsd| noxsd.detach(id)) {
        // Without noxsd nothing is mapped.
        Err(BackendError::NotRunning { .. }) => Ok(()),
        result => result,
    }
}

/// Takes away what a guest has beside its domain, and makes its backends let go of its pages. Gives
/// what has not worked.
fn detach_all(host: &Host, guest: &Guest) -> Option<String> {
    let record = match &guest.condition {
        Condition::Guest(record) => Some(Record::clone(record)),
        Condition::Gone => host.records.read(guest.domid).ok().flatten(),
        _ => None,
    };
    let place = match &record {
        Some(record) => place_of(record),
        // Its maker was killed before it wrote the record, or the record is damaged.
        None => {
            let place = |info: &DomainInfo| Place { domid: guest.domid, handle: info.handle };
            guest.info.as_ref().map(place)
        }
    };
    if let Some(place) = place {
        if guest.info.is_some() {
            // One that ends just now needs no pause.
            let _ = host.xen.pause(guest.domid);
        }
        if let Err(error) = withdraw_announced(place) {
            return Some(format!("XenStore may still have the guest: {}", chain(&error)));
        }
    }
    if record.is_some_and(|record| record.config.store == Store::XenStore) {
        return None;
    }
    let detached = detach(host, guest).err();
    detached.map(|error| format!("noxsd may still hold the guest's pages: {error}"))
}

/// What [`clear`] has found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cleared {
    /// Domains that their makers, who were killed, had left half-made.
    pub half_made: usize,
    /// Folders and names of domains that are gone.
    pub traces: usize,
}

/// Takes away what processes that were killed have left: each domain that is half-made, and folders
/// and names of domains that are gone, whoever has destroyed these. Guests are not touched.
///
/// # Errors
/// Xen refuses, or a file cannot be removed. The others are not looked at then.
pub fn clear(host: &Host) -> Result<Cleared, LifecycleError> {
    let mut cleared = Cleared::default();
    // Read before Xen is asked: a domain is there before its name and its folder are, so whoever is
    // making one now is not met.
    let names = host.records.names()?;
    let folders = host.records.domids()?;
    let mut there = HashSet::new();
    for info in host.xen.domain_list(DomId::DOM0)? {
        there.insert(info.domid);
        let guest = judge(host, info.domid, Some(info))?;
        if matches!(guest.condition, Condition::HalfMade) {
            remove(host, &guest)?;
            cleared.half_made += 1;
        }
    }
    for (name, domid) in names {
        if !there.contains(&domid) && host.records.holder(&name)? == Some(domid) {
            host.records.remove_name(&name)?;
            cleared.traces += 1;
        }
    }
    for domid in folders {
        if !there.contains(&domid) {
            host.records.remove(domid, None)?;
            cleared.traces += 1;
        }
    }
    Ok(cleared)
}

/// Removes a guest that has been looked at.
pub(super) fn remove(host: &Host, guest: &Guest) -> Result<Destroyed, LifecycleError> {
    // Backends first: a domain whose pages are still mapped stays in Xen as a zombie.
    let warning = detach_all(host, guest);
    if guest.info.is_some() {
        match host.xen.destroy(guest.domid) {
            // A zombie is gone as soon as its last page is let go of, which has just happened.
            Err(error) if error.errno() == Some(Errno::ESRCH) => {}
            result => result?,
        }
    }
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
    Ok(Destroyed { domid: guest.domid.0, name, was_gone: guest.info.is_none(), warning })
}
