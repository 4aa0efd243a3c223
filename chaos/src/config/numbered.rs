// SPDX-License-Identifier: GPL-3.0-or-later
//! Derives the configs of many guests from one config.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use noxs::{Ipv4Config, Ipv6Config};
use thiserror::Error;

use super::{DomainConfig, NameError, VifConfig, check_name};

/// Why a config cannot be used for this number of guests.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NumberedError {
    /// The name is too long when a number is appended.
    #[error("name = {name:?}: {error}")]
    Name {
        /// The name.
        name: String,
        /// Why.
        error: NameError,
    },
    /// The network has too few addresses.
    #[error(
        "ip = {address}/{prefix}: the network has only {room} addresses for guests from {address} \
         upwards; use a shorter prefix"
    )]
    Network {
        /// The first guest's address.
        address: IpAddr,
        /// Length of the network's prefix.
        prefix: u8,
        /// How many guests can have one.
        room: u32,
    },
    /// All guests would have the same UUID.
    #[error("uuid must not be set, since each guest needs its own; remove uuid=")]
    Uuid,
    /// All guests would have the same MAC address.
    #[error("vif: mac must not be set, since each guest needs its own; remove mac=")]
    Mac,
    /// A script would get the same addresses for all guests.
    #[error(
        "vif: ip must not be set beside script, which gets it as it is, since each guest needs its \
         own; remove ip="
    )]
    ScriptIp,
    /// All guests would write the same disk.
    #[error(
        "disk {path} must not be writable, since each guest needs its own; let the guests only read \
         it (access=r), or create each with a disk of its own"
    )]
    Disk {
        /// The file or block device.
        path: PathBuf,
    },
}

/// Returns the configs of `count` guests with the names `NAME-1`, `NAME-2` and so on. Their
/// addresses count up from that of each vif, within its network, and skip that of its gateway.
///
/// # Errors
/// The config cannot be used for this number of guests.
pub fn numbered(config: &DomainConfig, count: u32) -> Result<Vec<DomainConfig>, NumberedError> {
    if count > 1 && config.vifs.iter().any(|vif| vif.mac.is_some()) {
        return Err(NumberedError::Mac);
    }
    if count > 1 && config.extras().uuid.is_some() {
        return Err(NumberedError::Uuid);
    }
    let has_ip = |vif: &VifConfig| vif.script.as_ref().is_some_and(|script| script.ip.is_some());
    if count > 1 && config.vifs.iter().any(has_ip) {
        return Err(NumberedError::ScriptIp);
    }
    if count > 1
        && let Some(disk) = config.disks.iter().find(|disk| !disk.read_only)
    {
        return Err(NumberedError::Disk { path: disk.target.clone() });
    }
    let mut configs = Vec::new();
    let of_vif = |vif: &VifConfig| (vif.ip.map(addresses), vif.ip6.map(ipv6_addresses));
    let mut addresses: Vec<_> = config.vifs.iter().map(of_vif).collect();
    for number in 0..count {
        let mut guest = config.clone();
        guest.name = format!("{}-{}", config.name, number + 1);
        check_name(&guest.name)
            .map_err(|error| NumberedError::Name { name: guest.name.clone(), error })?;
        for (vif, (ipv4, ipv6)) in guest.vifs.iter_mut().zip(&mut addresses) {
            let full = |address, prefix| NumberedError::Network { address, prefix, room: number };
            if let (Some(ip), Some(addresses)) = (&mut vif.ip, ipv4) {
                let error = full(ip.address.into(), ip.prefix);
                ip.address = addresses.next().ok_or(error)?;
            }
            if let (Some(ip), Some(addresses)) = (&mut vif.ip6, ipv6) {
                let error = full(ip.address.into(), ip.prefix);
                ip.address = addresses.next().ok_or(error)?;
            }
        }
        configs.push(guest);
    }
    Ok(configs)
}

/// Returns the addresses that guests can have, from the given one to the end of its network,
/// without the network address, the broadcast address and the gateway's.
fn addresses(ip: Ipv4Config) -> impl Iterator<Item = Ipv4Addr> {
    let host_bits = u32::MAX.checked_shr(ip.prefix.into()).unwrap_or(0);
    let first = ip.address.to_bits();
    let last = first | host_bits;
    // Networks of one or two addresses have no broadcast address (RFC 3021).
    let reserved =
        move |address: u32| ip.prefix < 31 && (address == last || address == last & !host_bits);
    (first..=last)
        .filter(move |address| !reserved(*address))
        .map(Ipv4Addr::from_bits)
        .filter(move |address| Some(*address) != ip.gateway)
}

