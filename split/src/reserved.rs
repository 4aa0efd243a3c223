// SPDX-License-Identifier: GPL-3.0-or-later
//! Addresses of guests that are to be restarted.
//!
//! Between the end of a guest and its successor no guest has its addresses, and `noxsd` would give
//! them to the first one that asks. A user other than root could ask all the time, until the guest
//! of another user ends.

use std::net::Ipv6Addr;

use chaos::config::{DomainConfig, VifConfig};
use chaos::guests;
use chaos::records::{Record, RecordError, Records};
use noxs::eui64;
use noxs_control::VifAddress;

use crate::members::MemberRefusal;

/// Returns the refusal of a guest of this config if another one that is to be restarted has an
/// address of it. `counts` selects by their owner which guests count. A pending restart that cannot
/// be read does not: there will be no such guest.
///
/// # Errors
/// The pending restarts cannot be listed.
pub(crate) fn refusal(
    records: &Records,
    config: &DomainConfig,
    counts: impl Fn(u32) -> bool,
) -> Result<Option<MemberRefusal>, RecordError> {
    if config.vifs.is_empty() {
        return Ok(None);
    }
    for name in records.restarts()? {
        let Ok(Some(record)) = records.pending_restart(&name) else { continue };
        if counts(record.owner)
            && let Some(address) = shared(config, &record)
        {
            return Ok(Some(MemberRefusal::AddressPending { address, name }));
        }
    }
    Ok(None)
}

/// Returns an address of the config that the guest with this record has on the same bridge.
fn shared(config: &DomainConfig, record: &Record) -> Option<VifAddress> {
    let of_vif = |(vif, other): (&VifConfig, &VifConfig)| {
        if vif.bridge != other.bridge {
            return None;
        }
        // Also one that the config does not name: it is derived from the IPv4 address, of which it
        // has a part only, so that guests of different networks may have the same.
        let mac = guests::fixed_mac(vif).filter(|mac| guests::fixed_mac(other) == Some(*mac));
        let address = |vif: &VifConfig| vif.ip.as_ref().map(|ip| ip.address);
        let ipv4 = address(vif).filter(|ipv4| address(other) == Some(*ipv4));
        // An address that is derived from a MAC address belongs to the guest that has it.
        let is_others = |ipv6: &Ipv6Addr| {
            other.ip6.is_some_and(|ip| ip.address == *ipv6)
                || eui64::mac(*ipv6).is_some_and(|mac| guests::fixed_mac(other) == Some(mac))
        };
        let ipv6 = vif.ip6.map(|ip| ip.address).filter(is_others);
        ipv4.map(VifAddress::Ipv4).or(ipv6.map(VifAddress::Ipv6)).or(mac.map(VifAddress::Mac))
    };
    let others = &record.config.vifs;
    config.vifs.iter().flat_map(|vif| others.iter().map(move |other| (vif, other))).find_map(of_vif)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use xen::units::{DomId, DomainHandle};

    use super::*;
    use crate::members::ROOT;

    fn config(name: &str, vif: &str) -> DomainConfig {
        let text = format!("name='{name}'\ntype='pvh'\nkernel='/k'\nmemory=4\nvif=[{vif}]");
        chaos::config::parse_str("test", &text, &[], true).unwrap().config
    }

    #[test]
    fn addresses_of_a_guest_that_is_to_be_restarted_are_reserved() {
        let folder = tempfile::tempdir().unwrap();
        let records = Records::at(folder.path().to_owned());
        let found = |vif: &str, counts: fn(u32) -> bool| {
            let refusal = refusal(&records, &config("new", vif), counts).unwrap()?;
            let text = refusal.to_string();
            assert!(text.contains("is that of guest web, which is to be restarted"), "{text}");
            let MemberRefusal::AddressPending { address, .. } = refusal else { panic!("{text}") };
            Some(address)
        };
        let ip = "'bridge=b,ip=10.0.0.5/24'";
        assert_eq!(found(ip, |_| true), None);
        let addresses = "ip=10.0.0.5/24 2001:db8::5/64,mac=00:16:3e:00:00:05";
        let web = config("web", &format!("'bridge=b,{addresses}'"));
        records.record_restart(&Record::new(DomId(3), DomainHandle([1; 16]), web)).unwrap();
        let ipv4 = Some(VifAddress::Ipv4(Ipv4Addr::new(10, 0, 0, 5)));
        assert_eq!(found(ip, |_| true), ipv4);
        assert_eq!(found(ip, |owner| owner == ROOT), ipv4);
        assert_eq!(found(ip, |owner| owner != ROOT), None, "it is its owner's");
        let mac = found("'bridge=b,ip=10.0.0.6/24,mac=00:16:3e:00:00:05'", |_| true);
        assert!(matches!(mac, Some(VifAddress::Mac(_))), "{mac:?}");
        // Its MAC address would be derived from the IPv4 address, and be the same.
        for other in ["11.0.0.5", "10.128.0.5"] {
            let derived = found(&format!("'bridge=b,ip={other}/24'"), |_| true);
            assert_eq!(derived, mac, "{other}");
        }
        let own = found("'bridge=b,ip=11.0.0.5/24,mac=00:16:3e:00:00:06'", |_| true);
        assert_eq!(own, None, "no address is derived");
        assert_eq!(found("'bridge=c,ip=10.0.0.5/24'", |_| true), None, "another bridge");
        for ipv6 in ["2001:db8::5", "2001:db8:7::216:3eff:fe00:5"] {
            let address = Some(VifAddress::Ipv6(ipv6.parse().unwrap()));
            assert_eq!(found(&format!("'bridge=b,ip={ipv6}/64'"), |_| true), address);
        }
        assert_eq!(found("'bridge=b,ip=2001:db8::6/64'", |_| true), None);
        assert_eq!(found("'bridge=c,ip=10.0.0.5/24 2001:db8::5/64'", |_| true), None, "elsewhere");
        assert_eq!(found("'bridge=b'", |_| true), None);
        assert_eq!(found("", |_| true), None);
        records.drop_restart("web").unwrap();
        assert_eq!(found(ip, |_| true), None);
    }
}
