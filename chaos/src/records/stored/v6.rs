// SPDX-License-Identifier: GPL-3.0-or-later
//! Version 6 of the record, which chaos writes. It also lists the devices of the device page, because
//! they may change while the guest runs.

use bincode::{Decode, Encode};
use daemon::encoding::{self, DecodeError};
use noxs::MAX_RING_PAGES;
use noxs_control::DeviceNumber;
use xen::units::{DomId, DomainHandle, Gfn, Port};

use super::config::{LIMIT, StoredConfig};
use super::error::StoredError;
use crate::records::record::{
    DevicePageRecord, PageDevice, PageDevices, PendingDevice, Record, RequestId,
};

/// First byte of a record of this version.
pub(super) const VERSION: u8 = 6;

#[derive(Encode, Decode)]
struct Stored {
    domid: u16,
    handle: [u8; 16],
    config: StoredConfig,
    created_ms: u64,
    device_page: Option<StoredDevicePage>,
    paused: bool,
    owner: u32,
    request: Option<RequestId>,
    renamed_from: Option<String>,
}

#[derive(Encode, Decode)]
struct StoredDevicePage {
    gfn: u64,
    answer_gfn: u64,
    sysctl_port: u32,
    requests: u32,
    devices: Option<StoredDevices>,
}

#[derive(Encode, Decode)]
struct StoredDevices {
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

/// Encodes a record. Returns `None` if it is longer than [`LIMIT`].
pub(super) fn encode(record: &Record) -> Option<Vec<u8>> {
    let stored = Stored {
        domid: record.domid.0,
        handle: record.handle.0,
        config: StoredConfig::from(&record.config),
        created_ms: record.created_ms,
        device_page: record.device_page.as_ref().map(|page| StoredDevicePage {
            gfn: page.gfn.0,
            answer_gfn: page.answer_gfn.0,
            sysctl_port: page.sysctl_port.0,
            requests: page.requests,
            devices: page.devices.as_ref().map(StoredDevices::from),
        }),
        paused: record.paused,
        owner: record.owner,
        request: record.request,
        renamed_from: record.renamed_from.clone(),
    };
    encoding::encode::<LIMIT>(VERSION, &stored)
}

/// Decodes a record of this version.
pub(super) fn decode(bytes: &[u8]) -> Result<Record, StoredError> {
    let stored: Stored =
        encoding::decode::<_, LIMIT>(VERSION, bytes).map_err(StoredError::Bytes)?;
    let devices = stored.device_page.as_ref().and_then(|page| page.devices.as_ref());
    if devices.is_some_and(|devices| !devices.is_valid()) {
        return Err(StoredError::Bytes(DecodeError::Malformed));
    }
    Ok(Record {
        domid: DomId(stored.domid),
        handle: DomainHandle(stored.handle),
        config: stored.config.check()?,
        created_ms: stored.created_ms,
        device_page: stored.device_page.map(|page| DevicePageRecord {
            gfn: Gfn(page.gfn),
            answer_gfn: Gfn(page.answer_gfn),
            sysctl_port: Port(page.sysctl_port),
            requests: page.requests,
            devices: page.devices.map(PageDevices::from),
        }),
        paused: stored.paused,
        owner: stored.owner,
        request: stored.request,
        renamed_from: stored.renamed_from,
    })
}

impl StoredDevices {
    /// Returns whether a guest can have all rings.
    fn is_valid(&self) -> bool {
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
