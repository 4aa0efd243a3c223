// SPDX-License-Identifier: GPL-3.0-or-later
//! The identities of a guest's vifs.

use noxs::MacAddr;
use noxs_control::{VifAddress, VifIdentity};

use super::error::LifecycleError;
use crate::config::{DomainConfig, VifConfig};
use crate::domain::DevicePageVif;
use crate::random;

/// How many generated MAC addresses are replaced in one create. With 32,000 guests on a bridge, one
/// of 260 random addresses is in use.
const MAX_REPLACED: u32 = 16;

/// The vifs of a guest.
pub(super) struct VifPlans<'a> {
    vifs: Vec<VifPlan<'a>>,
    /// Number of addresses that were replaced.
    replaced: u32,
    /// The number of the first one.
    first: usize,
}

/// A vif whose MAC address is decided, also if its config leaves it open.
struct VifPlan<'a> {
    config: &'a VifConfig,
    mac: MacAddr,
}

impl<'a> VifPlans<'a> {
    /// Decides the MAC addresses that the config leaves open. No two vifs get the same one.
    ///
    /// # Errors
    /// The kernel has no random numbers.
    pub(super) fn new(configs: &'a [VifConfig]) -> Result<Self, LifecycleError> {
        let mut vifs = Vec::<VifPlan<'_>>::with_capacity(configs.len());
        for config in configs {
            let mut mac = match fixed_mac(config) {
                Some(mac) => mac,
                None => random_mac()?,
            };
            let is_taken = |mac| {
                configs.iter().any(|other| other.mac == Some(mac))
                    || vifs.iter().any(|earlier| earlier.mac == mac)
            };
            while config.mac.is_none() && is_taken(mac) {
                mac = random_mac()?;
            }
            vifs.push(VifPlan { config, mac });
        }
        Ok(Self { vifs, replaced: 0, first: 0 })
    }

    /// Sets the number of the first vif, for one that is added to a guest with others.
    pub(super) fn from(self, first: usize) -> Self {
        Self { first, ..self }
    }

    /// Returns the identities for the backend.
    pub(super) fn identities(&self) -> Vec<VifIdentity> {
        self.vifs.iter().map(|vif| identity(vif.config, vif.mac)).collect()
    }

    /// Returns the entries of the device page.
    pub(super) fn device_page_entries(&self) -> Vec<DevicePageVif> {
        self.vifs.iter().map(|vif| page_vif(vif.config, vif.mac)).collect()
    }

    /// Returns the vifs' bridges.
    pub(super) fn bridges(&self) -> impl Iterator<Item = &'a str> {
        self.vifs.iter().map(|vif| vif.config.bridge.as_str())
    }

    /// Sets the MAC addresses in a guest's config.
    pub(super) fn complete(&self, config: &mut DomainConfig) {
        for (vif, plan) in config.vifs.iter_mut().zip(&self.vifs) {
            vif.mac = Some(plan.mac);
        }
    }

    /// Returns the number and the config of the vif with an address.
    pub(super) fn with_address(&self, address: VifAddress) -> Option<(usize, &'a VifConfig)> {
        let has_it = |vif: &VifPlan<'_>| match address {
            VifAddress::Mac(mac) => vif.mac == mac,
            VifAddress::Ipv4(ipv4) => vif.config.ip.is_some_and(|ip| ip.address == ipv4),
            VifAddress::Ipv6(ipv6) => vif.config.ip6.is_some_and(|ip| ip.address == ipv6),
        };
        let number = self.vifs.iter().position(has_it)?;
        Some((self.first + number, self.vifs[number].config))
    }

    /// Replaces a MAC address that is in use by a random one, if it was generated. Returns `false`
    /// if the user has written it, or if too many were replaced already.
    ///
    /// # Errors
    /// The kernel has no random numbers.
    pub(super) fn replace(&mut self, mac: MacAddr) -> Result<bool, LifecycleError> {
        let generated = |vif: &VifPlan<'_>| vif.config.mac.is_none() && vif.mac == mac;
        let Some(number) = self.vifs.iter().position(generated) else { return Ok(false) };
        if self.replaced == MAX_REPLACED {
            return Ok(false);
        }
        self.replaced += 1;
        let mut other = random_mac()?;
        while self.vifs.iter().any(|vif| vif.mac == other) {
            other = random_mac()?;
        }
        self.vifs[number].mac = other;
        Ok(true)
    }
}

/// Returns a vif as the device page describes it.
pub(super) fn page_vif(config: &VifConfig, mac: MacAddr) -> DevicePageVif {
    DevicePageVif { mac, mtu: config.mtu, ipv4: config.ip, ipv6: config.ip6 }
}

