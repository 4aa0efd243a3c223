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
