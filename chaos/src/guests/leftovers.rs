// SPDX-License-Identifier: GPL-3.0-or-later
//! Cleans up after killed processes.
//!
//! `chaosd` calls [`clear`] when it starts. Where it does not run, the commands remove incomplete
//! domains: `list` and `destroy` all of them, `create` those of the numbers just before its own,
//! and all of them if Xen has too little memory.

use std::collections::HashSet;

use xen::domain::DomainInfo;
use xen::units::DomId;

use super::classify::Condition;
use super::configure_again::configure_again;
use super::destroy::remove;
use super::error::LifecycleError;
use super::host::Host;
use super::resolve::{Guest, creator, examine_known};
use crate::backends::nbd::{self, Releasing};
use crate::handle::Creator;
use crate::hypervisor::Hypervisor;
use crate::records::RecordError;

/// What [`clear`] has removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cleared {
    /// Number of incomplete domains.
    pub incomplete: usize,
    /// Number of folders and names of domains that are gone.
    pub leftovers: usize,
}

/// Removes what killed processes have left: incomplete domains, and folders and names of domains
/// that are gone. Guests are not touched.
///
/// Calls `report` for each domain that cannot be dealt with, and goes on with the others: one guest
/// does not keep a daemon from starting. What is left is removed by the next call.
///
/// # Errors
/// Xen does not list the domains, or the folders and names cannot be listed.
pub fn clear<H: Hypervisor>(
    host: &Host<H>,
    mut report: impl FnMut(DomId, LifecycleError),
) -> Result<Cleared, LifecycleError> {
    let mut cleared = Cleared::default();
    // List names and folders before domains, so that a create in progress is not mistaken for a
    // leftover: a domain exists before its name and its folder do.
    let names = host.records.names()?;
    let folders = host.records.domids()?;
    let mut existing = HashSet::new();
    for info in host.xen.domain_list(DomId::DOM0)? {
        let domid = info.domid;
        let guest = match examine_known(host, domid, Some(info)) {
            // A folder of another toolstack's domain belongs to a guest that had the number before. A
            // restarted noxsd would map pages of the new domain by it.
            Ok(guest) if matches!(guest.condition, Condition::Foreign) => continue,
            examined => {
                existing.insert(domid);
                examined
            }
        };
        match guest.and_then(|guest| complete_or_remove(host, &guest)) {
            Ok(is_removed) => cleared.incomplete += usize::from(is_removed),
            Err(error) => report(domid, error),
        }
    }
    for (name, domid) in names {
        if existing.contains(&domid) {
            continue;
        }
        match remove_name(host, &name, domid) {
            Ok(is_removed) => cleared.leftovers += usize::from(is_removed),
            Err(error) => report(domid, error.into()),
        }
    }
    for domid in folders {
        if existing.contains(&domid) {
            continue;
        }
        let images = Releasing::of_domain(&host.records, domid);
        match host.records.remove(domid, None) {
            Ok(()) => cleared.leftovers += 1,
            Err(error) => report(domid, error.into()),
        }
        drop(images);
    }
    nbd::release_unowned(&host.records);
    Ok(cleared)
}

/// Completes the device file of a guest, or removes a domain that never became one. Returns whether it
/// was removed.
fn complete_or_remove<H: Hypervisor>(
    host: &Host<H>,
    guest: &Guest,
) -> Result<bool, LifecycleError> {
    let is_incomplete = match &guest.condition {
        Condition::Incomplete => true,
        Condition::Guest(record) => !configure_again(host, record)?,
        _ => false,
    };
    if is_incomplete {
        remove(host, guest)?;
    }
    Ok(is_incomplete)
}

/// Removes the name of a domain that is gone. Returns whether it was still the domain's.
fn remove_name<H: Hypervisor>(
    host: &Host<H>,
    name: &str,
    domid: DomId,
) -> Result<bool, RecordError> {
    let is_left = host.records.holder(name)? == Some(domid);
    if is_left {
        host.records.remove_name(name)?;
    }
    Ok(is_left)
}

/// Removes incomplete domains. Costs one hypercall if there are none.
///
/// # Errors
/// Xen refuses, or a file cannot be removed.
pub fn reap<H: Hypervisor>(host: &Host<H>) -> Result<usize, LifecycleError> {
    let mut reaped = 0;
    for info in host.xen.domain_list(DomId::DOM0)? {
        reaped += usize::from(reap_one(host, info)?);
    }
    nbd::release_unowned(&host.records);
    Ok(reaped)
}

/// Removes the incomplete domains whose numbers precede that of a guest that was just created. Xen
/// counts domains up, so each successful create finds the killed ones before it, for the cost of
/// one hypercall.
///
/// # Errors
/// As [`reap`].
pub(super) fn reap_before<H: Hypervisor>(
    host: &Host<H>,
    created: DomId,
) -> Result<(), LifecycleError> {
    for domid in (1..created.0).rev().map(DomId) {
        let Some(info) = host.xen.domain_info(domid)? else { break };
        if !reap_one(host, info)? {
            break;
        }
    }
    Ok(())
}

/// Removes a domain if it is incomplete. Returns whether it was.
fn reap_one<H: Hypervisor>(host: &Host<H>, info: DomainInfo) -> Result<bool, LifecycleError> {
    // Decide by what Xen reports if that is possible: the rest costs reading files.
    let may_be_incomplete = info.state.paused && info.cpu_time_ns == 0;
    if !may_be_incomplete || creator(host, &info).is_none_or(Creator::is_alive) {
        return Ok(false);
    }
    let guest = examine_known(host, info.domid, Some(info))?;
    let incomplete = matches!(guest.condition, Condition::Incomplete);
    if incomplete {
        remove(host, &guest)?;
    }
    Ok(incomplete)
}
