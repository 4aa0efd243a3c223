// SPDX-License-Identifier: GPL-3.0-or-later
//! The identity of a guest's vif.

use noxs::MacAddr;
use noxs_control::VifIdentity;

use super::error::LifecycleError;
use crate::config::VifConfig;
use crate::domain::DevicePageVif;
use crate::random;

/// A vif whose MAC address is decided, also if its config leaves it open.
pub(super) struct VifPlan<'a> {
    pub(super) config: &'a VifConfig,
    pub(super) mac: MacAddr,
}

impl<'a> VifPlan<'a> {
    pub(super) fn new(config: &'a VifConfig) -> Result<Self, LifecycleError> {
        let mac = match config.mac {
            Some(mac) => mac,
            None => automatic_mac(config)?,
        };
        Ok(Self { config, mac })
    }

    pub(super) fn device_page_entry(&self) -> DevicePageVif {
        DevicePageVif { mac: self.mac, mtu: self.config.mtu, ipv4: self.config.ip }
    }

    pub(super) fn identity(&self) -> VifIdentity {
        VifIdentity {
            mac: self.mac,
            ipv4: self.config.ip.map(|ip| ip.address),
            mtu: self.config.mtu,
            rate: self.config.rate,
        }
    }
}

/// Returns a MAC address with Xen's prefix, as xl does.
///
/// It is derived from the guest's IPv4 address, if there is one: then the guests of a network
/// differ, and a successor with the same IPv4 address is reached by neighbours that still have its
/// predecessor in their ARP cache. Otherwise it is random.
fn automatic_mac(config: &VifConfig) -> Result<MacAddr, LifecycleError> {
    let mut low = [0; 3];
    match config.ip {
        Some(ip) => low.copy_from_slice(&ip.address.octets()[1..]),
        None => random::fill(&mut low).map_err(LifecycleError::Process)?,
    }
    let [a, b, c] = low;
    Ok(MacAddr([0x00, 0x16, 0x3e, a & 0x7f, b, c]))
}
