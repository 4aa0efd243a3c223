// SPDX-License-Identifier: GPL-3.0-or-later
//! Renames a guest, and finds names and domids.

use xen::units::DomId;

use super::error::LifecycleError;
use super::foreign::{self, named};
use super::host::Host;
use super::name::Name;
use super::resolve::{examine, resolve};
use crate::announce::Announce;
use crate::config::check_name;
use crate::handle::DomainIdentity;
use crate::hypervisor::Hypervisor;
use crate::records::RecordError;

/// Renames a guest. It may run meanwhile, and keeps its domid, addresses and connections.
///
/// If this process is killed halfway, the guest has the old name, and maybe a link of the new one to
/// it, which the next guest of that name takes.
///
/// # Errors
/// There is no such guest, the name cannot be one or is in use, also by another toolstack's domain, or
/// another process is changing the guest's record.
pub fn rename<H: Hypervisor>(
    host: &Host<H>,
    target: &str,
    new: &str,
) -> Result<(), LifecycleError> {
    check_name(new).map_err(|source| LifecycleError::WrongName { name: new.to_owned(), source })?;
    let guest = resolve(host, target)?;
    guest.record(target)?;
    let (_devices, _record) =
        (host.records.lock_devices(guest.domid)?, host.records.lock(guest.domid)?);
    // What another process has changed meanwhile is in the record now.
    let guest = examine(host, guest.domid)?;
    let mut record = guest.record(target)?.clone();
    let old = record.name().to_owned();
    if old == new {
        return Ok(());
    }
    if host.records.restarts()?.iter().any(|pending| pending == new) {
        return Err(LifecycleError::NamePending { name: new.to_owned() });
    }
    // As xl, which finds this guest by its name, too.
    if let Some(domid) = named(host, new)? {
        return Err(RecordError::NameInUse { name: new.to_owned(), domid }.into());
    }
    let name = Name::reserve(host, new, guest.domid, None)?;
    let id = DomainIdentity { domid: guest.domid, handle: record.handle };
    record.config.store.discovery().rename(id, new)?;
    record.config.name = new.to_owned();
    host.records.replace(&record)?;
    name.keep();
    Ok(host.records.remove_name(&old)?)
}

/// Returns the domid of the guest with a name; that of another toolstack's domain, or of dom0, if no
/// guest has the name.
///
/// # Errors
/// There is no such guest, or Xen refuses.
pub fn domid_of<H: Hypervisor>(host: &Host<H>, target: &str) -> Result<DomId, LifecycleError> {
    let no_such_guest = || LifecycleError::NoSuchGuest { target: target.to_owned() };
    match resolve(host, target) {
        Ok(guest) if guest.info.is_some() => Ok(guest.domid),
        Ok(_) | Err(LifecycleError::NoSuchGuest { .. }) => {
            named(host, target)?.ok_or_else(no_such_guest)
        }
        Err(error) => Err(error),
    }
}

/// Returns the name of the guest with a domid, or of another toolstack's domain, or of dom0.
///
/// # Errors
/// There is no such guest, it has no usable record, another toolstack has not named it, or Xen refuses.
pub fn name_of<H: Hypervisor>(host: &Host<H>, domid: u16) -> Result<String, LifecycleError> {
    let target = domid.to_string();
    match resolve(host, &target) {
        Ok(guest) => Ok(guest.record(&target)?.name().to_owned()),
        Err(LifecycleError::NotOurs { domid }) => foreign::name(host, domid),
        Err(error) => Err(error),
    }
}
