// SPDX-License-Identifier: GPL-3.0-or-later
//! Parses the addresses of a vif.
//!
//! xl passes `ip=` to a script as it is. Here it is an address of IPv4, one of IPv6 or both, each with
//! a prefix length and a gateway of its family. A word with a colon belongs to IPv6, so the two do
//! not depend on each other's place.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use noxs::{Ipv4Config, Ipv6Config};
use noxs_control::is_unicast_ipv6;
use thiserror::Error;

/// Length of the IPv4 network prefix if the config has none.
pub const DEFAULT_PREFIX: u8 = 24;

/// Length of the IPv6 network prefix if the config has none.
pub const DEFAULT_PREFIX_IPV6: u8 = 64;

/// Longest prefixes.
const MAX_PREFIX: u8 = 32;
const MAX_PREFIX_IPV6: u8 = 128;

/// Why a text cannot be the addresses of a guest.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum IpError {
    /// It has none of the supported forms.
    #[error(
        "must be ADDRESS, ADDRESS/PREFIX or ADDRESS NETMASK, optionally followed by a blank and \
         GATEWAY; for both IPv4 and IPv6, write one after the other with a blank between them"
    )]
    Form,
    /// It is not an IPv4 address.
    #[error("{0:?} is not an IPv4 address{hint}", hint = comma_hint(.0))]
    Address(String),
    /// It is not an IPv6 address.
    #[error("{0:?} is not an IPv6 address")]
    Ipv6Address(String),
    /// The prefix length is invalid.
    #[error("the prefix length /{text} must be 1 to {most}")]
    Prefix {
        /// The text behind the `/`.
        text: String,
        /// The longest one of the address's family.
        most: u8,
    },
    /// The netmask is invalid.
    #[error(
        "{0} is not a netmask such as 255.255.255.0; a vif has one IPv4 address, so remove a second one, \
         or remove ip=, and the guest may use any; a gateway stands after ADDRESS/PREFIX"
    )]
    Netmask(Ipv4Addr),
    /// An interface cannot have the address.
    #[error("{0} must be a unicast address, not 0.x.x.x, 127.x.x.x or from 224.0.0.0 on")]
    NotUnicast(Ipv4Addr),
    /// An interface cannot have the address.
    #[error("{0} must be a unicast address, not ::, ::1, ::ffff:a.b.c.d or from ff00:: on")]
    NotUnicastIpv6(Ipv6Addr),
    /// The address is link-local.
    #[error(
        "{0} must not be link-local: a guest has the link-local address derived from its MAC \
         address, and no other"
    )]
    LinkLocal(Ipv6Addr),
    /// It is the network address or the broadcast address of the network.
    #[error("{0} stands for the whole network; use another address of the network")]
    WholeNetwork(Ipv4Addr),
    /// It is the subnet-router anycast address of the network (RFC 4291).
    #[error("{0} stands for the routers of the network; use another address of the network")]
    AllRouters(Ipv6Addr),
    /// The gateway cannot be reached.
    #[error("the gateway {gateway} must be in the network {address}/{prefix}{}", or_link_local(*gateway))]
    GatewayOutside {
        /// The gateway.
        gateway: IpAddr,
        /// The guest's address.
        address: IpAddr,
        /// Length of the network's prefix.
        prefix: u8,
    },
    /// The gateway has the address of the guest.
    #[error("the gateway must not be the address of the guest")]
    GatewayIsGuest,
}

fn comma_hint(word: &str) -> &'static str {
    if word.contains('=') { "; a comma is missing before it" } else { "" }
}

fn or_link_local(gateway: IpAddr) -> &'static str {
    if gateway.is_ipv6() { ", or link-local" } else { "" }
}

/// The addresses of a vif, at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct IpConfig {
    pub(super) ipv4: Option<Ipv4Config>,
    pub(super) ipv6: Option<Ipv6Config>,
}

/// Parses a vif's `ip=`.
pub(super) fn parse_ip(text: &str) -> Result<IpConfig, IpError> {
    let is_ipv6 = |word: &&str| word.contains(':');
    let mut ipv4 = text.split_ascii_whitespace().filter(|word| !is_ipv6(word)).peekable();
    let mut ipv6 = text.split_ascii_whitespace().filter(is_ipv6).peekable();
    if ipv4.peek().is_none() && ipv6.peek().is_none() {
        return Err(IpError::Form);
    }
    Ok(IpConfig {
        ipv4: if ipv4.peek().is_some() { Some(parse_ipv4(ipv4)?) } else { None },
        ipv6: if ipv6.peek().is_some() { Some(parse_ipv6(ipv6)?) } else { None },
    })
}

