// SPDX-License-Identifier: GPL-3.0-or-later
//! Lists guests.

use std::collections::{HashMap, HashSet};
use std::net::{Ipv4Addr, Ipv6Addr};

use daemon::chain::chain;
use noxs_control::DomainId;
use serde::Serialize;
use xen::domain::DomainInfo;
use xen::units::DomId;

use super::classify::Condition;
use super::destroy::remove;
use super::error::LifecycleError;
use super::foreign::describe;
use super::host::Host;
use super::hot_plug::withdraw_leftover;
use super::resolve::examine_known;
use super::state::GuestState;
use crate::backends::nbd;
use crate::clients::noxsd::{BackendError, Noxsd};
use crate::config::{Backends, DOM0, VifConfig, VifScript};
use crate::handle::DomainIdentity;
use crate::hypervisor::Hypervisor;
use crate::records::Record;

/// The guests of this host.
#[derive(Debug)]
pub struct GuestList {
    /// The guests.
    pub guests: Vec<ListedGuest>,
    /// Why noxsd does not answer, if one of the guests has devices that it should serve.
    pub unserved: Option<BackendError>,
}

/// A guest in the list.
#[derive(Clone, Debug, Serialize)]
pub struct ListedGuest {
    /// Its name; `None` for a domain whose record is missing. Domains of other toolstacks have the one
    /// in XenStore, if it runs.
    pub name: Option<String>,
    /// Its number; `None` for a pending restart whose record cannot be read.
    pub domid: Option<u16>,
    /// Its handle, as a UUID.
    pub handle: Option<String>,
    /// Its memory in KiB.
    pub memory_kib: u64,
    /// Number of its vCPUs.
    pub vcpus: u32,
    /// Its state.
    pub state: GuestState,
    /// The CPU time that it has used, in nanoseconds.
    pub cpu_time_ns: u64,
    /// The time since it was created, in milliseconds. For domains of other toolstacks, XenStore says.
    pub age_ms: Option<u64>,
    /// Its network interfaces.
    pub vifs: Vec<ListedVif>,
    /// The devices that noxsd has taken out of service.
    pub broken_devices: Vec<BrokenDevice>,
    /// What is wrong with its record.
    pub fault: Option<String>,
    /// What Xen reports about it; `None` if it has no domain.
    #[serde(skip)]
    pub info: Option<DomainInfo>,
}

/// A network interface in the list.
#[derive(Clone, Debug, Serialize)]
pub struct ListedVif {
    /// What its config says.
    #[serde(flatten)]
    pub config: ShownVif,
    /// Number of dropped frames: with a wrong source address, over a limit, or because the guest
    /// had not posted a receive buffer. `None` if `noxsd` does not answer.
    pub dropped: Option<u64>,
}

/// The config of a network interface, as JSON has it.
#[derive(Clone, Debug, Serialize)]
pub struct ShownVif {
    /// Its number.
    pub devid: u16,
    /// The name that its user has given it (`vifname=`).
    pub name: Option<String>,
    /// Its MAC address.
    pub mac: Option<String>,
    /// Its bridge.
    pub bridge: String,
    /// Its IPv4 address and prefix length, if its config has one.
    pub ipv4: Option<String>,
    /// Its IPv4 gateway.
    pub gateway: Option<Ipv4Addr>,
    /// Its IPv6 address and prefix length, if its config has one.
    pub ipv6: Option<String>,
    /// Its IPv6 gateway.
    pub ipv6_gateway: Option<Ipv6Addr>,
    /// Largest IP packet in bytes.
    pub mtu: u16,
    /// Its rate limit, if it has one: bytes, and the microseconds in which it may send so many.
    pub rate: Option<(u64, u64)>,
    /// The script of dom0 that connects it to the network, if it has one.
    pub script: Option<String>,
    /// `ip=` as that script gets it.
    pub script_ip: Option<String>,
}

impl ShownVif {
    /// Returns the config of the vif with this number.
    #[must_use]
    pub fn new(devid: u16, vif: VifConfig) -> Self {
        let VifConfig { mac, bridge, ip, ip6, name, mtu, rate, script } = vif;
        let (script, script_ip) = match script.map(|script| *script) {
            Some(VifScript { path, ip }) => (Some(path), ip),
            None => (None, None),
        };
        Self {
            devid,
            name,
            mac: mac.map(|mac| mac.to_string()),
            bridge,
            ipv4: ip.map(|ip| format!("{}/{}", ip.address, ip.prefix)),
            gateway: ip.and_then(|ip| ip.gateway),
            ipv6: ip6.map(|ip| format!("{}/{}", ip.address, ip.prefix)),
            ipv6_gateway: ip6.and_then(|ip| ip.gateway),
            mtu,
            rate: rate.map(|rate| (rate.bytes, rate.interval_us)),
            script,
            script_ip,
        }
    }
}

