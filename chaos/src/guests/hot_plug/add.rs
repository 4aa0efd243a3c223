// SPDX-License-Identifier: GPL-3.0-or-later
//! Adds a vif or a disk to a running guest.

use std::os::fd::BorrowedFd;
use std::slice;
use std::time::Duration;

use noxs::{Device, DeviceState, MAX_DEVICES, MAX_VIFS};
use noxs_control::{Attach, DeviceNumber, DiskIdentity, Refusal, VbdDevice, VifDevice};
use serde::Serialize;

use super::error::HotPlugError;
use super::session::{Patience, Session};
use crate::backends::disks::{self, OpenDisks, make_absolute};
use crate::backends::mtu;
use crate::backends::noxsd::connect_bridge;
use crate::clients::noxsd::BackendError;
use crate::config::{DiskConfig, VifConfig};
use crate::guests::conflict;
use crate::guests::error::LifecycleError;
use crate::guests::host::Host;
use crate::guests::vif_plan::{VifPlans, page_vif};
use crate::hypervisor::Hypervisor;
use crate::records::{PageDevice, PendingDevice};

/// A vif that was added.
#[derive(Clone, Debug, Serialize)]
pub struct AttachedVif {
    /// The guest.
    pub name: String,
    /// The guest's number.
    pub domid: u16,
    /// The vif's number.
    pub devid: u16,
    /// Its MAC address.
    pub mac: String,
    /// Its bridge.
    pub bridge: String,
}

/// A disk that was added.
#[derive(Clone, Debug, Serialize)]
pub struct AttachedDisk {
    /// The guest.
    pub name: String,
    /// The guest's number.
    pub domid: u16,
    /// The disk's number among the disks of the guest.
    pub number: u16,
    /// Its name.
    pub vdev: String,
}

/// Adds a vif to a running guest, which must take it within `timeout`.
///
/// # Errors
/// The guest cannot have it, an address is in use, or the guest does not take it. Nothing is left.
pub fn attach_vif<H: Hypervisor>(
    host: &Host<H>,
    target: &str,
    vif: VifConfig,
    timeout: Duration,
) -> Result<AttachedVif, LifecycleError> {
    let mut session = Session::open(host, target, "network-attach")?;
    let patience = Patience::new(timeout);
    let name = session.name().to_owned();
    session.add_vif(vif, patience).map_err(|error| error.about("attach a vif to", &name))
}

/// Adds a disk to a running guest, which must take it within `timeout`.
///
/// # Errors
/// The guest cannot have it, the file is in use or cannot be a disk, or the guest does not take it.
/// Nothing is left.
pub fn attach_disk<H: Hypervisor>(
    host: &Host<H>,
    target: &str,
    disk: DiskConfig,
    timeout: Duration,
) -> Result<AttachedDisk, LifecycleError> {
    let mut session = Session::open(host, target, "block-attach")?;
    let patience = Patience::new(timeout);
    let name = session.name().to_owned();
    session.add_disk(disk, patience).map_err(|error| error.about("attach a disk to", &name))
}