/// Returns the identity of a vif.
pub(super) fn identity(config: &VifConfig, mac: MacAddr) -> VifIdentity {
    VifIdentity {
        mac,
        ipv4: config.ip.map(|ip| ip.address),
        ipv6: config.ip6.map(|ip| ip.address),
        mtu: config.mtu,
        rate: config.rate,
    }
}

/// Returns the MAC address that a vif gets unless another vif has it: the one in its config, or else
/// one with Xen's prefix that is derived from its IPv4 address. Then the guests of a network differ,
/// and a successor with the same IPv4 address is reached by neighbours that still have its
/// predecessor in their ARP cache. With an IPv6 address only, it is derived from all of that one,
/// because its last bytes are often the same as those of an IPv4 address. `None` if the address is
/// random, as xl's are.
#[must_use]
pub fn fixed_mac(config: &VifConfig) -> Option<MacAddr> {
    let derived = || match (config.ip, config.ip6) {
        (Some(ip), _) => {
            let [_, a, b, c] = ip.address.octets();
            Some(with_prefix([a, b, c]))
        }
        (None, Some(ip)) => {
            // FNV-1a. It must stay as it is, so that an upgrade does not change MAC addresses.
            let hash = ip.address.octets().iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
            });
            let [a, b, c, ..] = hash.to_be_bytes();
            Some(with_prefix([a, b, c]))
        }
        (None, None) => None,
    };
    config.mac.or_else(derived)
}

fn random_mac() -> Result<MacAddr, LifecycleError> {
    let mut low = [0; 3];
    random::fill(&mut low).map_err(LifecycleError::Process)?;
    Ok(with_prefix(low))
}

fn with_prefix([a, b, c]: [u8; 3]) -> MacAddr {
    MacAddr([0x00, 0x16, 0x3e, a & 0x7f, b, c])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vifs(vifs: &[&str]) -> Vec<VifConfig> {
        let vif = |vif: &&str| {
            let text = format!("name='a'\ntype='pvh'\nkernel='/k'\nmemory=4\nvif=['{vif}']");
            crate::config::parse_str("test", &text, &[], true).unwrap().config.vifs
        };
        vifs.iter().flat_map(vif).collect()
    }

    fn macs(plans: &VifPlans<'_>) -> Vec<MacAddr> {
        plans.identities().iter().map(|identity| identity.mac).collect()
    }

    const DERIVED: MacAddr = MacAddr([0x00, 0x16, 0x3e, 9, 9, 5]);

    #[test]
    fn vifs_of_one_guest_never_get_the_same_generated_address() {
        let configs = vifs(&["ip=10.9.9.5", "ip=11.9.9.5", "mac=00:16:3e:00:00:01", "ip=10.0.0.1"]);
        let macs = macs(&VifPlans::new(&configs).unwrap());
        assert_eq!(macs[0], DERIVED);
        assert_eq!(macs[2], MacAddr([0x00, 0x16, 0x3e, 0, 0, 1]));
        let all: std::collections::HashSet<_> = macs.iter().map(|mac| mac.0).collect();
        assert_eq!(all.len(), 4, "{macs:?}");
    }

    #[test]
    fn an_ipv6_address_alone_decides_the_generated_address() {
        let configs = vifs(&["ip=2001:db8::5/64", "ip=2001:db8::6/64", "ip=10.9.9.5 2001:db8::7"]);
        let first = macs(&VifPlans::new(&configs).unwrap());
        assert_eq!(first, macs(&VifPlans::new(&configs).unwrap()));
        assert_eq!(first[0], MacAddr([0x00, 0x16, 0x3e, 0x79, 0x71, 0x5d]));
        assert_ne!(first[0], first[1]);
        assert_eq!(first[2], DERIVED, "of the IPv4 address");
    }

    #[test]
    fn only_a_generated_address_is_replaced_and_not_without_end() {
        let configs = vifs(&["ip=10.9.9.5", "mac=00:16:3e:00:00:01"]);
        let mut plans = VifPlans::new(&configs).unwrap();
        let written = macs(&plans)[1];
        assert!(!plans.replace(written).unwrap());
        let mut taken = DERIVED;
        for _ in 0..MAX_REPLACED {
            assert!(plans.replace(taken).unwrap());
            let mac = macs(&plans)[0];
            assert!(mac != taken && mac.0[..3] == [0x00, 0x16, 0x3e]);
            taken = mac;
        }
        assert!(!plans.replace(taken).unwrap());
        assert_eq!(macs(&plans)[1], written);
    }
}