/// A device that noxsd has taken out of service because the guest broke a rule.
#[derive(Clone, Debug, Serialize)]
pub struct BrokenDevice {
    /// Its name, such as `vif0`.
    pub device: String,
    /// Why.
    pub reason: String,
}

/// Returns the guests in the order of their domids, those without one first. With `all`, also the
/// shells of chaosd, the domains of other toolstacks, and dom0. Removes incomplete domains, and lists
/// one only if that fails.
///
/// # Errors
/// Xen refuses, or the folder of records cannot be read.
pub fn list<H: Hypervisor>(host: &Host<H>, all: bool) -> Result<GuestList, LifecycleError> {
    let (mut broken, dropped, mut unserved) = match devices(host) {
        Ok((broken, dropped)) => (broken, Some(dropped), None),
        Err(error) => (HashMap::new(), None, Some(error)),
    };
    nbd::release_unowned(&host.records);
    let mut is_noxsd_needed = false;
    // List folders before domains: a domain exists before its folder does, so that a create in
    // progress is not taken for a guest that is gone.
    let mut folders: HashSet<DomId> = host.records.domids()?.into_iter().collect();
    let mut guests = Vec::new();
    // Domains of other toolstacks, and their places in the list.
    let mut foreign_ids = Vec::new();
    for info in host.xen.domain_list(DomId::DOM0)? {
        folders.remove(&info.domid);
        let (domid, handle) = (info.domid, info.handle);
        let mut guest = examine_known(host, domid, Some(info))?;
        if matches!(guest.condition, Condition::Incomplete) {
            match remove(host, &guest) {
                Ok(_) => continue,
                Err(error) => guest.fault = Some(chain(&error)),
            }
        }
        let foreign = matches!(guest.condition, Condition::Foreign) || !domid.is_guest();
        if (foreign || matches!(guest.condition, Condition::Shell)) && !all {
            continue;
        }
        let state = guest.state();
        let Some(info) = guest.info else { continue };
        let mut listed = ListedGuest {
            name: None,
            domid: Some(domid.0),
            handle: Some(handle.to_string()),
            memory_kib: info.tot_pages.to_kib().0,
            vcpus: info.max_vcpu_id.map_or(0, |last| last + 1),
            state,
            cpu_time_ns: info.cpu_time_ns,
            age_ms: None,
            vifs: Vec::new(),
            broken_devices: broken.remove(&(domid.0, handle.0)).unwrap_or_default(),
            fault: guest.fault,
            info: Some(info),
        };
        match guest.condition {
            Condition::Guest(record) => {
                if let Err(error) = withdraw_leftover(host, &record) {
                    listed.fault = listed.fault.or_else(|| Some(chain(&error)));
                }
                let numbers = numbers(&record);
                is_noxsd_needed |= !state.has_ended()
                    && record.config.store.backends() == Backends::Noxsd
                    && record.config.device_count() > 0;
                listed.age_ms = Some(record.age_ms());
                listed.name = Some(record.config.name);
                listed.vifs = numbers
                    .zip(record.config.vifs)
                    .map(|(index, vif)| {
                        let key = (domid.0, handle.0, index);
                        let frames = dropped.as_ref().map(|all| all.get(&key).copied());
                        let dropped = frames.map(Option::unwrap_or_default);
                        ListedVif { config: ShownVif::new(index, vif), dropped }
                    })
                    .collect();
            }
            Condition::Incomplete | Condition::Creating | Condition::Unrecorded => {
                listed.name = host.records.names_of(domid)?.into_iter().next();
            }
            _ if domid == DomId::DOM0 => listed.name = Some(DOM0.to_owned()),
            Condition::Foreign => {
                foreign_ids.push((guests.len(), DomainIdentity { domid, handle }))
            }
            _ => {}
        }
        guests.push(listed);
    }
    describe_foreign(host, &mut guests, &foreign_ids);
    for domid in folders {
        // Another process may have removed the guest since the folders were listed.
        if host.records.folder(domid).exists() {
            guests.push(gone(host, domid)?);
        }
    }
    for name in host.records.restarts()? {
        if !guests.iter().any(|guest| guest.name.as_ref() == Some(&name)) {
            guests.push(pending_restart(host, name));
        }
    }
    guests.sort_by_key(|guest| guest.domid);
    unserved = unserved.filter(|_| is_noxsd_needed);
    Ok(GuestList { guests, unserved })
}

