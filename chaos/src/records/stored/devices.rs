// SPDX-License-Identifier: GPL-3.0-or-later
//! The devices of a device page in versions 8 and 9 of the record. They may change while the guest
//! runs.
//!
//! These types are a file format, as those of the config are.

use bincode::{Decode, Encode};
use noxs::MAX_RING_PAGES;
use noxs_control::DeviceNumber;
use xen::units::Port;

use crate::records::record::{PageDevice, PageDevices, PendingDevice};

#[derive(Encode, Decode)]
pub(super) struct StoredDevices {
    port: Option<u32>,
    vifs: Vec<StoredDevice>,
    disks: Vec<StoredDevice>,
    pending: Option<StoredPending>,
}

#[derive(Encode, Decode)]
struct StoredDevice {
    number: u16,
    instance: u32,
    rings: [u16; 2],
    is_closing: bool,
}

#[derive(Encode, Decode)]
enum StoredPending {
    Vif { number: u16, rings: [u16; 2] },
    Vbd { number: u16, rings: [u16; 2] },
}

impl StoredDevices {
    /// Returns whether a guest can have all rings.
    pub(super) fn is_valid(&self) -> bool {
        let listed = self.vifs.iter().chain(&self.disks).flat_map(|device| device.rings);
        let pending = self.pending.iter().flat_map(|pending| match pending {
            StoredPending::Vif { rings, .. } | StoredPending::Vbd { rings, .. } => *rings,
        });
        listed.chain(pending).all(|ring| usize::from(ring) < MAX_RING_PAGES)
    }
}

impl From<&PageDevices> for StoredDevices {
    fn from(devices: &PageDevices) -> Self {
        let list = |devices: &[PageDevice]| devices.iter().map(StoredDevice::from).collect();
        Self {
            port: devices.port.map(|port| port.0),
            vifs: list(&devices.vifs),
            disks: list(&devices.disks),
            pending: devices.pending.map(|PendingDevice { device, rings }| match device {
                DeviceNumber::Vif(number) => StoredPending::Vif { number, rings },
                DeviceNumber::Vbd(number) => StoredPending::Vbd { number, rings },
            }),
        }
    }
}

impl From<StoredDevices> for PageDevices {
    fn from(stored: StoredDevices) -> Self {
        let list = |devices: Vec<StoredDevice>| devices.into_iter().map(PageDevice::from).collect();
        Self {
            port: stored.port.map(Port),
            vifs: list(stored.vifs),
            disks: list(stored.disks),
            pending: stored.pending.map(|pending| match pending {
                StoredPending::Vif { number, rings } => {
                    PendingDevice { device: DeviceNumber::Vif(number), rings }
                }
                StoredPending::Vbd { number, rings } => {
                    PendingDevice { device: DeviceNumber::Vbd(number), rings }
                }
            }),
        }
    }
}

impl From<&PageDevice> for StoredDevice {
    fn from(device: &PageDevice) -> Self {
        let PageDevice { number, instance, rings, is_closing } = *device;
        Self { number, instance, rings, is_closing }
    }
}

impl From<StoredDevice> for PageDevice {
    fn from(stored: StoredDevice) -> Self {
        let StoredDevice { number, instance, rings, is_closing } = stored;
        Self { number, instance, rings, is_closing }
    }
}
