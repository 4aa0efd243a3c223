//! Destroying a guest.

use std::collections::HashSet;

use daemon::chain::chain;
use nix::errno::Errno;
use serde::Serialize;
use xen::units::DomId;

use super::classify::Condition;
use super::error::LifecycleError;
use super::host::Host;
use super::resolve::{Guest, judge, resolve};
use crate::announce::Announce;
use crate::backends;
use crate::config::{Backends, Discovery, check_name};
use crate::handle::DomainIdentity;
use crate::hypervisor::Hypervisor;
use crate::records::Record;

/// What was destroyed.
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

/// Destroys a guest, found by name or domid, and everything it has outside of Xen. Its pending restart
/// is forgotten, too.
///
/// # Errors
/// There is no such guest, another process is creating it, it is another toolstack's, or Xen
/// refuses.
pub fn destroy<H: Hypervisor>(host: &Host<H>, target: &str) -> Result<Destroyed, LifecycleError> {
    let guest = match resolve(host, target) {
        Err(LifecycleError::NoSuchGuest { target }) => return withdraw(host, target),
        result => result?,
    };
    match &guest.condition {
        Condition::Creating => return Err(LifecycleError::BeingMade { domid: guest.domid }),
        Condition::Shell => return Err(LifecycleError::Shell { domid: guest.domid }),
        // First, for chaosd restarts a guest as soon as the name is free.
        Condition::Guest(record) => drop(host.records.drop_restart(record.name())?),
        _ => {}
    }
    remove(host, &guest)
}

/// Forgets the pending restart of a guest that is gone.
fn withdraw<H: Hypervisor>(host: &Host<H>, target: String) -> Result<Destroyed, LifecycleError> {
    if check_name(&target).is_err() {
        return Err(LifecycleError::NoSuchGuest { target });
    }
    // One that cannot be read is forgotten all the same.
    let domid = host.records.promised_restart(&target).ok().flatten().map_or(0, |one| one.domid.0);
    if !host.records.drop_restart(&target)? {
        return Err(LifecycleError::NoSuchGuest { target });
    }
    Ok(Destroyed { domid, name: Some(target), was_gone: true, warning: None })
}

/// Removes what a guest has outside of its domain, and makes its backends unmap its pages. Returns what
/// has not worked.
fn detach_all<H: Hypervisor>(host: &Host<H>, guest: &Guest) -> Option<String> {
    let record = match &guest.condition {
        Condition::Guest(record) => Some(Record::clone(record)),
        Condition::Gone => host.records.read(guest.domid).ok().flatten(),
        _ => None,
    };
    let recorded =
        record.as_ref().map(|record| DomainIdentity { domid: guest.domid, handle: record.handle });
    let id = guest.identity().or(recorded)?;
    // Without a record, because its creator was killed before it wrote one or it is damaged, the guest
    // may have been announced and served in any way.
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
    for discovery in discoveries {
        if runs && discovery.must_be_paused() {
            // One that ends just now needs no pause.
            let _ = host.xen.pause(guest.domid);
        }
        if let Err(error) = discovery.withdraw(id) {
            return Some(format!("XenStore may still have the guest: {}", chain(&error)));
        }
    }
    for backends in backends.iter().filter(|_| runs) {
        if let Err(error) = backends::detach(*backends, host.links(), id) {
            return Some(format!("noxsd may still hold the guest's pages: {error}"));
        }
    }
    None
}

/// What [`clear`] has found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cleared {
    /// Domains that were incomplete.
    pub incomplete: usize,
    /// Folders and names of domains that are gone.
    pub leftovers: usize,
}

/// Removes what killed processes have left: each incomplete domain, and folders and names of domains
/// that are gone. Guests are not touched.
///
/// # Errors
/// Xen refuses, or a file cannot be removed. The rest is then left for the next time.
pub fn clear<H: Hypervisor>(host: &Host<H>) -> Result<Cleared, LifecycleError> {
    let mut cleared = Cleared::default();
    // Names and folders are listed before domains, so that a create in progress is not mistaken for a
    // leftover: its domain is there before its name and its folder are.
    let names = host.records.names()?;
    let folders = host.records.domids()?;
    let mut there = HashSet::new();
    for info in host.xen.domain_list(DomId::DOM0)? {
        there.insert(info.domid);
        let guest = judge(host, info.domid, Some(info))?;
        if matches!(guest.condition, Condition::Incomplete) {
            remove(host, &guest)?;
            cleared.incomplete += 1;
        }
    }
    for (name, domid) in names {
        if !there.contains(&domid) && host.records.holder(&name)? == Some(domid) {
            host.records.remove_name(&name)?;
            cleared.leftovers += 1;
        }
    }
    for domid in folders {
        if !there.contains(&domid) {
            host.records.remove(domid, None)?;
            cleared.leftovers += 1;
        }
    }
    Ok(cleared)
}

/// Removes a guest that has been looked at.
pub(super) fn remove<H: Hypervisor>(
    host: &Host<H>,
    guest: &Guest,
) -> Result<Destroyed, LifecycleError> {
    // Backends first: a domain whose pages are still mapped stays in Xen as a zombie.
    let warning = detach_all(host, guest);
    if guest.info.is_some() {
        match host.xen.destroy(guest.domid) {
            // A zombie is gone as soon as its last page is unmapped, which has just happened.
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
