//! What a guest's vif is to its network.

use noxs::MacAddr;
use noxs_control::VifIdentity;

use super::error::LifecycleError;
use crate::config::VifConfig;
use crate::domain::DevicePageVif;
use crate::random;

/// A vif with everything decided that its configuration leaves open.
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

/// Returns an address of Xen's range, as xl makes them.
///
/// A guest that has an IPv4 address gets one made of that: no two guests of a network have the
/// same then, and neighbours that remember the guest's predecessor of the same address, as they do
/// for some time, find its successor. Others get a random one.
fn automatic_mac(config: &VifConfig) -> Result<MacAddr, LifecycleError> {
    let mut low = [0; 3];
    match config.ip {
        Some(ip) => low.copy_from_slice(&ip.address.octets()[1..]),
        None => random::fill(&mut low).map_err(LifecycleError::Process)?,
    }
    let [a, b, c] = low;
    Ok(MacAddr([0x00, 0x16, 0x3e, a & 0x7f, b, c]))
}