/// Adds the names and the ages of domains of other toolstacks, if XenStore has them.
fn describe_foreign<H: Hypervisor>(
    host: &Host<H>,
    guests: &mut [ListedGuest],
    foreign: &[(usize, DomainIdentity)],
) {
    let ids: Vec<DomainIdentity> = foreign.iter().map(|(_, id)| *id).collect();
    for ((at, _), found) in foreign.iter().zip(describe(host, &ids)) {
        (guests[*at].name, guests[*at].age_ms) = (found.name, found.age_ms);
    }
}

/// Returns the numbers of the vifs of a guest, in the order of its config.
fn numbers(record: &Record) -> impl Iterator<Item = u16> + use<> {
    let page = record.device_page.as_ref();
    let listed = page
        .and_then(|page| page.devices.as_ref())
        .map(|devices| devices.vifs.iter().map(|vif| vif.number).collect::<Vec<_>>());
    let positions = 0..u16::try_from(record.config.vifs.len()).unwrap_or(u16::MAX);
    listed.unwrap_or_else(|| positions.collect()).into_iter()
}

/// Returns the entry of a folder without a domain: another toolstack has destroyed the guest, or
/// `chaos destroy` was killed.
fn gone<H: Hypervisor>(host: &Host<H>, domid: DomId) -> Result<ListedGuest, LifecycleError> {
    let record = host.records.read(domid).ok().flatten();
    let name = match &record {
        Some(record) => Some(record.name().to_owned()),
        None => host.records.names_of(domid)?.into_iter().next(),
    };
    Ok(without_domain(name, Some(domid.0), GuestState::Gone, record.as_ref()))
}

/// Returns the entry of a guest whose restart is pending.
fn pending_restart<H: Hypervisor>(host: &Host<H>, name: String) -> ListedGuest {
    let (record, fault) = match host.records.pending_restart(&name) {
        Ok(record) => (record, None),
        Err(error) => (None, Some(chain(&error))),
    };
    let domid = record.as_ref().map(|record| record.domid.0);
    let listed = without_domain(Some(name), domid, GuestState::PendingRestart, record.as_ref());
    ListedGuest { fault, ..listed }
}

/// Returns an entry for which Xen knows no domain.
fn without_domain(
    name: Option<String>,
    domid: Option<u16>,
    state: GuestState,
    record: Option<&Record>,
) -> ListedGuest {
    ListedGuest {
        name,
        domid,
        handle: record.map(|record| record.handle.to_string()),
        memory_kib: 0,
        vcpus: 0,
        state,
        cpu_time_ns: 0,
        age_ms: record.map(Record::age_ms),
        vifs: Vec::new(),
        broken_devices: Vec::new(),
        fault: None,
        info: None,
    }
}

/// The broken devices by domain and handle.
type Broken = HashMap<(u16, [u8; 16]), Vec<BrokenDevice>>;

/// Number of dropped frames by domain, handle and vif. Vifs without drops are left out.
type Dropped = HashMap<(u16, [u8; 16], u16), u64>;

/// Returns what noxsd knows of the devices.
///
/// # Errors
/// It does not answer.
fn devices<H: Hypervisor>(host: &Host<H>) -> Result<(Broken, Dropped), BackendError> {
    let statuses = host.noxsd.call(Noxsd::broken)?.into_iter();
    let broken = statuses.map(|status| {
        let devices = status.devices.into_iter().filter_map(|device| {
            Some(BrokenDevice { device: device.name, reason: device.broken? })
        });
        ((status.id.domid, status.id.handle), devices.collect())
    });
    let broken = broken.collect();
    let drops = host.noxsd.call(Noxsd::dropped)?.into_iter();
    let key = |id: DomainId, index| (id.domid, id.handle, index);
    Ok((broken, drops.map(|vif| (key(vif.id, vif.index), vif.frames)).collect()))
}
