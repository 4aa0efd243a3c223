// SPDX-License-Identifier: GPL-3.0-or-later
//! Parses the IPv4 address of a vif.

use std::net::Ipv4Addr;

use noxs::Ipv4Config;
use thiserror::Error;

/// Length of the network prefix if the config has none.
pub const DEFAULT_PREFIX: u8 = 24;

/// Why a text cannot be the address of a guest.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum IpError {
    /// It has none of the supported forms.
    #[error(
        "must be ADDRESS, ADDRESS/PREFIX or ADDRESS NETMASK, optionally followed by a blank and \
         GATEWAY"
    )]
    Form,
    /// It is an IPv6 address.
    #[error("must be IPv4; IPv6 is not supported yet")]
    Ipv6,
    /// It is not an IPv4 address.
    #[error("{0:?} is not an IPv4 address")]
    Address(String),
    /// The prefix length is invalid.
    #[error("the prefix length /{0} must be 1 to 32")]
    Prefix(String),
    /// The netmask is invalid.
    #[error("the netmask {0} must be ones followed by zeroes, such as 255.255.255.0")]
    Netmask(Ipv4Addr),
    /// An interface cannot have the address.
    #[error("{0} must be a unicast address, not 0.x.x.x, 127.x.x.x or from 224.0.0.0 on")]
    NotUnicast(Ipv4Addr),
    /// It is the network address or the broadcast address of the network.
    #[error("{0} stands for the whole network; use another address of the network")]
    WholeNetwork(Ipv4Addr),
    /// The gateway cannot be reached.
    #[error("the gateway {gateway} must be in the network {address}/{prefix}")]
    GatewayOutside {
        /// The gateway.
        gateway: Ipv4Addr,
        /// The guest's address.
        address: Ipv4Addr,
        /// Length of the network's prefix.
        prefix: u8,
    },
    /// The gateway has the address of the guest.
    #[error("the gateway must not be the address of the guest")]
    GatewayIsGuest,
}

/// Parses a vif's `ip=`, which xl passes to a script as it is.
pub(super) fn parse_ip(text: &str) -> Result<Ipv4Config, IpError> {
    let mut words = text.split_ascii_whitespace();
    let first = words.next().ok_or(IpError::Form)?;
    let (address, prefix, gateway) = match first.split_once('/') {
        Some((address, prefix)) => (parse_address(address)?, parse_prefix(prefix)?, words.next()),
        None => {
            let address = parse_address(first)?;
            let prefix = match words.next() {
                Some(mask) => parse_netmask(parse_address(mask)?)?,
                None => DEFAULT_PREFIX,
            };
            (address, prefix, words.next())
        }
    };
    if words.next().is_some() {
        return Err(IpError::Form);
    }
    let gateway = gateway.map(parse_address).transpose()?;
    check(Ipv4Config { address, prefix, gateway })
}

fn parse_address(text: &str) -> Result<Ipv4Addr, IpError> {
    if text.contains(':') {
        return Err(IpError::Ipv6);
    }
    text.parse().map_err(|_| IpError::Address(text.to_owned()))
}

fn parse_prefix(text: &str) -> Result<u8, IpError> {
    let wrong = || IpError::Prefix(text.to_owned());
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    match text.parse() {
        Ok(prefix @ 1..=32) => Ok(prefix),
        _ => Err(wrong()),
    }
}

fn parse_netmask(mask: Ipv4Addr) -> Result<u8, IpError> {
    let bits = mask.to_bits();
    if bits == 0 || bits.count_zeros() != bits.trailing_zeros() {
        return Err(IpError::Netmask(mask));
    }
    u8::try_from(bits.count_ones()).map_err(|_| IpError::Netmask(mask))
}

