// SPDX-License-Identifier: GPL-3.0-or-later
//! The entries of the device page: those of a guest that is being created, and those of a running one
//! whose devices change.

use noxs::{Backend, Console, Device, DeviceState, Ring, Vbd, Vif};
use noxs_control::INDIRECT_SEGMENTS;
use xen::units::{DomId, Gfn, GrantRef, Port};

use super::side::{DevicePageDisk, DevicePageVif};
use crate::domain::grants::noxs_grant;

/// What the entries of a guest have in common. Devices are given by their numbers and
/// [instances](Backend::instance). Rings are given by their numbers: the number decides
/// the frame and the grant.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PageEntries {
    /// The place of the first ring.
    pub(crate) rings: Gfn,
    /// The port that all devices share.
    pub(crate) port: Port,
}

impl PageEntries {
    /// Returns the entry of the console, which always has the first ring.
    pub(crate) fn console(&self) -> Device {
        let backend = self.backend((0, 0), DeviceState::Connected, [0]);
        Device::Console(Console { backend })
    }

    /// Returns the entry of a vif.
    pub(crate) fn vif(
        &self,
        (index, instance): (u16, u32),
        rings: [u64; 2],
        state: DeviceState,
        vif: &DevicePageVif,
    ) -> Device {
        let backend = self.backend((index, instance), state, rings);
        let DevicePageVif { mac, mtu, ipv4, ipv6 } = *vif;
        let features = noxs_control::VIF_FEATURES;
        Device::Vif(Vif { backend, mac, mtu, ipv4, ipv6, features })
    }

    /// Returns the entry of a disk.
    pub(crate) fn disk(
        &self,
        (index, instance): (u16, u32),
        ring: u64,
        state: DeviceState,
        disk: &DevicePageDisk,
    ) -> Device {
        let backend = self.backend((index, instance), state, [ring]);
        let DevicePageDisk { geometry, discard } = *disk;
        // What each noxsd that accepts this chaos' messages does.
        let indirect_segments = INDIRECT_SEGMENTS;
        let vbd = Vbd { backend, geometry, flush: true, barrier: true, discard, indirect_segments };
        Device::Vbd(vbd)
    }

    fn backend<const RINGS: usize>(
        &self,
        (index, instance): (u16, u32),
        state: DeviceState,
        numbers: [u64; RINGS],
    ) -> Backend<RINGS> {
        let rings = numbers.map(|number| {
            let GrantRef(grant) = noxs_grant(number);
            Ring { grant, gfn: self.rings.0 + number }
        });
        Backend { index, instance, domid: DomId::DOM0.0, state, port: self.port.0, rings }
    }
}
