// SPDX-License-Identifier: GPL-3.0-or-later
//! Removes a vif or a disk from a running guest.

use std::time::Duration;

use noxs::MacAddr;
use noxs_control::DeviceNumber;

use super::error::HotPlugError;
use super::list::broken;
use super::session::{Patience, Session};
use crate::config::vdev_number;
use crate::guests::error::LifecycleError;
use crate::guests::host::Host;
use crate::hypervisor::Hypervisor;
use crate::records::PendingDevice;

/// How a device is removed.
#[derive(Clone, Copy, Debug)]
pub struct DetachOptions {
    /// Without asking the guest, which may still use the device.
    pub force: bool,
    /// How long the guest may take to stop using it.
    pub timeout: Duration,
}

/// Removes a vif, given by its number or its MAC address. The guest must stop using it first, unless
/// noxsd does not serve it any more.
///
/// # Errors
/// There is no such vif, or the guest does not stop using it and keeps it.
pub fn detach_vif<H: Hypervisor>(
    host: &Host<H>,
    target: &str,
    vif: &str,
    options: DetachOptions,
) -> Result<(), LifecycleError> {
    let mut session = Session::open(host, target, "network-detach")?;
    let patience = Patience::new(options.timeout);
    let name = session.name().to_owned();
    session
        .remove_vif(vif, options.force, patience)
        .map_err(|error| error.about("detach a vif from", &name))
}

/// Removes a disk, given by its name, such as `xvda`, or the number of the name. The guest must stop
/// using it first, unless noxsd does not serve it any more.
///
/// # Errors
/// There is no such disk, or the guest does not stop using it and keeps it.
pub fn detach_disk<H: Hypervisor>(
    host: &Host<H>,
    target: &str,
    disk: &str,
    options: DetachOptions,
) -> Result<(), LifecycleError> {
    let mut session = Session::open(host, target, "block-detach")?;
    let patience = Patience::new(options.timeout);
    let name = session.name().to_owned();
    session
        .remove_disk(disk, options.force, patience)
        .map_err(|error| error.about("detach a disk from", &name))
}

impl<H: Hypervisor> Session<'_, H> {
    fn remove_vif(
        &mut self,
        vif: &str,
        force: bool,
        patience: Patience,
    ) -> Result<(), LifecycleError> {
        let place = match (vif.parse::<u16>(), vif.parse::<MacAddr>()) {
            (Ok(number), _) => self.devices.vifs.iter().position(|vif| vif.number == number),
            (_, Ok(mac)) => self.record.config.vifs.iter().position(|vif| vif.mac == Some(mac)),
            _ => None,
        };
        let place = place.filter(|place| *place < self.devices.vifs.len());
        let place = place.ok_or_else(|| self.no_device("vif", vif, "network-list"))?;
        let device = DeviceNumber::Vif(self.devices.vifs[place].number);
        if !force && !self.is_lost(device) {
            self.close(device, patience, |session, is_closing| {
                session.devices.vifs[place].is_closing = is_closing;
            })?;
        }
        if place < self.record.config.vifs.len() {
            self.record.config.vifs.remove(place);
        }
        let rings = self.devices.vifs.remove(place).rings;
        self.withdraw(PendingDevice { device, rings }).map(drop)
    }

    fn remove_disk(
        &mut self,
        disk: &str,
        force: bool,
        patience: Patience,
    ) -> Result<(), LifecycleError> {
        let id = vdev_number(disk).or_else(|| disk.parse().ok());
        let place = self.record.config.disks.iter().position(|found| Some(found.id) == id);
        let place = place.filter(|place| *place < self.devices.disks.len());
        let place = place.ok_or_else(|| self.no_device("disk", disk, "block-list"))?;
        let device = DeviceNumber::Vbd(self.devices.disks[place].number);
        if !force && !self.is_lost(device) {
            self.close(device, patience, |session, is_closing| {
                session.devices.disks[place].is_closing = is_closing;
            })?;
        }
        self.record.config.disks.remove(place);
        let rings = self.devices.disks.remove(place).rings;
        // A warning would not help: the disk is removed, and its image is closed later.
        self.withdraw(PendingDevice { device, rings }).map(|images| drop(images.finish()))
    }

    /// Returns whether noxsd does not serve a device any more. The guest may wait for it, and would then
    /// not answer.
    fn is_lost(&self, device: DeviceNumber) -> bool {
        broken(self.host, self.attach.id).contains(&device.to_string())
    }

    /// Asks the guest to stop using a device. `mark` says in the record whether the device is closing.
    fn close(
        &mut self,
        device: DeviceNumber,
        patience: Patience,
        mark: impl Fn(&mut Self, bool),
    ) -> Result<(), LifecycleError> {
        self.check_runs()?;
        mark(self, true);
        self.count_request();
        self.save()?;
        let asked = self.ask(device, None, patience);
        if let Err(LifecycleError::HotPlug(HotPlugError::Unsupported { .. })) = asked {
            // It goes on using the device. If it is late, it may stop at any time, so the device then
            // stays closing.
            mark(self, false);
            self.count_request();
            self.save()?;
            self.announce()?;
        }
        asked
    }

    fn no_device(&self, kind: &'static str, device: &str, command: &'static str) -> LifecycleError {
        let (name, device) = (self.name().to_owned(), device.to_owned());
        HotPlugError::NoSuchDevice { name, kind, device, command }.into()
    }
}