fn check(config: Ipv4Config) -> Result<Ipv4Config, IpError> {
    let Ipv4Config { address, prefix, gateway } = config;
    let host_bits = u32::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
    for unicast in [Some(address), gateway].into_iter().flatten() {
        let reserved = unicast.octets()[0] == 0 || unicast.octets()[0] >= 224;
        if reserved || unicast.is_loopback() {
            return Err(IpError::NotUnicast(unicast));
        }
    }
    // Networks of one or two addresses have no network or broadcast address (RFC 3021).
    let host = address.to_bits() & host_bits;
    if prefix < 31 && (host == 0 || host == host_bits) {
        return Err(IpError::WholeNetwork(address));
    }
    match gateway {
        Some(gateway) if gateway == address => Err(IpError::GatewayIsGuest),
        // With a prefix length of 32, every gateway is outside of the network, on purpose.
        Some(gateway)
            if prefix < 32 && (gateway.to_bits() ^ address.to_bits()) & !host_bits != 0 =>
        {
            Err(IpError::GatewayOutside { gateway, address, prefix })
        }
        _ => Ok(config),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn config(address: [u8; 4], prefix: u8, gateway: Option<[u8; 4]>) -> Ipv4Config {
        Ipv4Config { address: address.into(), prefix, gateway: gateway.map(Ipv4Addr::from) }
    }

    #[test]
    fn all_forms_of_an_address_are_parsed() {
        let gateway = Some([10, 8, 0, 1]);
        for (text, wanted) in [
            ("10.8.0.2", config([10, 8, 0, 2], 24, None)),
            ("10.8.0.2/16", config([10, 8, 0, 2], 16, None)),
            ("10.8.0.2/16 10.8.0.1", config([10, 8, 0, 2], 16, gateway)),
            ("10.8.0.2 255.255.0.0", config([10, 8, 0, 2], 16, None)),
            (" 10.8.0.2  255.255.255.0 10.8.0.1 ", config([10, 8, 0, 2], 24, gateway)),
            ("10.8.0.0/31 10.8.0.1", config([10, 8, 0, 0], 31, gateway)),
            ("192.0.2.7/32 10.8.0.1", config([192, 0, 2, 7], 32, gateway)),
        ] {
            assert_eq!(parse_ip(text), Ok(wanted), "{text}");
        }
    }

    #[test]
    fn invalid_addresses_are_refused_with_the_reason() {
        let ip = |a, b, c, d| Ipv4Addr::new(a, b, c, d);
        for (text, error) in [
            ("", IpError::Form),
            ("10.0.0.2/24 10.0.0.1 10.0.0.3", IpError::Form),
            ("10.0.0.2 255.255.255.0 10.0.0.1 x", IpError::Form),
            ("fe80::1", IpError::Ipv6),
            ("10.0.0", IpError::Address("10.0.0".to_owned())),
            ("10.0.0.256", IpError::Address("10.0.0.256".to_owned())),
            ("10.0.0.2/33", IpError::Prefix("33".to_owned())),
            ("10.0.0.2/0", IpError::Prefix("0".to_owned())),
            ("10.0.0.2/+8", IpError::Prefix("+8".to_owned())),
            ("10.0.0.2 10.0.0.3", IpError::Netmask(ip(10, 0, 0, 3))),
            ("10.0.0.2 0.0.0.0", IpError::Netmask(ip(0, 0, 0, 0))),
            ("0.0.0.0", IpError::NotUnicast(ip(0, 0, 0, 0))),
            ("224.0.0.1", IpError::NotUnicast(ip(224, 0, 0, 1))),
            ("127.0.0.1", IpError::NotUnicast(ip(127, 0, 0, 1))),
            ("10.0.0.2/24 0.0.0.0", IpError::NotUnicast(ip(0, 0, 0, 0))),
            ("10.0.0.0/24", IpError::WholeNetwork(ip(10, 0, 0, 0))),
            ("10.0.0.255", IpError::WholeNetwork(ip(10, 0, 0, 255))),
            ("10.0.0.2/24 10.0.0.2", IpError::GatewayIsGuest),
            (
                "10.0.0.2/24 10.0.1.1",
                IpError::GatewayOutside {
                    gateway: ip(10, 0, 1, 1),
                    address: ip(10, 0, 0, 2),
                    prefix: 24,
                },
            ),
        ] {
            assert_eq!(parse_ip(text), Err(error), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_an_address_or_an_error(text in "[0-9./: ]{0,40}") {
            if let Ok(config) = parse_ip(&text) {
                prop_assert!((1..=32).contains(&config.prefix));
                prop_assert!(!config.address.is_unspecified());
            }
        }

        #[test]
        fn a_netmask_means_the_same_as_its_prefix_length(host in 1u32..254, prefix in 1u8..=24) {
            let address = Ipv4Addr::from_bits(0x0a00_0000 | host);
            let mask = Ipv4Addr::from_bits(u32::MAX << (32 - u32::from(prefix)));
            prop_assert_eq!(
                parse_ip(&format!("{address} {mask}")),
                parse_ip(&format!("{address}/{prefix}"))
            );
        }
    }
}
