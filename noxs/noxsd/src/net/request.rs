// SPDX-License-Identifier: GPL-3.0-or-later
//! Checks of what a toolstack asks for a vif: its bridge, addresses, MTU and rate.

use noxs_control::{
    AddressInUse, AddressOwner, MIN_MTU_IPV6, MTU, Refusal, VifAddress, VifDevice, VifIdentity,
    can_be_given_ipv6,
};

use super::frame::HEADER;
use super::transfer::SEGMENT_ROOM;
use super::{BridgeId, Net};

const _: () = assert!(*MTU.end() as usize + HEADER <= SEGMENT_ROOM);

/// Returns the identities of the vifs of a request; `None` if no vif has one.
///
/// # Errors
/// Only some of the vifs have an identity.
pub fn identities(vifs: &[VifDevice]) -> Result<Option<Vec<VifIdentity>>, Refusal> {
    let identities: Vec<VifIdentity> = vifs.iter().filter_map(|vif| vif.identity).collect();
    match (identities.len(), vifs.len()) {
        (count, all) if count == all => {}
        (0, _) => return Ok(None),
        (count, all) => {
            return Err(Refusal::Invalid(format!(
                "{count} of {all} vifs have an identity: must be all or none"
            )));
        }
    }
    Ok(Some(identities))
}

impl<M> Net<M> {
    /// Returns the bridges of the vifs of a request.
    ///
    /// # Errors
    /// A bridge does not exist, or two vifs have the same number.
    pub fn bridges(&self, vifs: &[VifDevice]) -> Result<Vec<BridgeId>, Refusal> {
        let mut bridges = Vec::with_capacity(vifs.len());
        for (number, vif) in vifs.iter().enumerate() {
            let bridge = self.bridge(&vif.bridge);
            bridges.push(bridge.ok_or_else(|| Refusal::NoSwitch(vif.bridge.clone()))?);
            if vifs[..number].iter().any(|earlier| earlier.index == vif.index) {
                return Err(Refusal::Invalid(format!("two vifs have number {}", vif.index)));
            }
        }
        Ok(bridges)
    }

    /// Checks the identities of vifs, which are given by their numbers and bridges, except for
    /// addresses of dom0.
    ///
    /// # Errors
    /// A MAC or an IPv6 address is invalid, an address is in use on the bridge, or an MTU or a rate
    /// is out of range.
    pub fn check_identities(
        &self,
        vifs: impl Iterator<Item = (u16, BridgeId)> + Clone,
        identities: &[VifIdentity],
    ) -> Result<(), Refusal> {
        let invalid = |text: String| Err(Refusal::Invalid(text));
        let vifs = vifs.zip(identities);
        for (number, ((index, bridge), identity)) in vifs.clone().enumerate() {
            let VifIdentity { mac, ipv6, mtu, rate, .. } = *identity;
            if mac.is_multicast() || mac.0 == [0; 6] {
                return invalid(format!(
                    "vif {index} has MAC address {mac}: must not be zero or a multicast address"
                ));
            }
            if let Some(ipv6) = ipv6
                && !can_be_given_ipv6(ipv6)
            {
                return invalid(format!(
                    "vif {index} has IPv6 address {ipv6}: must be a unicast address other than a \
                     link-local one"
                ));
            }
            if ipv6.is_some() && mtu < MIN_MTU_IPV6 {
                return invalid(format!(
                    "vif {index} has MTU {mtu}: must be at least {MIN_MTU_IPV6} with an IPv6 address"
                ));
            }
            if !MTU.contains(&mtu) {
                let (least, most) = (MTU.start(), MTU.end());
                return invalid(format!("vif {index} has MTU {mtu}: must be {least} to {most}"));
            }
            if rate.is_some_and(|rate| rate.bytes == 0 || rate.interval_us == 0) {
                return invalid(format!(
                    "vif {index} has a rate of 0 bytes or an interval of 0 µs: both must be positive"
                ));
            }
            let earlier = vifs.clone().take(number).filter(|((_, other), _)| *other == bridge);
            self.check_addresses(bridge, identity, earlier.map(|(_, identity)| identity))?;
        }
        Ok(())
    }

    /// Checks that no vif, given by its bridge, gets an address of dom0.
    ///
    /// # Errors
    /// dom0 has an address on the bridge that a vif is to get.
    pub fn check_dom0(
        &self,
        bridges: impl Iterator<Item = BridgeId>,
        identities: &[VifIdentity],
    ) -> Result<(), Refusal> {
        for (bridge, VifIdentity { mac, ipv4, ipv6, .. }) in bridges.zip(identities) {
            let dom0 = self.bridges[bridge.0].switch.dom0();
            let address = match (*ipv4, *ipv6) {
                (Some(ipv4), _) if dom0.has_ipv4(ipv4) => VifAddress::Ipv4(ipv4),
                (_, Some(ipv6)) if dom0.has_ipv6(ipv6) => VifAddress::Ipv6(ipv6),
                _ if dom0.has_mac(*mac) => VifAddress::Mac(*mac),
                _ => continue,
            };
            let owner = AddressOwner::Dom0;
            return Err(Refusal::AddressInUse(AddressInUse { address, owner }));
        }
        Ok(())
    }

    /// Checks that the addresses of a vif are free on its bridge, and not those of vifs that the
    /// same request has put there.
    fn check_addresses<'a>(
        &self,
        bridge: BridgeId,
        identity: &VifIdentity,
        mut earlier: impl Iterator<Item = &'a VifIdentity>,
    ) -> Result<(), Refusal> {
        let bridge = &self.bridges[bridge.0];
        let in_use = |address, owner| Err(Refusal::AddressInUse(AddressInUse { address, owner }));
        let domain = |port| bridge.port(port).map(|port| AddressOwner::Domain(port.domid().0));
        let VifIdentity { mac, ipv4, ipv6, .. } = *identity;
        // First the addresses that a user has written: a MAC address may be derived from them.
        if let Some(ipv4) = ipv4
            && let Some(owner) = bridge.switch.owner_of_ipv4(ipv4).and_then(domain)
        {
            return in_use(VifAddress::Ipv4(ipv4), owner);
        }
        if let Some(ipv6) = ipv6
            && let Some(owner) = bridge.switch.owner_of_ipv6(ipv6).and_then(domain)
        {
            return in_use(VifAddress::Ipv6(ipv6), owner);
        }
        if let Some(owner) = bridge.switch.owner_of_mac(mac).and_then(domain) {
            return in_use(VifAddress::Mac(mac), owner);
        }
        for other in &mut earlier {
            if let Some(ipv4) = ipv4
                && other.ipv4 == Some(ipv4)
            {
                return in_use(VifAddress::Ipv4(ipv4), AddressOwner::SameRequest);
            }
            if let Some(ipv6) = ipv6
                && other.ipv6 == Some(ipv6)
            {
                return in_use(VifAddress::Ipv6(ipv6), AddressOwner::SameRequest);
            }
            if other.mac == mac {
                return in_use(VifAddress::Mac(mac), AddressOwner::SameRequest);
            }
        }
        Ok(())
    }
}
