// SPDX-License-Identifier: GPL-3.0-or-later
//! The attached domains, their devices and their event channels.
//!
//! [`Domains`] owns all devices. `attach` connects a domain's devices, `configure` puts its vifs on
//! their bridges, `disks` puts files behind its disks, `hot_plug` adds and removes devices of a
//! running domain, `turn` serves devices that are ready, `consoles` connects clients, `status`
//! reports states. `device` lists the kinds of devices. Only requests that concern all guests walk
//! over all guests.

mod attach;
#[cfg(any(test, feature = "fuzzing"))]
#[cfg_attr(not(test), allow(dead_code))]
#[allow(clippy::unwrap_used)]
pub(crate) mod bed;
mod configure;
mod consoles;
mod device;
mod disks;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod hot_plug;
mod left_out;
mod status;
#[cfg(test)]
mod tests;
mod turn;

use std::collections::BTreeSet;
use std::fs::File;
use std::rc::Rc;
use std::time::Instant;

use noxs_control::{DomainId, Refusal};
use slab::Slab;

pub use self::attach::{AttachFiles, AttachedAs, DiskFile};
use self::device::{Device, Fault};
pub use self::left_out::CRASHED;
use self::left_out::LeftOut;
use crate::block::Disks;
use crate::console::Clients;
use crate::console::log::LogSpace;
use crate::host::mapped::Room;
use crate::host::{DomId, Host, LocalPort};
use crate::net::dom0::interfaces::Interfaces;
use crate::net::dom0::netlink::Message;
use crate::net::flood::Allowance;
use crate::net::{BridgeId, BridgeTurns, Net};
use crate::turns::Turns;
use crate::turns::backoff::Backoff;
use crate::turns::id_table::IdTable;
use crate::turns::log_limit::LogLimit;
use crate::turns::recent::Recent;

/// Domids of guests are below.
const MAX_DOMAINS: usize = DomId::FIRST_RESERVED.0 as usize;

/// dom0's event channel ports are below (`EVTCHN_FIFO_NR_CHANNELS`).
const MAX_PORTS: usize = 1 << 17;

/// An attached domain.
#[derive(Debug)]
struct Domain<M> {
    id: DomainId,
    /// Its ring pages, in the order of its devices.
    memory: Rc<M>,
    devices: Vec<Device<M>>,
    guest: AttachedAs,
    /// What its vifs together may flood.
    allowance: Allowance,
    /// Its events and turns without progress.
    backoff: Backoff,
}

/// Index of a domain in [`Domains::slots`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct DomainIndex(usize);

/// Index of a device in [`Domain::devices`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct DeviceIndex(usize);

/// Identifies a device of an attached domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct DeviceId {
    domain: DomainIndex,
    device: DeviceIndex,
}

/// An owner of turns.
#[derive(Clone, Copy, Debug)]
enum Task {
    Device(DeviceId),
    /// A bridge's tap.
    Tap(BridgeId),
    /// The floods of a bridge that continue.
    Floods(BridgeId),
}

/// All attached domains, and the bridges that connect them.
#[derive(Debug)]
pub struct Domains<H: Host> {
    /// dom0's side of Xen.
    pub host: H,
    slots: Slab<Box<Domain<H::Memory>>>,
    by_domid: IdTable<DomainIndex>,
    by_port: IdTable<DomainIndex>,
    net: Net<H::Memory>,
    disks: Disks<H::Memory>,
    /// The guests' pages that stay mapped.
    mapped: Room<H::Memory>,
    turns: Turns<Task>,
    /// When the last turn began.
    last_turn: Instant,
    /// The domains that were served last.
    recent: Recent<DomainIndex>,
    /// Ports to unmask at the end of this turn.
    unmask: Vec<LocalPort>,
    /// The space that all consoles' logs share.
    log_space: Rc<LogSpace>,
    /// Domains that have lost a device.
    broken: BTreeSet<DomainIndex>,
    /// Whether one of them is new since [`take_lost_device`](Self::take_lost_device).
    has_lost_device: bool,
    /// Domains that are not served, and why.
    left_out: Vec<LeftOut>,
    warnings: LogLimit,
}