fn parse_ipv4<'a>(mut words: impl Iterator<Item = &'a str>) -> Result<Ipv4Config, IpError> {
    let first = words.next().ok_or(IpError::Form)?;
    let (address, prefix, gateway) = match first.split_once('/') {
        Some((address, prefix)) => {
            (parse_address(address)?, parse_prefix(prefix, MAX_PREFIX)?, words.next())
        }
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

fn parse_ipv6<'a>(mut words: impl Iterator<Item = &'a str>) -> Result<Ipv6Config, IpError> {
    let first = words.next().ok_or(IpError::Form)?;
    let (address, prefix) = match first.split_once('/') {
        Some((address, prefix)) => (address, parse_prefix(prefix, MAX_PREFIX_IPV6)?),
        None => (first, DEFAULT_PREFIX_IPV6),
    };
    let address = parse_ipv6_address(address)?;
    let gateway = words.next().map(parse_ipv6_address).transpose()?;
    if words.next().is_some() {
        return Err(IpError::Form);
    }
    check_ipv6(Ipv6Config { address, prefix, gateway })
}

fn parse_address(text: &str) -> Result<Ipv4Addr, IpError> {
    text.parse().map_err(|_| IpError::Address(text.to_owned()))
}

fn parse_ipv6_address(text: &str) -> Result<Ipv6Addr, IpError> {
    text.parse().map_err(|_| IpError::Ipv6Address(text.to_owned()))
}

fn parse_prefix(text: &str, most: u8) -> Result<u8, IpError> {
    let wrong = || IpError::Prefix { text: text.to_owned(), most };
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    let prefix = text.parse().map_err(|_| wrong())?;
    if (1..=most).contains(&prefix) { Ok(prefix) } else { Err(wrong()) }
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
            Err(IpError::GatewayOutside {
                gateway: gateway.into(),
                address: address.into(),
                prefix,
            })
        }
        _ => Ok(config),
    }
}

