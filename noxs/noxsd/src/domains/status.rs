// SPDX-License-Identifier: GPL-3.0-or-later
//! Reports the states of devices to toolstacks.

use noxs::MAX_VIFS;
use noxs_control::{
    COUNTERS_SIZE, Counted, Counters, DeviceCounters, DeviceNumber, DomainId, DomainStatus,
    MAX_DROPPED, Refusal, VifDrops,
};

use super::{DomainIndex, Domains};
use crate::host::Host;

impl<H: Host> Domains<H> {
    /// Returns the state of a domain's devices.
    ///
    /// # Errors
    /// There is no such domain.
    pub fn status(&self, id: DomainId) -> Result<DomainStatus, Refusal> {
        Ok(self.domain_status(self.find(id)?))
    }

    /// Returns the states of the domains that have lost a device, or that are not served.
    pub fn broken(&self) -> impl Iterator<Item = DomainStatus> {
        let broken = self.broken.iter().map(|index| self.domain_status(*index));
        self.left_out.iter().map(|domain| domain.status.clone()).chain(broken)
    }

    /// Returns the vifs that have dropped frames, of the domains from this domid on, and the domid
    /// to continue from if there may be more. Looks at each domain.
    pub fn dropped(&self, from: u16) -> (Vec<VifDrops>, Option<u16>) {
        let mut drops = Vec::new();
        for (domid, index) in self.by_domid.entries_from(from.into()) {
            if drops.len() + MAX_VIFS > MAX_DROPPED {
                return (drops, u16::try_from(domid).ok());
            }
            let domain = &*self.slots[index.0];
            drops.extend(domain.devices.iter().filter_map(|device| {
                let vif = device.kind.vif()?;
                let frames = vif.status(&self.net).dropped_frames;
                (frames > 0).then_some(VifDrops { id: domain.id, index: vif.index(), frames })
            }));
        }
        (drops, None)
    }

    /// Returns how much has passed the vifs and disks of the domains from this domid on, and the domid
    /// to continue from if there may be more. Looks at each domain.
    pub fn counters(&self, from: u16) -> (Counters, Option<u16>) {
        let mut all = Counters::default();
        for (domid, index) in self.by_domid.entries_from(from.into()) {
            let domain = &*self.slots[index.0];
            let before = (all.vifs.len(), all.vbds.len());
            for device in &domain.devices {
                let Some(DeviceNumber::Vif(index) | DeviceNumber::Vbd(index)) =
                    device.kind.number()
                else {
                    continue;
                };
                match device.kind.counters(&self.net) {
                    Some(DeviceCounters::Vif(counters)) => {
                        all.vifs.push(Counted { id: domain.id, index, counters });
                    }
                    Some(DeviceCounters::Vbd(counters)) => {
                        all.vbds.push(Counted { id: domain.id, index, counters });
                    }
                    Some(DeviceCounters::Console(_)) | None => {}
                }
            }
            if all.size() > COUNTERS_SIZE {
                // The whole domain is in the next part.
                all.vifs.truncate(before.0);
                all.vbds.truncate(before.1);
                return (all, u16::try_from(domid).ok());
            }
        }
        (all, None)
    }

    /// Returns whether [`take_lost_device`](Self::take_lost_device) will return `true`.
    #[must_use]
    pub fn has_lost_device(&self) -> bool {
        self.has_lost_device
    }

    /// Returns whether a guest has lost a device since the last call.
    pub fn take_lost_device(&mut self) -> bool {
        std::mem::take(&mut self.has_lost_device)
    }

    fn domain_status(&self, index: DomainIndex) -> DomainStatus {
        let domain = &*self.slots[index.0];
        let devices = domain.devices.iter().filter_map(|device| device.status(&self.net)).collect();
        DomainStatus { id: domain.id, devices }
    }
}