impl<H: Host> Domains<H> {
    /// Creates a table without domains and bridges.
    pub fn new(host: H, now: Instant) -> Self {
        let mapped = Room::new();
        Self {
            host,
            slots: Slab::new(),
            by_domid: IdTable::new(MAX_DOMAINS),
            by_port: IdTable::new(MAX_PORTS),
            net: Net::new(mapped.clone()),
            disks: Disks::new(now, mapped.clone()),
            mapped,
            turns: Turns::default(),
            last_turn: now,
            recent: Recent::default(),
            unmask: Vec::new(),
            log_space: Rc::default(),
            broken: BTreeSet::new(),
            has_lost_device: false,
            left_out: Vec::new(),
            warnings: LogLimit::new(now),
        }
    }

    /// Adds a switch for a bridge, whose frames come through `tap`.
    ///
    /// # Errors
    /// The bridge has a switch already.
    pub fn add_switch(&mut self, name: &str, tap: File, now: Instant) -> Result<BridgeId, Refusal> {
        let turns = &mut self.turns;
        self.net.add_bridge(name, tap, now, |id| BridgeTurns {
            tap: turns.add(Task::Tap(id)),
            floods: turns.add(Task::Floods(id)),
        })
    }

    /// Replaces what is known of dom0's network interfaces.
    pub fn set_interfaces(&mut self, interfaces: Interfaces) {
        self.net.set_interfaces(interfaces);
    }

    /// Records what the kernel has reported of dom0's network interfaces.
    pub fn update_interfaces(&mut self, messages: impl Iterator<Item = Message>) {
        self.net.update_interfaces(messages);
    }

    /// Returns whether dom0 has an IPv4 address on a bridge.
    #[cfg(test)]
    pub(crate) fn dom0_has(&self, bridge: &str, address: std::net::Ipv4Addr) -> bool {
        self.net.dom0_has(bridge, address)
    }

    /// Returns the devices of a domain.
    fn device_ids(&self, domain: DomainIndex) -> impl Iterator<Item = DeviceId> + use<H> {
        let devices = 0..self.slots[domain.0].devices.len();
        devices.map(move |device| DeviceId { domain, device: DeviceIndex(device) })
    }

    fn find(&self, id: DomainId) -> Result<DomainIndex, Refusal> {
        let index = self.by_domid.get(id.domid.into()).ok_or(Refusal::NoDevice)?;
        if self.slots[index.0].id == id { Ok(index) } else { Err(Refusal::NoDevice) }
    }

    /// Takes a device from its guest, and records the reason in the log and in the device's status.
    fn break_device(
        &mut self,
        id: DeviceId,
        fault: Fault,
        now: Instant,
        clients: &mut impl Clients,
    ) {
        let domain = &mut *self.slots[id.domain.0];
        let device = &mut domain.devices[id.device.0];
        if self.warnings.allows(now) {
            tracing::warn!("domain {} loses its {}: {fault}", domain.id.domid, device.kind.name());
        }
        device.fault = Some(Box::new(fault));
        self.release(id, clients);
        self.broken.insert(id.domain);
        self.has_lost_device = true;
    }

    /// Removes a device from all tables, and unbinds its port if no other device uses it. Leaves a
    /// port bound that belongs to another domain: the next binder may get a released number.
    fn release(&mut self, id: DeviceId, clients: &mut impl Clients) {
        let domain = &mut *self.slots[id.domain.0];
        let device = &mut domain.devices[id.device.0];
        if let Some(turn) = device.turn.take() {
            self.turns.remove(turn);
        }
        let Some(port) = device.port.take() else { return };
        device.kind.release(&mut self.net, &mut self.disks, clients);
        if domain.devices.iter().any(|other| other.port == Some(port)) {
            return;
        }
        if self.by_port.get(port.0) != Some(id.domain) {
            let domid = domain.id.domid;
            tracing::warn!("port {port} does not belong to domain {domid}: it stays bound");
            return;
        }
        self.by_port.remove(port.0);
        self.host.unbind(port);
    }
}
