//! The attached domains: which devices they have, whose each event channel is, and whose turn.
//!
//! [`Domains`] owns all devices. `attach` connects a domain's devices, `configure` puts its vifs on
//! their bridges, `turn` serves what is ready, `consoles` connects clients, `status` reports. Which
//! kinds of devices there are stands in `device`. Nothing here walks over all guests, except for
//! requests that are about all of them.

mod attach;
#[cfg(test)]
pub(crate) mod bed;
mod configure;
mod consoles;
mod device;
mod status;
#[cfg(test)]
mod tests;
mod turn;

use std::collections::BTreeSet;
use std::fs::File;
use std::rc::Rc;
use std::time::{Duration, Instant};

use noxs_control::{DomainId, Refusal};
use slab::Slab;

pub use self::attach::GuestState;
use self::device::{Device, Fault};
use crate::console::Clients;
use crate::host::{DomId, Host, LocalPort};
use crate::net::{BridgeId, Net};
use crate::turns::Turns;
use crate::turns::bucket::Bucket;
use crate::turns::id_table::IdTable;

/// Lines about faults of guests: that many in [`WARNING_INTERVAL`].
const WARNINGS: u64 = 20;
const WARNING_INTERVAL: Duration = Duration::from_secs(10);

/// Domids are below.
const MAX_DOMAINS: usize = DomId::FIRST_RESERVED.0 as usize;

/// dom0's event channel ports are below (`EVTCHN_FIFO_NR_CHANNELS`).
const MAX_PORTS: usize = 1 << 17;

/// An attached domain.
#[derive(Debug)]
struct Domain<M> {
    id: DomainId,
    /// Its ring pages, in the order of its devices.
    memory: Rc<M>,
    devices: Vec<Device>,
    guest: GuestState,
}

/// Where a domain is in [`Domains::slots`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct DomainIndex(usize);

/// Where a device is in [`Domain::devices`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct DeviceIndex(usize);

/// Names a device of an attached domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct DeviceId {
    domain: DomainIndex,
    device: DeviceIndex,
}

/// What gets turns.
#[derive(Clone, Copy, Debug)]
enum Task {
    Device(DeviceId),
    /// A bridge's tap.
    Tap(BridgeId),
}

/// See the module's text.
#[derive(Debug)]
pub struct Domains<H: Host> {
    /// dom0's side of Xen.
    pub host: H,
    slots: Slab<Box<Domain<H::Memory>>>,
    by_domid: IdTable<DomainIndex>,
    by_port: IdTable<DomainIndex>,
    net: Net<H::Memory>,
    turns: Turns<Task>,
    /// Ports that are unmasked at the end of this turn.
    unmask: Vec<LocalPort>,
    /// Domains that have lost a device.
    broken: BTreeSet<DomainIndex>,
    warnings: Bucket,
}

impl<H: Host> Domains<H> {
    /// Creates the table without domains and bridges.
    pub fn new(host: H, now: Instant) -> Self {
        Self {
            host,
            slots: Slab::new(),
            by_domid: IdTable::new(MAX_DOMAINS),
            by_port: IdTable::new(MAX_PORTS),
            net: Net::default(),
            turns: Turns::default(),
            unmask: Vec::new(),
            broken: BTreeSet::new(),
            warnings: Bucket::new(WARNINGS, WARNING_INTERVAL, 1, now),
        }
    }

    /// Adds the switch of a bridge. [`tap_ready`](Self::tap_ready) takes the number it returns.
    ///
    /// # Errors
    /// There is a switch of that name.
    pub fn add_switch(&mut self, name: &str, tap: File, now: Instant) -> Result<BridgeId, Refusal> {
        self.net.add_bridge(name, tap, now, |id| self.turns.add(Task::Tap(id)))
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

    /// Takes a device from its guest and says why, in the log and in its status.
    fn break_device(
        &mut self,
        id: DeviceId,
        fault: Fault,
        now: Instant,
        clients: &mut impl Clients,
    ) {
        let domain = &mut *self.slots[id.domain.0];
        let device = &mut domain.devices[id.device.0];
        if self.warnings.take(1, now).is_ok() {
            tracing::warn!("domain {} loses its {}: {fault}", domain.id.domid, device.kind.name());
        }
        device.fault = Some(Box::new(fault));
        self.release(id, clients);
        self.broken.insert(id.domain);
    }

    /// Takes a device out of all tables, and unbinds its port if no other device has it.
    fn release(&mut self, id: DeviceId, clients: &mut impl Clients) {
        let domain = &mut *self.slots[id.domain.0];
        let device = &mut domain.devices[id.device.0];
        if let Some(turn) = device.turn.take() {
            self.turns.remove(turn);
        }
        let Some(port) = device.port.take() else { return };
        device.kind.release(&mut self.net, clients);
        if !domain.devices.iter().any(|other| other.port == Some(port)) {
            self.by_port.remove(port.0);
            self.host.unbind(port);
        }
    }
}
