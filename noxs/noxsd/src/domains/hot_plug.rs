// SPDX-License-Identifier: GPL-3.0-or-later
//! Adds vifs and disks to a domain that is served already, and removes them.
//!
//! A device that is added has a mapping of its own. Those that a domain had when it was attached share
//! one: the ring pages of such a device stay mapped until the domain is detached.

use std::rc::Rc;
use std::time::Instant;

use noxs::{MAX_DEVICES, MAX_VIFS};
use noxs_control::{Attach, DeviceNumber, DomainId, Refusal};

use super::attach::refusal;
use super::device::{Device, Kind, Resources, requested};
use super::{AttachFiles, AttachedAs, DeviceId, DeviceIndex, DiskFile, DomainIndex, Domains};
use crate::console::Clients;
use crate::host::{DomId, GrantRef, Host, LocalPort, RemotePort};
use crate::net::identities;

impl<H: Host> Domains<H> {
    /// Adds vifs and disks to a domain, and serves them at once. Detaches devices of the same kind and
    /// number first. Attaches a domain that is not attached.
    ///
    /// # Errors
    /// The request contradicts itself or what is attached, or Xen refuses. The domain has none of the
    /// devices then.
    pub fn attach_devices(
        &mut self,
        attach: &Attach,
        disks: Vec<DiskFile>,
        now: Instant,
        clients: &mut impl Clients,
    ) -> Result<(), Refusal> {
        let domid = DomId(attach.id.domid);
        let invalid = |text: String| Err(Refusal::Invalid(text));
        let is_known = attach.vifs.iter().all(|vif| vif.identity.is_some())
            && attach.vbds.iter().all(|vbd| vbd.image.is_some());
        if attach.console.is_some() || attach.is_empty() || !is_known {
            return invalid(
                "devices to add must be vifs with identities and disks with images".into(),
            );
        }
        if self.left_out.iter().any(|domain| domain.status.id == attach.id) {
            return invalid(format!("domain {domid} is not served; see chaos list"));
        }
        let Ok(index) = self.find(attach.id) else {
            let files = AttachFiles { log: None, disks };
            return self.attach(attach, files, AttachedAs::New, now, clients);
        };
        // A broken one is not configured any more.
        let waits =
            |device: &Device<H::Memory>| device.fault.is_none() && device.kind.is_unconfigured();
        if self.slots[index.0].devices.iter().any(waits) {
            return invalid(format!("the devices of domain {domid} are not configured yet"));
        }
        for number in numbers(attach) {
            self.drop_device(index, number, clients);
        }

        self.check_room(index, attach)?;
        let bridges = self.net.bridges(&attach.vifs)?;
        let identities = identities(&attach.vifs)?.unwrap_or_default();
        let indices = attach.vifs.iter().map(|vif| vif.index);
        self.net.check_identities(indices.zip(bridges.iter().copied()), &identities)?;
        self.net.check_dom0(bridges.iter().copied(), &identities)?;
        let images = self.images(&attach.vbds, disks)?.unwrap_or_default();
        let mut pages: Vec<GrantRef> = Vec::new();
        for device in requested(attach) {
            device.add_pages(&mut pages);
        }
        let memory = self.host.map(domid, &pages).map_err(refusal("map the device's rings"))?;
        let devices = self.slots[index.0].devices.iter();
        let bound: Vec<(RemotePort, LocalPort)> =
            devices.filter_map(|device| Some((device.remote, device.port?))).collect();
        let ports = self.bind(domid, bound, requested(attach))?;

        // From here on nothing fails.
        let memory = Rc::new(memory);
        let log_space = Rc::clone(&self.log_space);
        let mut resources = Resources { log: None, log_space, bridges: bridges.into_iter() };
        let mut base = 0;
        for (device, port) in requested(attach).zip(ports) {
            let remote = device.port();
            let Some(kind) = device.create(&*memory, &mut base, &mut resources, now) else {
                continue;
            };
            self.by_port.insert(port.0, index);
            let memory = Some(Rc::clone(&memory));
            let device = Device { port: Some(port), remote, memory, turn: None, fault: None, kind };
            let devices = &mut self.slots[index.0].devices;
            match devices.iter_mut().find(|device| matches!(device.kind, Kind::Detached)) {
                Some(place) => *place = device,
                None => devices.push(device),
            }
        }
        self.start_vifs(index, &identities, now, clients);
        self.start_disks(index, images, now, clients);
        tracing::debug!(
            "domain {domid} has {} more vif, {} more disk",
            attach.vifs.len(),
            attach.vbds.len()
        );
        Ok(())
    }

    /// Checks that a domain has room for more devices.
    fn check_room(&self, index: DomainIndex, attach: &Attach) -> Result<(), Refusal> {
        let devices = self.slots[index.0].devices.iter();
        let devices = devices.filter(|device| !matches!(device.kind, Kind::Detached));
        let vifs = devices.clone().filter(|device| device.kind.vif().is_some()).count();
        let (vifs, all) = (vifs + attach.vifs.len(), devices.count() + requested(attach).count());
        if vifs > MAX_VIFS {
            return Err(Refusal::Invalid(format!(
                "the domain would have {vifs} vifs: must be at most {MAX_VIFS}"
            )));
        }
        if all > MAX_DEVICES {
            return Err(Refusal::Invalid(format!(
                "the domain would have {all} devices: must be at most {MAX_DEVICES}"
            )));
        }
        Ok(())
    }

    /// Detaches a device of a domain. A domain without devices is forgotten.
    ///
    /// # Errors
    /// There is no such device.
    pub fn detach_device(
        &mut self,
        id: DomainId,
        device: DeviceNumber,
        clients: &mut impl Clients,
    ) -> Result<(), Refusal> {
        if !self.leave_out_without(id, device) {
            let index = self.find(id)?;
            if !self.drop_device(index, device, clients) {
                return Err(Refusal::NoDevice);
            }
            tracing::debug!("domain {} has no {device} any more", id.domid);
            if self.slots[index.0].devices.is_empty() {
                self.remove(index, clients);
            }
        }
        self.attach_left_out(clients);
        Ok(())
    }

    /// Releases a device and frees its place. Returns whether there was such a device.
    fn drop_device(
        &mut self,
        domain: DomainIndex,
        number: DeviceNumber,
        clients: &mut impl Clients,
    ) -> bool {
        let devices = &self.slots[domain.0].devices;
        let is_it = |device: &Device<H::Memory>| device.kind.number() == Some(number);
        let Some(place) = devices.iter().position(is_it) else { return false };
        self.release(DeviceId { domain, device: DeviceIndex(place) }, clients);
        let devices = &mut self.slots[domain.0].devices;
        let device = &mut devices[place];
        (device.kind, device.memory, device.fault) = (Kind::Detached, None, None);
        while devices.last().is_some_and(|device| matches!(device.kind, Kind::Detached)) {
            devices.pop();
        }
        if devices.iter().all(|device| device.fault.is_none()) {
            self.broken.remove(&domain);
        }
        self.share_pages(domain);
        self.share_waiting(domain);
        true
    }
}

/// Returns the numbers of the devices of a request.
fn numbers(attach: &Attach) -> impl Iterator<Item = DeviceNumber> {
    let vifs = attach.vifs.iter().map(|vif| DeviceNumber::Vif(vif.index));
    vifs.chain(attach.vbds.iter().map(|vbd| DeviceNumber::Vbd(vbd.index)))
}
