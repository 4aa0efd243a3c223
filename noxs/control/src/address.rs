// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why a vif cannot have an address.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use bincode::{Decode, Encode};
use noxs::MacAddr;

/// An address that a vif was to get is in use on the vif's bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct AddressInUse {
    /// The address.
    pub address: VifAddress,
    /// What has the address.
    pub owner: AddressOwner,
}

/// An address of a vif.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum VifAddress {
    /// A MAC address.
    Mac(MacAddr),
    /// An IPv4 address.
    Ipv4(Ipv4Addr),
    /// An IPv6 address.
    Ipv6(Ipv6Addr),
}

/// Returns whether a host may have the IPv6 address.
#[must_use]
pub fn is_unicast_ipv6(address: Ipv6Addr) -> bool {
    let is_none = address.is_multicast() || address.is_unspecified() || address.is_loopback();
    !is_none && address.to_ipv4_mapped().is_none()
}

/// Returns whether a guest can be given the IPv6 address. It has a link-local one already, which is
/// derived from its MAC address, and another could be the derived one of another guest.
#[must_use]
pub fn can_be_given_ipv6(address: Ipv6Addr) -> bool {
    is_unicast_ipv6(address) && !address.is_unicast_link_local()
}

/// What has an address on a bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum AddressOwner {
    /// The domain with this domid.
    Domain(u16),
    /// dom0, on the bridge itself.
    Dom0,
    /// Another vif of the same request.
    SameRequest,
}

impl fmt::Display for VifAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mac(mac) => write!(f, "MAC address {mac}"),
            Self::Ipv4(ipv4) => write!(f, "IPv4 address {ipv4}"),
            Self::Ipv6(ipv6) => write!(f, "IPv6 address {ipv6}"),
        }
    }
}

impl fmt::Display for AddressInUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, owner } = self;
        let key = match address {
            VifAddress::Mac(_) => "mac=",
            VifAddress::Ipv4(_) | VifAddress::Ipv6(_) => "ip=",
        };
        write!(f, "{address} is in use on the bridge by ")?;
        match owner {
            AddressOwner::Domain(domid) => {
                write!(f, "domain {domid}: choose another with {key}, or destroy domain {domid}")
            }
            AddressOwner::Dom0 => write!(f, "dom0 itself: choose another with {key}"),
            AddressOwner::SameRequest => {
                write!(f, "another vif of the same domain: choose another with {key}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_unicast_addresses_that_are_not_link_local_can_be_given() {
        for (address, can) in [
            ("2001:db8::77", true),
            ("fd00::1", true),
            ("fe80::216:3eff:fe00:3", false),
            ("::", false),
            ("::1", false),
            ("ff02::1", false),
            ("::ffff:10.0.0.2", false),
        ] {
            assert_eq!(can_be_given_ipv6(address.parse().unwrap()), can, "{address}");
        }
    }

    #[test]
    fn the_message_names_the_address_the_owner_and_the_remedy() {
        let in_use = |address, owner| AddressInUse { address, owner }.to_string();
        let mac = VifAddress::Mac(MacAddr([0, 0x16, 0x3e, 0, 0, 1]));
        assert_eq!(
            in_use(mac, AddressOwner::Domain(5)),
            "MAC address 00:16:3e:00:00:01 is in use on the bridge by domain 5: choose another \
             with mac=, or destroy domain 5"
        );
        let ipv4 = VifAddress::Ipv4(Ipv4Addr::new(10, 0, 0, 1));
        assert_eq!(
            in_use(ipv4, AddressOwner::Dom0),
            "IPv4 address 10.0.0.1 is in use on the bridge by dom0 itself: choose another with ip="
        );
        let ipv6 = VifAddress::Ipv6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 5));
        assert_eq!(
            in_use(ipv6, AddressOwner::Dom0),
            "IPv6 address 2001:db8::5 is in use on the bridge by dom0 itself: choose another with \
             ip="
        );
        assert!(in_use(ipv4, AddressOwner::SameRequest).contains("another vif of the same domain"));
    }
}