/// Returns the IPv6 addresses that guests can have, from the given one to the end of its network,
/// without the gateway's.
fn ipv6_addresses(ip: Ipv6Config) -> impl Iterator<Item = Ipv6Addr> {
    let host_bits = u128::MAX.checked_shr(ip.prefix.into()).unwrap_or(0);
    let first = ip.address.to_bits();
    (first..=first | host_bits)
        .map(Ipv6Addr::from_bits)
        .filter(move |address| Some(*address) != ip.gateway)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(vif: &str) -> DomainConfig {
        let text = format!("name='web'\ntype='pvh'\nkernel='k'\nvif=['{vif}']");
        super::super::parse_str("test", &text, &[], true).unwrap().config
    }

    fn addresses_of(vif: &str, count: u32) -> Result<Vec<String>, NumberedError> {
        let guests = numbered(&config(vif), count)?;
        Ok(guests.iter().map(|guest| guest.vifs[0].ip.unwrap().address.to_string()).collect())
    }

    #[test]
    fn several_guests_share_only_disks_that_they_read() {
        let of_access = |access: &str, count| {
            let mut config = config("");
            let disk = format!("/a,raw,xvda,{access}");
            config.disks = vec![crate::config::parse_disk_arguments(&[disk]).unwrap()];
            numbered(&config, count).map(|guests| guests.len())
        };
        assert_eq!((of_access("r", 2), of_access("w", 1)), (Ok(2), Ok(1)));
        assert_eq!(of_access("w", 2), Err(NumberedError::Disk { path: "/a".into() }));
    }

    #[test]
    fn names_and_addresses_count_up() {
        let guests = numbered(&config("ip=10.0.0.254/16 10.0.0.1"), 3).unwrap();
        let names: Vec<_> = guests.iter().map(|guest| guest.name.as_str()).collect();
        assert_eq!(names, ["web-1", "web-2", "web-3"]);
        let addresses = addresses_of("ip=10.0.0.254/16 10.0.0.1", 3).unwrap();
        assert_eq!(addresses, ["10.0.0.254", "10.0.0.255", "10.0.1.0"]);
    }

    #[test]
    fn the_addresses_of_each_vif_count_up() {
        let guests = numbered(&config("ip=10.0.0.2', '', 'ip=10.1.0.9"), 3).unwrap();
        let ip = |vif: &VifConfig| vif.ip.map(|ip| ip.address.to_string());
        let last: Vec<_> = guests[2].vifs.iter().map(ip).collect();
        assert_eq!(last, [Some("10.0.0.4".to_owned()), None, Some("10.1.0.11".to_owned())]);
    }

    #[test]
    fn gateway_and_broadcast_address_are_skipped() {
        let addresses = addresses_of("ip=10.0.0.2/29 10.0.0.4", 4).unwrap();
        assert_eq!(addresses, ["10.0.0.2", "10.0.0.3", "10.0.0.5", "10.0.0.6"]);
        let error = addresses_of("ip=10.0.0.2/29 10.0.0.4", 5).unwrap_err();
        assert!(matches!(error, NumberedError::Network { room: 4, .. }), "{error}");
        assert_eq!(addresses_of("ip=10.0.0.0/31", 2).unwrap(), ["10.0.0.0", "10.0.0.1"]);
        assert_eq!(addresses_of("ip=10.0.0.7/32", 1).unwrap(), ["10.0.0.7"]);
    }

    #[test]
    fn addresses_of_both_families_count_up() {
        let guests = numbered(&config("ip=10.0.0.2/24 2001:db8::fffe/64 2001:db8::ffff"), 3);
        let both = |guest: &DomainConfig| {
            let vif = &guest.vifs[0];
            format!("{} {}", vif.ip.unwrap().address, vif.ip6.unwrap().address)
        };
        let addresses: Vec<_> = guests.unwrap().iter().map(both).collect();
        let expected =
            ["10.0.0.2 2001:db8::fffe", "10.0.0.3 2001:db8::1:0", "10.0.0.4 2001:db8::1:1"];
        assert_eq!(addresses, expected);
        let error = numbered(&config("ip=2001:db8::6/125 2001:db8::7"), 2).unwrap_err();
        assert!(matches!(error, NumberedError::Network { room: 1, prefix: 125, .. }), "{error}");
    }

    #[test]
    fn a_mac_address_is_refused_for_several_guests() {
        let config = config("mac=00:16:3e:00:00:01");
        assert_eq!(numbered(&config, 2), Err(NumberedError::Mac));
        assert_eq!(numbered(&config, 1).unwrap()[0].name, "web-1");
    }

    #[test]
    fn guests_without_an_address_get_names_only() {
        assert_eq!(numbered(&config("bridge=b"), 300).unwrap()[299].name, "web-300");
    }
}
