// SPDX-License-Identifier: MIT OR Apache-2.0
//! IPv6 addresses that are derived from MAC addresses (modified EUI-64; RFC 4291, appendix A).

use core::net::Ipv6Addr;

use crate::MacAddr;

/// Returns the link-local address that is derived from a MAC address.
#[must_use]
pub fn link_local(mac: MacAddr) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac.0;
    Ipv6Addr::from([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f])
}

/// Returns the MAC address that an address with any prefix is derived from; `None` if it is not
/// derived from one.
#[must_use]
pub fn mac(address: Ipv6Addr) -> Option<MacAddr> {
    match address.octets() {
        [.., a, b, c, 0xff, 0xfe, d, e, f] => Some(MacAddr([a ^ 2, b, c, d, e, f])),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_derived_from_a_mac_and_back() {
        let own = MacAddr([0, 0x16, 0x3e, 1, 2, 3]);
        let address: Ipv6Addr = "fe80::216:3eff:fe01:203".parse().unwrap();
        assert_eq!(link_local(own), address);
        assert_eq!(mac(address), Some(own));
        assert_eq!(mac("2001:db8::216:3eff:fe01:203".parse().unwrap()), Some(own));
        assert_eq!(mac("fe80::1".parse().unwrap()), None);
    }
}
