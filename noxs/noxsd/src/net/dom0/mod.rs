// SPDX-License-Identifier: GPL-3.0-or-later
//! The addresses that dom0 itself has on a bridge.
//!
//! They come from the kernel: [`netlink`] reads its messages, [`interfaces`] keeps what they say.

pub mod interfaces;
pub mod netlink;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use noxs::MacAddr;

/// The addresses of dom0 on one bridge, which no guest may use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dom0Addresses {
    mac: Option<MacAddr>,
    /// In ascending order, as is `ipv6`.
    ipv4: Vec<Ipv4Addr>,
    ipv6: Vec<Ipv6Addr>,
}

impl Dom0Addresses {
    /// Collects the addresses of a bridge's interface.
    #[must_use]
    pub fn new(mac: Option<MacAddr>, addresses: impl Iterator<Item = IpAddr>) -> Self {
        let mut all = Self { mac, ..Self::default() };
        for address in addresses {
            match address {
                IpAddr::V4(address) => all.ipv4.push(address),
                IpAddr::V6(address) => all.ipv6.push(address),
            }
        }
        all.ipv4.sort_unstable();
        all.ipv6.sort_unstable();
        all
    }

    /// Returns whether dom0 has the MAC address.
    #[must_use]
    pub fn has_mac(&self, mac: MacAddr) -> bool {
        self.mac == Some(mac)
    }

    /// Returns whether dom0 has the IPv4 address.
    #[must_use]
    pub fn has_ipv4(&self, address: Ipv4Addr) -> bool {
        self.ipv4.binary_search(&address).is_ok()
    }

    /// Returns whether dom0 has the IPv6 address.
    #[must_use]
    pub fn has_ipv6(&self, address: Ipv6Addr) -> bool {
        self.ipv6.binary_search(&address).is_ok()
    }
}
