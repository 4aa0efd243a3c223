// SPDX-License-Identifier: GPL-3.0-or-later
//! How much all guests use, for metrics and live displays.
//!
//! Unlike [`list`](super::list()), this reads no records and removes nothing, so that it costs little
//! among many guests: one look at the names, Xen's list of domains, and one request to `noxsd` for each
//! 350 guests.

use std::collections::{HashMap, VecDeque};

use daemon::chain::chain;
use noxs_control::{CountedDevice, DeviceCounters, DomainCounters, DomainId, VbdStatus, VifStatus};
use xen::domain::DomainInfo;
use xen::units::{DomId, KiB};

use super::classify::Condition;
use super::error::LifecycleError;
use super::host::Host;
use super::resolve::creator;
use super::state::GuestState;
use crate::clients::noxsd::{BackendError, Noxsd};
use crate::handle::DomainIdentity;
use crate::hypervisor::Hypervisor;
use crate::records::{NameChanges, NameTable};

/// What all domains use at one moment.
#[derive(Debug)]
pub struct Figures {
    /// The guests of chaos, in the order of their domids.
    pub guests: Vec<GuestFigures>,
    /// What dom0 uses, if Xen lists it.
    pub dom0: Option<Usage>,
    /// Number of chaos's domains without a name: shells, and guests that are being created.
    pub unnamed: usize,
    /// Number of domains of other toolstacks.
    pub foreign: usize,
    /// Why the devices' figures are missing: `noxsd` does not answer.
    pub unserved: Option<String>,
    /// How the names have changed since the names were refreshed before.
    pub changes: NameChanges,
}

/// What a domain uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The CPU time that it has used, in nanoseconds.
    pub cpu_time_ns: u64,
    /// Its memory.
    pub memory: KiB,
    /// Number of its vCPUs.
    pub vcpus: u32,
}

impl From<&DomainInfo> for Usage {
    fn from(info: &DomainInfo) -> Self {
        Self {
            cpu_time_ns: info.cpu_time_ns,
            memory: info.tot_pages.to_kib(),
            vcpus: info.max_vcpu_id.map_or(0, |last| last + 1),
        }
    }
}

/// What a guest uses.
#[derive(Clone, Debug)]
pub struct GuestFigures {
    /// Its name.
    pub name: String,
    /// Its domain.
    pub identity: DomainIdentity,
    /// Its state, as far as Xen knows it.
    pub state: GuestState,
    /// What it uses of CPU and memory.
    pub usage: Usage,
    /// Its vifs that `noxsd` serves, by number.
    pub vifs: Vec<(u16, VifStatus)>,
    /// Its disks that `noxsd` serves, by number.
    pub vbds: Vec<(u16, VbdStatus)>,
    /// Number of devices that `noxsd` has taken out of service.
    pub broken_devices: usize,
}

/// What noxsd knows of the devices.
#[derive(Default)]
struct Devices {
    /// In the order of their domids, as noxsd lists them.
    counted: VecDeque<DomainCounters>,
    /// The number of broken devices. Few domains have any.
    broken: HashMap<DomainId, usize>,
}

impl Devices {
    /// Returns the devices of a domain, and how many are broken. Must be called in the order of the
    /// domids.
    fn take(&mut self, id: DomainId) -> (Vec<CountedDevice>, usize) {
        while self.counted.front().is_some_and(|one| one.id.domid < id.domid) {
            self.counted.pop_front();
        }
        let is_this = self.counted.front().is_some_and(|one| one.id == id);
        let counted = if is_this { self.counted.pop_front() } else { None };
        let devices = counted.map(|counted| counted.devices).unwrap_or_default();
        (devices, self.broken.get(&id).copied().unwrap_or_default())
    }
}

/// Returns what all domains use. `names` is kept between calls.
///
/// # Errors
/// Xen refuses, or the names cannot be read. If `noxsd` does not answer, the figures say so.
pub fn figures<H: Hypervisor>(
    host: &Host<H>,
    names: &mut NameTable,
) -> Result<Figures, LifecycleError> {
    let (mut devices, unserved) = match devices(host) {
        Ok(devices) => (devices, None),
        Err(error) => (Devices::default(), Some(chain(&error))),
    };
    let domains = host.xen.domain_list(DomId::DOM0)?;
    // A guest that is created or destroyed meanwhile may count as a domain without a name once.
    let changes = names.refresh(&host.records)?;
    let names = names.by_domid();
    let (mut unnamed, mut foreign, mut dom0) = (0, 0, None);
    let mut guests = Vec::with_capacity(names.len());
    for info in &domains {
        if info.domid == DomId::DOM0 {
            dom0 = Some(Usage::from(info));
            continue;
        }
        if creator(host, info).is_none() {
            foreign += 1;
            continue;
        }
        let Some(name) = names.get(&info.domid) else {
            unnamed += usize::from(!info.state.dying);
            continue;
        };
        let identity = DomainIdentity { domid: info.domid, handle: info.handle };
        let (counted, broken_devices) = devices.take(identity.into());
        let (mut vifs, mut vbds) = (Vec::new(), Vec::new());
        for CountedDevice { index, counters } in counted {
            match counters {
                DeviceCounters::Vif(status) => vifs.push((index, status)),
                DeviceCounters::Vbd(status) => vbds.push((index, status)),
                DeviceCounters::Console(_) => {}
            }
        }
        guests.push(GuestFigures {
            name: (*name).to_owned(),
            identity,
            // It has a name, so it is neither a shell nor a domain that was never complete.
            state: GuestState::of(Some(info), &Condition::Unrecorded),
            usage: Usage::from(info),
            vifs,
            vbds,
            broken_devices,
        });
    }
    Ok(Figures { guests, dom0, unnamed, foreign, unserved, changes })
}

/// Returns what noxsd knows of the devices.
///
/// # Errors
/// It does not answer.
fn devices<H: Hypervisor>(host: &Host<H>) -> Result<Devices, BackendError> {
    let counted = host.noxsd.call(Noxsd::counters)?.into();
    let broken = host.noxsd.call(Noxsd::broken)?.into_iter().map(|status| {
        let broken = status.devices.iter().filter(|device| device.broken.is_some()).count();
        (status.id, broken)
    });
    Ok(Devices { counted, broken: broken.collect() })
}
