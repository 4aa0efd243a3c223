// SPDX-License-Identifier: GPL-3.0-or-later
//! Addresses of a guest's vifs and files behind its disks that are in use: who has them, and what can
//! be done about it.

use std::fmt;

use nix::ifaddrs::{InterfaceAddress, getifaddrs};
use noxs_control::{AddressInUse, AddressOwner, DiskInUse, VifAddress};
use thiserror::Error;
use xen::units::DomId;

use super::classify::Condition;
use super::destroy;
use super::error::LifecycleError;
use super::host::Host;
use super::resolve::examine;
use super::vif_plan::VifPlans;
use crate::config::vif_label;
use crate::hypervisor::Hypervisor;

/// What noxsd has refused because it is in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Conflict {
    /// An address.
    Address(AddressInUse),
    /// What is behind a disk.
    Disk(DiskInUse),
}

/// What is behind a disk is in use.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("disk {path} is in use by {}; {}", user(*.domid, .name.as_deref()), remedy(*.domid))]
pub struct DiskConflict {
    /// The path.
    path: String,
    /// The domain that has it, if it is one of chaos.
    domid: Option<u16>,
    /// The domain's name.
    name: Option<String>,
}

fn user(domid: Option<u16>, name: Option<&str>) -> String {
    match (domid, name) {
        (Some(domid), Some(name)) => format!("guest {name} (domain {domid})"),
        (Some(domid), None) => format!("domain {domid}"),
        (None, _) => "another program in dom0".to_owned(),
    }
}

fn remedy(domid: Option<u16>) -> &'static str {
    match domid {
        Some(_) => "destroy that guest, or let both only read the disk (access=r)",
        None => "stop it, or name another file",
    }
}

/// An address of a guest's vif is in use.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{address}{} is in use{} by {owner}", of(.vif.as_deref()), on(.bridge.as_deref()))]
pub struct AddressConflict {
    /// The address.
    address: VifAddress,
    /// The vif that was to get it: `vif0`, ...
    vif: Option<String>,
    /// The vif's bridge.
    bridge: Option<String>,
    /// What has the address.
    owner: ConflictOwner,
}

/// What has an address, with the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ConflictOwner {
    kind: OwnerKind,
    /// The key of xl.cfg that sets the address.
    key: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum OwnerKind {
    /// A domain, with its name if it has one.
    Domain(u16, Option<String>),
    /// An interface of dom0, if it is known.
    Dom0(Option<String>),
    /// Another vif of the same guest.
    SameGuest,
}

fn of(vif: Option<&str>) -> String {
    vif.map(|vif| format!(" of {vif}")).unwrap_or_default()
}

fn on(bridge: Option<&str>) -> String {
    bridge.map(|bridge| format!(" on bridge {bridge}")).unwrap_or_default()
}

impl fmt::Display for ConflictOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            OwnerKind::Domain(domid, Some(name)) => write!(f, "guest {name} (domain {domid})")?,
            OwnerKind::Domain(domid, None) => write!(f, "domain {domid}")?,
            OwnerKind::Dom0(Some(interface)) => write!(f, "dom0's interface {interface}")?,
            OwnerKind::Dom0(None) => f.write_str("dom0")?,
            OwnerKind::SameGuest => f.write_str("another vif of the same guest")?,
        }
        write!(f, "; choose another with {}=", self.key)?;
        match &self.kind {
            OwnerKind::Domain(_, Some(name)) => write!(f, ", or destroy guest {name}"),
            OwnerKind::Domain(domid, None) => write!(f, ", or destroy domain {domid}"),
            OwnerKind::Dom0(_) | OwnerKind::SameGuest => Ok(()),
        }
    }
}

/// Clears a conflict, if that is possible without a change of what the user has written: destroys
/// the owner if it is an incomplete domain, or replaces a MAC address that was generated. Returns
/// whether another attempt may succeed.
///
/// # Errors
/// Xen refuses, or the kernel has no random numbers.
pub(super) fn settle<H: Hypervisor>(
    host: &Host<H>,
    plans: &mut VifPlans<'_>,
    conflict: &Conflict,
) -> Result<bool, LifecycleError> {
    let owner = match conflict {
        Conflict::Address(AddressInUse { owner: AddressOwner::Domain(domid), .. }) => Some(*domid),
        Conflict::Address(_) => None,
        Conflict::Disk(in_use) => in_use.domid,
    };
    if let Some(domid) = owner {
        let guest = examine(host, DomId(domid))?;
        if matches!(guest.condition, Condition::Incomplete) {
            destroy::remove(host, &guest)?;
            return Ok(true);
        }
    }
    match conflict {
        Conflict::Address(AddressInUse { address: VifAddress::Mac(mac), .. }) => {
            plans.replace(*mac)
        }
        Conflict::Address(_) | Conflict::Disk(_) => Ok(false),
    }
}

