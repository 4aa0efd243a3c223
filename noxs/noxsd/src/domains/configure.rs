// SPDX-License-Identifier: GPL-3.0-or-later
//! Puts vifs on their bridges and files behind disks, once the guest is known.

use std::rc::Rc;
use std::time::Instant;

use noxs_control::{DiskImage, DomainId, Refusal, VifIdentity};

use super::{AttachedAs, DiskFile, DomainIndex, Domains, Task};
use crate::console::Clients;
use crate::host::{DomId, Host};
use crate::net::port::Receiver;

impl<H: Host> Domains<H> {
    /// Sets the identities of a domain's vifs and the files behind its disks, and starts to serve
    /// them, beginning with the requests that the guest has already put into their rings.
    ///
    /// # Errors
    /// The devices are configured already, or an identity or a file is invalid. No device is changed.
    pub fn configure(
        &mut self,
        id: DomainId,
        identities: &[VifIdentity],
        disks: (&[DiskImage], Vec<DiskFile>),
        now: Instant,
        clients: &mut impl Clients,
    ) -> Result<(), Refusal> {
        let index = self.find(id)?;
        let vifs = self.slots[index.0].devices.iter().filter_map(|device| device.kind.vif());
        let waiting = vifs.clone().filter(|vif| !vif.is_started());
        let (domid, count) = (id.domid, waiting.clone().count());
        let vbds = self.slots[index.0].devices.iter().filter_map(|device| device.kind.vbd());
        let vbd_count = vbds.clone().filter(|vbd| !vbd.is_started()).count();
        if count + vbd_count == 0 {
            return Err(Refusal::Invalid(match vifs.count() + vbds.count() {
                0 => format!("domain {domid} has no vif and no disk to configure"),
                _ => format!("the devices of domain {domid} are configured already"),
            }));
        }
        let (images, files) = disks;
        if vbd_count != images.len() {
            let named = images.len();
            return Err(Refusal::Invalid(format!(
                "{named} disks to configure: must be {vbd_count}, the disks of domain {domid}"
            )));
        }
        if count != identities.len() {
            let named = identities.len();
            return Err(Refusal::Invalid(format!(
                "{named} vifs to configure: must be {count}, the vifs of domain {domid}"
            )));
        }
        let unconfigured = waiting.map(|vif| (vif.index(), vif.bridge()));
        self.net.check_identities(unconfigured.clone(), identities)?;
        self.net.check_dom0(unconfigured.map(|(_, bridge)| bridge), identities)?;
        let images = self.open_images(images.iter(), files)?;
        self.start_vifs(index, identities, now, clients);
        self.start_disks(index, images, now, clients);
        tracing::debug!("domain {domid} configured: {count} vif, {vbd_count} disk");
        Ok(())
    }

    /// Puts the vifs of a domain that have no identity yet on their bridges. The caller has checked the identities.
    pub(super) fn start_vifs(
        &mut self,
        index: DomainIndex,
        identities: &[VifIdentity],
        now: Instant,
        clients: &mut impl Clients,
    ) {
        let mut identities = identities.iter();
        for id in self.device_ids(index) {
            let domain = &mut *self.slots[index.0];
            let device = &mut domain.devices[id.device.0];
            let (Some(vif), Some(port)) = (device.kind.vif_mut(), device.port) else { continue };
            if vif.is_started() {
                continue;
            }
            let Some(identity) = identities.next() else { break };
            let turn = self.turns.add(Task::Device(id));
            device.turn = Some(turn);
            let memory = Rc::clone(device.memory.as_ref().unwrap_or(&domain.memory));
            let domid = DomId(domain.id.domid);
            let handle = domain.id.handle;
            let receiver = Receiver { memory, domid, port, turn, handle };
            let guest = domain.guest;
            if domain.backoff.delay().is_some() {
                // The port may be masked since an event that no device was there for.
                self.unmask.push(port);
            }
            match vif.start(identity, receiver, &mut self.net, now) {
                Err(fault) => self.break_device(id, fault.into(), now, clients),
                Ok(_) if guest == AttachedAs::Running => self.resume(id),
                Ok(0) => {}
                Ok(_) => self.turns.queue(turn),
            }
        }
        self.share_waiting(index);
    }

    /// Shares what may wait for a domain among its vifs.
    pub(super) fn share_waiting(&mut self, index: DomainIndex) {
        let devices = &self.slots[index.0].devices;
        let vifs = devices.iter().filter_map(|device| device.kind.vif());
        let count = vifs.clone().count();
        vifs.for_each(|vif| vif.share(&mut self.net, count));
    }
}
