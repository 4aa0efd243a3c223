// SPDX-License-Identifier: GPL-3.0-or-later
//! How much all guests use, for metrics and live displays.
//!
//! Unlike [`list`](super::list()), this reads no records and removes nothing, so that it costs little
//! among many guests: one look at the names, Xen's list of domains, and one request to `noxsd` for each
//! 1000 vifs.

use std::collections::HashMap;
use std::iter::Peekable;
use std::sync::Arc;
use std::vec;

use daemon::chain::chain;
use noxs_control::{Counted, Counters, DomainId, VbdStatus, VifStatus};
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
    /// Their vifs that `noxsd` serves, in the order of their guests.
    pub vifs: Vec<DeviceFigures<VifStatus>>,
    /// Their disks that `noxsd` serves, in the order of their guests.
    pub vbds: Vec<DeviceFigures<VbdStatus>>,
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
    pub name: Arc<str>,
    /// Its domain.
    pub identity: DomainIdentity,
    /// Its state, as far as Xen knows it.
    pub state: GuestState,
    /// What it uses of CPU and memory.
    pub usage: Usage,
    /// Number of devices that `noxsd` has taken out of service.
    pub broken_devices: usize,
}

/// How much has passed a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceFigures<T> {
    /// Which of [`Figures::guests`] has the device.
    pub guest: usize,
    /// Its number among the guest's devices of its kind.
    pub index: u16,
    /// How much has passed it.
    pub counters: T,
}

/// The devices of one kind, in the order of their domids, as noxsd lists them.
struct Devices<T>(Peekable<vec::IntoIter<Counted<T>>>);

impl<T> From<Vec<Counted<T>>> for Devices<T> {
    fn from(counted: Vec<Counted<T>>) -> Self {
        Self(counted.into_iter().peekable())
    }
}

impl<T> Devices<T> {
    /// Adds the devices of a domain, which is guest number `guest`. Must be called in the order of the
    /// domids.
    fn take(&mut self, id: DomainId, guest: usize, figures: &mut Vec<DeviceFigures<T>>) {
        // Those of a domain that had this domid before, or that has no name, are left out.
        while let Some(device) = self.0.next_if(|device| device.id.domid <= id.domid) {
            if device.id == id {
                let Counted { index, counters, .. } = device;
                figures.push(DeviceFigures { guest, index, counters });
            }
        }
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
    let ((counters, broken), unserved) = match devices(host) {
        Ok(devices) => (devices, None),
        Err(error) => (Default::default(), Some(chain(&error))),
    };
    let domains = host.xen.domain_list(DomId::DOM0)?;
    // A guest that is created or destroyed meanwhile may count as a domain without a name once.
    let changes = names.refresh(&host.records)?;
    let (mut unnamed, mut foreign, mut dom0) = (0, 0, None);
    let mut guests = Vec::with_capacity(domains.len());
    let mut vifs = Vec::with_capacity(counters.vifs.len());
    let mut vbds = Vec::with_capacity(counters.vbds.len());
    let (mut counted_vifs, mut counted_vbds) =
        (Devices::from(counters.vifs), Devices::from(counters.vbds));
    for info in &domains {
        if info.domid == DomId::DOM0 {
            dom0 = Some(Usage::from(info));
            continue;
        }
        if creator(host, info).is_none() {
            foreign += 1;
            continue;
        }
        let Some(name) = names.of(info.domid) else {
            unnamed += usize::from(!info.state.dying);
            continue;
        };
        let identity = DomainIdentity { domid: info.domid, handle: info.handle };
        let id = identity.into();
        counted_vifs.take(id, guests.len(), &mut vifs);
        counted_vbds.take(id, guests.len(), &mut vbds);
        guests.push(GuestFigures {
            name: Arc::clone(name),
            identity,
            // It has a name, so it is neither a shell nor a domain that was never complete.
            state: GuestState::of(Some(info), &Condition::Unrecorded),
            usage: Usage::from(info),
            broken_devices: broken.get(&id).copied().unwrap_or_default(),
        });
    }
    Ok(Figures { guests, vifs, vbds, dom0, unnamed, foreign, unserved, changes })
}

/// Returns what has passed the devices, and the number of broken devices of the few domains that have any.
///
/// # Errors
/// noxsd does not answer.
fn devices<H: Hypervisor>(
    host: &Host<H>,
) -> Result<(Counters, HashMap<DomainId, usize>), BackendError> {
    let counters = host.noxsd.call(Noxsd::counters)?;
    let broken = host.noxsd.call(Noxsd::broken)?.into_iter().map(|status| {
        let broken = status.devices.iter().filter(|device| device.broken.is_some()).count();
        (status.id, broken)
    });
    Ok((counters, broken.collect()))
}