fn check_ipv6(config: Ipv6Config) -> Result<Ipv6Config, IpError> {
    let Ipv6Config { address, prefix, gateway } = config;
    let host_bits = u128::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
    for unicast in [Some(address), gateway].into_iter().flatten() {
        if !is_unicast_ipv6(unicast) {
            return Err(IpError::NotUnicastIpv6(unicast));
        }
    }
    if address.is_unicast_link_local() {
        return Err(IpError::LinkLocal(address));
    }
    // A network of two addresses has none for its routers (RFC 6164).
    if prefix < 127 && address.to_bits() & host_bits == 0 {
        return Err(IpError::AllRouters(address));
    }
    match gateway {
        Some(gateway) if gateway == address => Err(IpError::GatewayIsGuest),
        Some(gateway)
            if prefix < 128
                && !gateway.is_unicast_link_local()
                && (gateway.to_bits() ^ address.to_bits()) & !host_bits != 0 =>
        {
            Err(IpError::GatewayOutside {
                gateway: gateway.into(),
                address: address.into(),
                prefix,
            })
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
            let wanted = IpConfig { ipv4: Some(wanted), ipv6: None };
            assert_eq!(parse_ip(text), Ok(wanted), "{text}");
        }
    }

    #[test]
    fn addresses_of_both_families_are_parsed_in_any_order() {
        let ipv4 = config([10, 8, 0, 2], 16, Some([10, 8, 0, 1]));
        let ipv6 = |address: &str, prefix, gateway: Option<&str>| {
            let [address, gateway] = [Some(address), gateway].map(|text| text.map(|t| t.parse()));
            let gateway = gateway.transpose().unwrap();
            Ipv6Config { address: address.unwrap().unwrap(), prefix, gateway }
        };
        let own = ipv6("2001:db8::5", 64, None);
        let routed = ipv6("2001:db8::5", 64, Some("fe80::1"));
        for (text, ipv4, wanted) in [
            ("2001:db8::5", None, own),
            ("2001:DB8:0::5/64", None, own),
            ("2001:db8::5/64 fe80::1", None, routed),
            (
                "2001:db8::5/48 2001:db8:0:1::1",
                None,
                ipv6("2001:db8::5", 48, Some("2001:db8:0:1::1")),
            ),
            ("2001:db8::/127 2001:db8::1", None, ipv6("2001:db8::", 127, Some("2001:db8::1"))),
            ("fd00::5/128 fd01::1", None, ipv6("fd00::5", 128, Some("fd01::1"))),
            ("10.8.0.2/16 10.8.0.1 2001:db8::5/64 fe80::1", Some(ipv4), routed),
            (" 2001:db8::5  10.8.0.2 255.255.0.0 10.8.0.1", Some(ipv4), own),
            ("10.8.0.2/16 2001:db8::5/64 10.8.0.1 fe80::1", Some(ipv4), routed),
        ] {
            assert_eq!(parse_ip(text), Ok(IpConfig { ipv4, ipv6: Some(wanted) }), "{text}");
        }
    }

    #[test]
    fn invalid_addresses_are_refused_with_the_reason() {
        let ip = |a, b, c, d| Ipv4Addr::new(a, b, c, d);
        let ip6 = |text: &str| text.parse::<Ipv6Addr>().unwrap();
        let prefix = |text: &str, most| IpError::Prefix { text: text.to_owned(), most };
        for (text, error) in [
            ("", IpError::Form),
            ("10.0.0.2/24 10.0.0.1 10.0.0.3", IpError::Form),
            ("10.0.0.2 255.255.255.0 10.0.0.1 x", IpError::Form),
            ("10.0.0", IpError::Address("10.0.0".to_owned())),
            ("10.0.0.256", IpError::Address("10.0.0.256".to_owned())),
            ("10.0.0.2/33", prefix("33", 32)),
            ("10.0.0.2/0", prefix("0", 32)),
            ("10.0.0.2/+8", prefix("+8", 32)),
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
                    gateway: ip(10, 0, 1, 1).into(),
                    address: ip(10, 0, 0, 2).into(),
                    prefix: 24,
                },
            ),
            ("2001:db8::5/64 2001:db8::1 2001:db8::2", IpError::Form),
            ("2001:db8::5 255.255.255.0", IpError::NotUnicast(ip(255, 255, 255, 0))),
            ("2001:db8::g", IpError::Ipv6Address("2001:db8::g".to_owned())),
            ("fe80::1%eth0", IpError::Ipv6Address("fe80::1%eth0".to_owned())),
            ("2001:db8::5/64 2001:db8::1/64", IpError::Ipv6Address("2001:db8::1/64".to_owned())),
            ("2001:db8::5/129", prefix("129", 128)),
            ("2001:db8::5/0", prefix("0", 128)),
            ("2001:db8::5/", prefix("", 128)),
            ("::/64", IpError::NotUnicastIpv6(ip6("::"))),
            ("::1", IpError::NotUnicastIpv6(ip6("::1"))),
            ("ff02::1", IpError::NotUnicastIpv6(ip6("ff02::1"))),
            ("::ffff:10.0.0.2", IpError::NotUnicastIpv6(ip6("::ffff:10.0.0.2"))),
            ("2001:db8::5 ff02::2", IpError::NotUnicastIpv6(ip6("ff02::2"))),
            ("fe80::5/64", IpError::LinkLocal(ip6("fe80::5"))),
            ("2001:db8::/64", IpError::AllRouters(ip6("2001:db8::"))),
            ("2001:db8::5/64 2001:db8::5", IpError::GatewayIsGuest),
            (
                "10.0.0.2 2001:db8::5/64 2001:db8:0:1::1",
                IpError::GatewayOutside {
                    gateway: ip6("2001:db8:0:1::1").into(),
                    address: ip6("2001:db8::5").into(),
                    prefix: 64,
                },
            ),
            ("10.0.0.256 2001:db8::5", IpError::Address("10.0.0.256".to_owned())),
        ] {
            assert_eq!(parse_ip(text), Err(error), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_an_address_or_an_error(text in "[0-9a-f./: ]{0,40}") {
            if let Ok(config) = parse_ip(&text) {
                prop_assert!(config.ipv4.is_some() || config.ipv6.is_some());
                if let Some(ipv4) = config.ipv4 {
                    prop_assert!((1..=32).contains(&ipv4.prefix));
                    prop_assert!(!ipv4.address.is_unspecified());
                }
                if let Some(ipv6) = config.ipv6 {
                    prop_assert!((1..=128).contains(&ipv6.prefix));
                    prop_assert!(!ipv6.address.is_unspecified());
                }
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
