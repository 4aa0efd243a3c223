// SPDX-License-Identifier: GPL-3.0-or-later
//! Lists the vifs and the disks of a guest.

use noxs_control::DomainId;
use serde::Serialize;

use super::session::{find, withdraw_leftover};
use crate::domain::noxs_grant;
use crate::guests::error::LifecycleError;
use crate::guests::host::Host;
use crate::guests::resolve::Guest;
use crate::handle::DomainIdentity;
use crate::hypervisor::Hypervisor;
use crate::records::{PageDevice, PageDevices, Record};

/// The state of a device, with the numbers that XenStore has for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceStatus {
    /// The backend serves it.
    Connected,
    /// The guest was asked to stop using it, and has not answered.
    Closing,
    /// noxsd has taken it out of service.
    Broken,
}

impl DeviceStatus {
    /// Returns the number of the state in XenStore (`enum xenbus_state`).
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Connected => 4,
            Self::Closing => 5,
            Self::Broken => 6,
        }
    }
}

/// A vif of a guest.
#[derive(Clone, Debug, Serialize)]
pub struct ListedGuestVif {
    /// The guest.
    pub name: String,
    /// The guest's number.
    pub domid: u16,
    /// The vif's number.
    pub devid: u16,
    /// The domain of the backend.
    pub backend_domid: u16,
    /// Its MAC address.
    pub mac: Option<String>,
    /// Its bridge.
    pub bridge: String,
    /// Its address and prefix length, if its config has one.
    pub ipv4: Option<String>,
    /// Its IPv6 address and prefix length, if its config has one.
    pub ipv6: Option<String>,
    /// Its `vifname=`, if its config has one.
    pub vifname: Option<String>,
    /// Its state.
    pub state: DeviceStatus,
    /// The guest's end of its event channel.
    pub event_channel: Option<u32>,
    /// The grants of its rings.
    pub tx_ring: u32,
    /// The grants of its rings.
    pub rx_ring: u32,
}

/// A disk of a guest.
#[derive(Clone, Debug, Serialize)]
pub struct ListedDisk {
    /// The guest.
    pub name: String,
    /// The guest's number.
    pub domid: u16,
    /// The number of the disk's name, as XenStore has it.
    pub vdev_number: u32,
    /// Its name.
    pub vdev: String,
    /// Its number among the disks of the guest.
    pub number: u16,
    /// The domain of the backend.
    pub backend_domid: u16,
    /// The file or block device.
    pub target: String,
    /// Whether the guest may read it only.
    pub read_only: bool,
    /// Its state.
    pub state: DeviceStatus,
    /// The guest's end of its event channel.
    pub event_channel: Option<u32>,
    /// The grant of its ring.
    pub ring: u32,
}

/// Returns the vifs of a guest.
///
/// # Errors
/// There is no such guest, or another toolstack must be used.
pub fn list_vifs<H: Hypervisor>(
    host: &Host<H>,
    target: &str,
) -> Result<Vec<ListedGuestVif>, LifecycleError> {
    let (guest, record) = find(host, target, "network-list")?;
    let (devices, broken) = devices_of(host, &guest, &record);
    let listed = record.config.vifs.iter().zip(&devices.vifs).map(|(vif, device)| {
        let [tx_ring, rx_ring] = device.rings.map(|ring| noxs_grant(ring.into()).0);
        ListedGuestVif {
            name: record.name().to_owned(),
            domid: guest.domid.0,
            devid: device.number,
            backend_domid: 0,
            mac: vif.mac.map(|mac| mac.to_string()),
            bridge: vif.bridge.clone(),
            ipv4: vif.ip.map(|ip| format!("{}/{}", ip.address, ip.prefix)),
            ipv6: vif.ip6.map(|ip| format!("{}/{}", ip.address, ip.prefix)),
            vifname: vif.name.clone(),
            state: status(device, "vif", &broken),
            event_channel: devices.port.map(|port| port.0),
            tx_ring,
            rx_ring,
        }
    });
    Ok(listed.collect())
}

/// Returns the disks of a guest.
///
/// # Errors
/// There is no such guest, or another toolstack must be used.
pub fn list_disks<H: Hypervisor>(
    host: &Host<H>,
    target: &str,
) -> Result<Vec<ListedDisk>, LifecycleError> {
    let (guest, record) = find(host, target, "block-list")?;
    let (devices, broken) = devices_of(host, &guest, &record);
    let listed = record.config.disks.iter().zip(&devices.disks).map(|(disk, device)| ListedDisk {
        name: record.name().to_owned(),
        domid: guest.domid.0,
        vdev_number: disk.id,
        vdev: disk.vdev.clone(),
        number: device.number,
        backend_domid: 0,
        target: disk.target.display().to_string(),
        read_only: disk.read_only,
        state: status(device, "vbd", &broken),
        event_channel: devices.port.map(|port| port.0),
        ring: noxs_grant(device.rings[0].into()).0,
    });
    Ok(listed.collect())
}

/// Returns the devices of a guest, and the names of those that are broken. Withdraws what a killed
/// process has left.
fn devices_of<H: Hypervisor>(
    host: &Host<H>,
    guest: &Guest,
    record: &Record,
) -> (PageDevices, Vec<String>) {
    // What is left is listed nowhere, so a failure does not matter here; the next command tries again.
    let _ = withdraw_leftover(host, record);
    let page = record.device_page.as_ref();
    let devices = page.and_then(|page| page.devices.clone()).unwrap_or_else(|| {
        let attach = host.records.devices(guest.domid).ok().flatten();
        let ports = attach.iter().flat_map(|attach| {
            let console = attach.console.iter().map(|device| device.port);
            let vifs = attach.vifs.iter().map(|device| device.port);
            console.chain(vifs).chain(attach.vbds.iter().map(|device| device.port))
        });
        let port = ports.take(1).next().map(xen::units::Port);
        PageDevices::of(&record.config, port)
    });
    let id = DomainId::from(DomainIdentity { domid: guest.domid, handle: record.handle });
    // Without noxsd, nothing is known to be broken.
    let broken = host.noxsd.connect().and_then(|mut noxsd| noxsd.broken()).unwrap_or_default();
    let names = broken.into_iter().filter(|domain| domain.id == id).flat_map(|domain| {
        let broken = domain.devices.into_iter().filter(|device| device.broken.is_some());
        broken.map(|device| device.name)
    });
    (devices, names.collect())
}

fn status(device: &PageDevice, kind: &str, broken: &[String]) -> DeviceStatus {
    match device.is_closing {
        _ if broken.contains(&format!("{kind}{}", device.number)) => DeviceStatus::Broken,
        true => DeviceStatus::Closing,
        false => DeviceStatus::Connected,
    }
}