impl<H: Hypervisor> Session<'_, H> {
    fn add_vif(
        &mut self,
        mut vif: VifConfig,
        patience: Patience,
    ) -> Result<AttachedVif, LifecycleError> {
        self.check_runs()?;
        if self.devices.vifs.len() >= MAX_VIFS {
            return Err(HotPlugError::TooManyVifs { name: self.name().to_owned() }.into());
        }
        let names = self.record.config.vifs.iter().filter_map(|other| other.name.as_ref());
        if let Some(vifname) = names.into_iter().find(|name| vif.name.as_ref() == Some(name)) {
            let (name, vifname) = (self.name().to_owned(), vifname.clone());
            return Err(HotPlugError::VifNameTaken { name, vifname }.into());
        }
        mtu::check(slice::from_ref(&vif))?;
        let rings = self.room()?;
        let number = free_number(&self.devices.vifs);
        let configs = [vif.clone()];
        let mut plans = VifPlans::new(&configs)?.from(number.into());
        let device = DeviceNumber::Vif(number);
        let pending = PendingDevice { device, rings };

        let added = self.prepare(pending).and_then(|port| {
            let [tx_ring, rx_ring] = rings.map(|ring| Self::grant(ring).0);
            let bridge = vif.bridge.clone();
            let (index, port) = (number, port.0);
            let device = VifDevice { index, port, tx_ring, rx_ring, bridge, identity: None };
            let mut request = Attach { vifs: vec![device], ..self.request() };
            self.ask_noxsd(&mut request, &OpenDisks::default(), &mut plans)?;
            self.attach.vifs.append(&mut request.vifs.clone());
            self.save_devices()?;
            if !self.host.noxsd.is_same() {
                self.ask_noxsd(&mut request, &OpenDisks::default(), &mut plans)?;
            }
            let mac = request.vifs.first().and_then(|vif| vif.identity).map(|found| found.mac);
            vif.mac = mac.or(vif.mac);
            let entry = self.entries().zip(vif.mac).map(|(entries, mac)| {
                let page_vif = page_vif(&vif, mac);
                entries.vif(
                    (number, self.instance()),
                    rings.map(u64::from),
                    DeviceState::Connected,
                    &page_vif,
                )
            });
            self.ask_for(pending, entry, patience)
        });
        self.check_added(pending, added)?;
        let attached = AttachedVif {
            name: self.name().to_owned(),
            domid: self.id.domid.0,
            devid: number,
            mac: vif.mac.map(|mac| mac.to_string()).unwrap_or_default(),
            bridge: vif.bridge.clone(),
        };
        self.record.config.vifs.push(vif);
        let instance = self.instance();
        self.devices.vifs.push(PageDevice { number, instance, rings, is_closing: false });
        self.devices.pending = None;
        self.save()?;
        Ok(attached)
    }

    fn add_disk(
        &mut self,
        mut disk: DiskConfig,
        patience: Patience,
    ) -> Result<AttachedDisk, LifecycleError> {
        self.check_runs()?;
        make_absolute(&mut disk.target)?;
        if self.record.config.disks.iter().any(|other| other.id == disk.id) {
            let name = self.name().to_owned();
            return Err(HotPlugError::DiskTwice { name, vdev: disk.vdev }.into());
        }
        let [ring] = self.room()?;
        let rings = [ring, ring];
        let number = free_number(&self.devices.disks);
        let opened = OpenDisks::open(slice::from_ref(&disk));
        let identity = match &opened {
            Ok(open) => open.images().first().map(|image| image.identity),
            // Perhaps because noxsd has claimed the block device for this guest.
            Err(_) => disks::identity(&disk.target),
        };
        if let Some(vdev) = identity.and_then(|identity| self.holder(identity, disk.read_only)) {
            let name = self.name().to_owned();
            return Err(HotPlugError::DiskHeld { name, path: disk.target, vdev }.into());
        }
        let open = opened?;
        let device = DeviceNumber::Vbd(number);
        let pending = PendingDevice { device, rings };
        let mut plans = VifPlans::new(&[])?;

        let added = self.prepare(pending).and_then(|port| {
            let image = open.images().first().cloned();
            let (index, port, ring_grant) = (number, port.0, Self::grant(ring).0);
            let device = VbdDevice { index, port, ring: ring_grant, image };
            let mut request = Attach { vbds: vec![device], ..self.request() };
            self.ask_noxsd(&mut request, &open, &mut plans)?;
            self.attach.vbds.append(&mut request.vbds.clone());
            self.save_devices()?;
            open.keep_connected()?;
            if !self.host.noxsd.is_same() {
                self.ask_noxsd(&mut request, &open, &mut plans)?;
            }
            let page_disk = open.page_entries().into_iter().next();
            let entry = self.entries().zip(page_disk).map(|(entries, page_disk)| {
                entries.disk(
                    (number, self.instance()),
                    ring.into(),
                    DeviceState::Connected,
                    &page_disk,
                )
            });
            self.ask_for(pending, entry, patience)
        });
        self.check_added(pending, added)?;
        let (name, vdev) = (self.name().to_owned(), disk.vdev.clone());
        self.record.config.disks.push(disk);
        let instance = self.instance();
        self.devices.disks.push(PageDevice { number, instance, rings, is_closing: false });
        self.devices.pending = None;
        self.save()?;
        Ok(AttachedDisk { name, domid: self.id.domid.0, number, vdev })
    }

    /// Returns the name of the guest's disk that has this identity, if that or a new disk is written.
    fn holder(&self, identity: DiskIdentity, read_only: bool) -> Option<String> {
        let has_it = |number| {
            let image = |vbd: &VbdDevice| (vbd.index == number).then(|| vbd.image.clone())?;
            let image = self.attach.vbds.iter().find_map(image);
            image.is_some_and(|image| image.excludes(identity, read_only))
        };
        let mut disks = self.record.config.disks.iter().zip(&self.devices.disks);
        let (config, _) = disks.find(|(_, device)| has_it(device.number))?;
        Some(config.vdev.clone())
    }

    /// Returns rings for one more device.
    fn room<const RINGS: usize>(&self) -> Result<[u16; RINGS], LifecycleError> {
        let full =
            || LifecycleError::from(HotPlugError::NoRoomForDevice { name: self.name().to_owned() });
        let count = usize::from(self.record.config.console)
            + self.devices.vifs.len()
            + self.devices.disks.len();
        if count >= MAX_DEVICES {
            return Err(full());
        }
        self.free_rings().ok_or_else(full)
    }

    /// Returns a request without devices.
    fn request(&self) -> Attach {
        Attach { id: self.attach.id, console: None, vifs: Vec::new(), vbds: Vec::new() }
    }

    /// Has noxsd attach the device of a request, with an identity of `plans` if it is a vif. Connects
    /// its bridge first if noxsd does not serve that yet.
    fn ask_noxsd(
        &self,
        request: &mut Attach,
        disks: &OpenDisks,
        plans: &mut VifPlans<'_>,
    ) -> Result<(), LifecycleError> {
        let files: Vec<BorrowedFd<'_>> = disks.files().collect();
        let mut connected = false;
        loop {
            for (vif, identity) in request.vifs.iter_mut().zip(plans.identities()) {
                vif.identity = Some(identity);
            }
            let asked = self.host.noxsd.call(|noxsd| {
                disks.lift_file_limit(noxsd)?;
                noxsd.attach_devices(request.clone(), &files)
            });
            match asked {
                // The name comes from noxsd, which must not choose on which bridge this process, as
                // root, opens a tap.
                Err(BackendError::Refused(Refusal::NoSwitch(bridge)))
                    if !connected && request.vifs.iter().any(|vif| vif.bridge == bridge) =>
                {
                    connect_bridge(self.host.links(), bridge)?;
                    connected = true;
                }
                Err(error) => {
                    let error = LifecycleError::from(error);
                    let settled = match error.conflict() {
                        Some(in_use) => conflict::settle(self.host, plans, &in_use)?,
                        None => false,
                    };
                    if !settled {
                        return Err(conflict::explain(self.host, plans, error));
                    }
                }
                Ok(()) => return Ok(()),
            }
        }
    }

    /// Has the guest take a device.
    fn ask_for(
        &self,
        pending: PendingDevice,
        entry: Option<Device>,
        patience: Patience,
    ) -> Result<(), LifecycleError> {
        let Some(entry) = entry else {
            return Err(LifecycleError::NoRecord { target: self.name().to_owned() });
        };
        self.ask(pending.device, Some(entry), patience)
    }

    /// Withdraws a device that was not added.
    fn check_added(
        &mut self,
        pending: PendingDevice,
        added: Result<(), LifecycleError>,
    ) -> Result<(), LifecycleError> {
        added.inspect_err(|_| {
            // The error is not reported, because there is another one. The record says that the
            // device is pending, so the next command withdraws it.
            let _ = self.withdraw(pending);
        })
    }
}

/// Returns the lowest number that no device has.
fn free_number(devices: &[PageDevice]) -> u16 {
    let is_free = |number: &u16| devices.iter().all(|device| device.number != *number);
    (0..u16::MAX).find(is_free).unwrap_or(u16::MAX)
}
