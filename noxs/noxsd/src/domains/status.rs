//! Telling how devices are.

use noxs_control::{DeviceStatus, DomainId, DomainStatus, MAX_DROPPED, Refusal, VifDrops};

use super::attach::MAX_VIFS;
use super::{Backend, Domain, Which};
use crate::host::Host;
use crate::net::vif::Traffic;

impl<H: Host> Backend<H> {
    /// How the devices of a domain are.
    ///
    /// # Errors
    /// There is no such domain.
    pub fn status(&self, id: DomainId) -> Result<DomainStatus, Refusal> {
        Ok(self.domains[self.find(id)?].status())
    }

    /// How the domains are that have lost a device.
    pub fn broken(&self) -> impl Iterator<Item = DomainStatus> {
        self.broken.iter().map(|index| self.domains[*index].status())
    }

    /// The vifs that have dropped frames, of the domains from this number on; and the number to
    /// go on from, if there may be more. Looks at each domain.
    pub fn dropped(&self, from: u16) -> (Vec<VifDrops>, Option<u16>) {
        let mut drops = Vec::new();
        for (domid, index) in self.by_domid.entries_from(from.into()) {
            if drops.len() + MAX_VIFS > MAX_DROPPED {
                return (drops, u16::try_from(domid).ok());
            }
            let domain = &*self.domains[index];
            drops.extend(domain.vifs.iter().filter_map(|vif| {
                let (index, frames) = (vif.backend.index, vif.backend.traffic.dropped_frames);
                (frames > 0).then_some(VifDrops { id: domain.id, index, frames })
            }));
        }
        (drops, None)
    }
}

impl Which {
    pub(super) fn name<M>(self, domain: &Domain<M>) -> String {
        match self {
            Self::Console => "console".to_owned(),
            Self::Vif(number) => format!("vif{}", domain.vifs[number].backend.index),
            Self::Prepared(number) => format!("vif{}", domain.prepared[number].index),
        }
    }
}

impl<M> Domain<M> {
    fn status(&self) -> DomainStatus {
        let status = |which: Which| {
            let name = which.name(self);
            let (broken, traffic) = match which {
                Which::Console => {
                    let console = self.console.as_ref();
                    let traffic = console.map_or_else(Traffic::default, |console| Traffic {
                        from_guest_bytes: console.backend.printed,
                        to_guest_bytes: console.backend.typed,
                        ..Traffic::default()
                    });
                    (console.and_then(|console| console.broken.clone()), traffic)
                }
                Which::Vif(number) => {
                    let vif = &self.vifs[number];
                    (vif.broken.clone(), vif.backend.traffic)
                }
                Which::Prepared(_) => (None, Traffic::default()),
            };
            DeviceStatus {
                name,
                broken,
                from_guest_bytes: traffic.from_guest_bytes,
                to_guest_bytes: traffic.to_guest_bytes,
                from_guest_frames: traffic.from_guest_frames,
                to_guest_frames: traffic.to_guest_frames,
                dropped_frames: traffic.dropped_frames,
            }
        };
        DomainStatus { id: self.id, devices: self.devices().map(status).collect() }
    }
}
