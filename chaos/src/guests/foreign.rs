// SPDX-License-Identifier: GPL-3.0-or-later
//! Domains of other toolstacks, for commands that only look: XenStore has their names, if it runs.

use xen::units::DomId;

use super::classify::Condition;
use super::error::LifecycleError;
use super::host::Host;
use super::resolve::examine_known;
use crate::announce::xenstore::{Described, described};
use crate::config::DOM0;
use crate::handle::DomainIdentity;
use crate::hypervisor::Hypervisor;

/// Returns what XenStore says of domains, in their order; nothing where it does not answer: a command
/// that only looks prints the rest.
pub(super) fn describe<H: Hypervisor>(
    host: &Host<H>,
    domains: &[DomainIdentity],
) -> Vec<Described> {
    match domains {
        [] => Vec::new(),
        _ => host
            .xenstored
            .call(|connection| described(connection, domains))
            .unwrap_or_else(|_| vec![Described::default(); domains.len()]),
    }
}

/// Returns the domain of another toolstack with a name, or dom0: the one with the lowest domid, as in xl.
///
/// # Errors
/// Xen refuses.
pub(super) fn named<H: Hypervisor>(
    host: &Host<H>,
    name: &str,
) -> Result<Option<DomId>, LifecycleError> {
    if name == DOM0 {
        return Ok(Some(DomId::DOM0));
    }
    let mut foreign = Vec::new();
    for info in host.xen.domain_list(DomId::DOM0)? {
        let id = DomainIdentity { domid: info.domid, handle: info.handle };
        let is_foreign = || {
            let guest = examine_known(host, info.domid, Some(info))?;
            Ok::<_, LifecycleError>(matches!(guest.condition, Condition::Foreign))
        };
        if info.domid.is_guest() && is_foreign()? {
            foreign.push(id);
        }
    }
    let described = describe(host, &foreign);
    let mut named =
        foreign.iter().zip(described).filter(|(_, one)| one.name.as_deref() == Some(name));
    Ok(named.next().map(|(id, _)| id.domid))
}

/// Returns the name of a domain of another toolstack, or of dom0.
///
/// # Errors
/// It has none, XenStore does not run, or Xen refuses.
pub(super) fn name<H: Hypervisor>(host: &Host<H>, domid: DomId) -> Result<String, LifecycleError> {
    if domid == DomId::DOM0 {
        return Ok(DOM0.to_owned());
    }
    let info = host.xen.domain_info(domid)?;
    let info = info.ok_or_else(|| LifecycleError::NoSuchGuest { target: domid.to_string() })?;
    let id = DomainIdentity { domid, handle: info.handle };
    let described = describe(host, &[id]).into_iter().next().unwrap_or_default();
    described.name.ok_or(LifecycleError::Unnamed { domid })
}