/// Replaces noxsd's refusal of an address or a disk, which contains only a number, by an error that
/// names the owner. Returns other errors as they are.
pub(super) fn explain<H: Hypervisor>(
    host: &Host<H>,
    plans: &VifPlans<'_>,
    error: LifecycleError,
) -> LifecycleError {
    let AddressInUse { address, owner } = match error.conflict() {
        Some(Conflict::Address(in_use)) => in_use,
        Some(Conflict::Disk(DiskInUse { path, domid })) => {
            let name = domid.and_then(|domid| name_of(host, DomId(domid)));
            return LifecycleError::DiskInUse(Box::new(DiskConflict { path, domid, name }));
        }
        None => return error,
    };
    let found = plans.with_address(address);
    let bridge = found.map(|(_, vif)| vif.bridge.as_str());
    let key = match address {
        VifAddress::Mac(_) => "mac",
        VifAddress::Ipv4(_) | VifAddress::Ipv6(_) => "ip",
    };
    let kind = match owner {
        AddressOwner::Domain(domid) => OwnerKind::Domain(domid, name_of(host, DomId(domid))),
        AddressOwner::Dom0 => OwnerKind::Dom0(dom0_interface(address, bridge)),
        AddressOwner::SameRequest => OwnerKind::SameGuest,
    };
    let vif = found.map(|(number, vif)| vif_label(number, vif.name.as_deref()));
    let bridge = bridge.map(str::to_owned);
    let owner = ConflictOwner { kind, key };
    LifecycleError::AddressInUse(Box::new(AddressConflict { address, vif, bridge, owner }))
}

/// Returns the name of a domain, also if it is being created and has no record yet.
fn name_of<H: Hypervisor>(host: &Host<H>, domid: DomId) -> Option<String> {
    match host.records.read(domid) {
        Ok(Some(record)) => Some(record.config.name),
        _ => host.records.names_of(domid).ok()?.into_iter().next(),
    }
}

/// Returns dom0's interface that has an address: the bridge itself if several have it, because a
/// bridge has the MAC address of one of its ports.
fn dom0_interface(address: VifAddress, bridge: Option<&str>) -> Option<String> {
    let has_it = |interface: &InterfaceAddress| {
        interface.address.is_some_and(|found| match address {
            VifAddress::Mac(mac) => {
                found.as_link_addr().and_then(|link| link.addr()) == Some(mac.0)
            }
            VifAddress::Ipv4(ipv4) => found.as_sockaddr_in().map(|found| found.ip()) == Some(ipv4),
            VifAddress::Ipv6(ipv6) => found.as_sockaddr_in6().map(|found| found.ip()) == Some(ipv6),
        })
    };
    let names = getifaddrs().ok()?.filter(has_it).map(|found| found.interface_name);
    let names: Vec<String> = names.collect();
    let is_bridge = |name: &&String| Some(name.as_str()) == bridge;
    names.iter().find(is_bridge).or(names.first()).cloned()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use noxs::MacAddr;

    use super::*;

    #[test]
    fn the_message_names_the_address_the_owner_and_the_remedy() {
        let text = |kind, key| {
            let owner = ConflictOwner { kind, key };
            let address = VifAddress::Ipv4(Ipv4Addr::new(10, 0, 0, 5));
            let bridge = Some("xenbr0".to_owned());
            AddressConflict { address, vif: Some("vif1 (lan)".into()), bridge, owner }.to_string()
        };
        assert_eq!(
            text(OwnerKind::Domain(5, Some("web".into())), "ip"),
            "IPv4 address 10.0.0.5 of vif1 (lan) is in use on bridge xenbr0 by guest web (domain 5); \
             choose another with ip=, or destroy guest web"
        );
        assert!(text(OwnerKind::Domain(5, None), "ip").ends_with("with ip=, or destroy domain 5"));
        assert!(
            text(OwnerKind::Dom0(Some("eth0".into())), "mac")
                .ends_with("by dom0's interface eth0; choose another with mac=")
        );
        assert!(text(OwnerKind::SameGuest, "mac").contains("another vif of the same guest"));
    }

    #[test]
    fn the_message_names_the_disk_its_user_and_the_remedy() {
        let text = |domid, name: Option<&str>| {
            DiskConflict { path: "/a.img".into(), domid, name: name.map(str::to_owned) }.to_string()
        };
        assert_eq!(
            text(Some(5), Some("web")),
            "disk /a.img is in use by guest web (domain 5); destroy that guest, or let both only \
             read the disk (access=r)"
        );
        assert!(text(Some(5), None).contains("in use by domain 5; destroy"));
        assert!(text(None, None).contains("by another program in dom0; stop it"));
    }

    #[test]
    fn an_address_of_dom0_is_found_at_its_interface() {
        let local = VifAddress::Ipv4(Ipv4Addr::LOCALHOST);
        assert_eq!(dom0_interface(local, Some("xenbr0")).as_deref(), Some("lo"));
        let unknown = VifAddress::Mac(MacAddr([2, 0x7f, 1, 2, 3, 4]));
        assert_eq!(dom0_interface(unknown, None), None);
    }
}
