// SPDX-License-Identifier: GPL-3.0-or-later
//! Addresses of vifs that are in use.

use std::net::{Ipv4Addr, Ipv6Addr};

use daemon::chain::chain;
use noxs::MacAddr;
use noxs_control::{AddressInUse, AddressOwner, DomainId, Refusal, VifAddress, VifIdentity};
use xen::units::DomId;

use super::noxsd::Behaviour;
use super::{Bed, config_without_devices, parse};
use crate::backends::disks::OpenDisks;
use crate::backends::noxsd::configure_restarted;
use crate::clients::noxsd::{BackendError, Configure};
use crate::config::DomainConfig;
use crate::guests::{LifecycleError, execute_shell, prepare_shell, shell_kind};
use crate::hypervisor::fake::abandoned_handle;
use crate::records::Record;
use crate::timings::Timings;

/// What is derived from 10.9.9.5, and from 11.9.9.5.
const DERIVED: MacAddr = MacAddr([0x00, 0x16, 0x3e, 9, 9, 5]);

fn with_vif(name: &str, vif: &str) -> DomainConfig {
    parse(&format!("name='{name}'\ntype='pvh'\nkernel='/k'\nmemory=4\nvif=['bridge=b,{vif}']"))
}

fn in_use(address: VifAddress, owner: AddressOwner) -> Behaviour {
    Behaviour::InUse(vec![AddressInUse { address, owner }])
}

/// Creates a guest in this process or from a shell, as chaosd does.
fn create(bed: &Bed, config: &DomainConfig, from_shell: bool) -> Result<Record, LifecycleError> {
    let request = bed.request(config);
    let created = match from_shell {
        false => bed.create(config),
        true => {
            let kind = shell_kind(config);
            let shell = prepare_shell(&bed.host, &kind, &mut Timings::start()).unwrap();
            execute_shell(&bed.host, shell, &request, &mut Timings::start())
        }
    };
    created.map(|created| created.record)
}

#[test]
fn a_generated_mac_address_that_is_in_use_is_replaced() {
    for from_shell in [false, true] {
        for owner in [AddressOwner::Domain(77), AddressOwner::Dom0] {
            let (bed, noxsd) = Bed::with_noxsd();
            noxsd.behave(in_use(VifAddress::Mac(DERIVED), owner));
            let record = create(&bed, &with_vif("a", "ip=11.9.9.5"), from_shell).unwrap();
            let mac = record.config.vifs[0].mac.unwrap();
            assert!(mac != DERIVED && mac.0[..3] == [0x00, 0x16, 0x3e], "{mac}");
            let devices = bed.host.records.devices(record.domid).unwrap().unwrap();
            assert_eq!(devices.vifs[0].identity.unwrap().mac, mac, "also for a restarted noxsd");
            assert_eq!(bed.xen().domids(), [record.domid.0]);
            assert_eq!(bed.host.records.domids().unwrap(), [record.domid]);
        }
    }
}

#[test]
fn an_address_of_the_user_is_not_changed_and_the_error_names_the_guest_that_has_it() {
    let mac = MacAddr([0x00, 0x16, 0x3e, 0, 0, 1]);
    let ipv4 = Ipv4Addr::new(10, 9, 9, 5);
    let ipv6 = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 5);
    for from_shell in [false, true] {
        for (vif, address, shown) in [
            ("mac=00:16:3e:00:00:01", VifAddress::Mac(mac), "MAC address 00:16:3e:00:00:01"),
            ("ip=10.9.9.5", VifAddress::Ipv4(ipv4), "IPv4 address 10.9.9.5"),
            ("ip=2001:db8::5", VifAddress::Ipv6(ipv6), "IPv6 address 2001:db8::5"),
        ] {
            let (bed, noxsd) = Bed::with_noxsd();
            let owner = bed.create(&config_without_devices("web")).unwrap().domid;
            noxsd.behave(in_use(address, AddressOwner::Domain(owner.0)));
            let error = create(&bed, &with_vif("a", vif), from_shell).unwrap_err();
            let text = chain(&error);
            let expected = format!("{shown} of vif0 is in use on bridge b by guest web (domain 1)");
            assert!(text.contains(&expected), "{text}");
            assert_eq!(bed.xen().domids(), [1], "the guest that has it stays");
            assert_eq!(bed.host.records.domids().unwrap(), [owner]);
        }
    }
}

#[test]
fn an_address_of_dom0_is_refused_with_the_interface_that_has_it() {
    let (bed, noxsd) = Bed::with_noxsd();
    noxsd.behave(in_use(VifAddress::Ipv4(Ipv4Addr::LOCALHOST), AddressOwner::Dom0));
    let mut config = with_vif("a", "ip=10.9.9.5");
    // A config with this address is refused, but each machine has it.
    config.vifs[0].ip.as_mut().unwrap().address = Ipv4Addr::LOCALHOST;
    let text = chain(&bed.create(&config).unwrap_err());
    assert!(text.contains("by dom0's interface lo; choose another with ip="), "{text}");
}

#[test]
fn an_address_of_an_incomplete_domain_is_freed() {
    let (bed, noxsd) = Bed::with_noxsd();
    bed.leave_incomplete(DomId(1), abandoned_handle(), "killed");
    let address = VifAddress::Ipv4(Ipv4Addr::new(10, 9, 9, 5));
    noxsd.behave(Behaviour::InUseUntilDetached(AddressInUse {
        address,
        owner: AddressOwner::Domain(1),
    }));
    let record = create(&bed, &with_vif("a", "ip=10.9.9.5"), false).unwrap();
    assert_eq!(record.config.vifs[0].mac, Some(DERIVED));
    assert_eq!(bed.xen().domids(), [record.domid.0]);
}

#[test]
fn a_noxsd_that_refuses_each_address_is_not_asked_without_end() {
    let (bed, noxsd) = Bed::with_noxsd();
    noxsd.behave(Behaviour::RefusesEachMac);
    bed.create(&with_vif("a", "ip=10.9.9.5")).unwrap_err();
    bed.assert_empty("after each address was refused");
}

#[test]
fn a_noxsd_that_was_restarted_after_its_answer_learns_the_addresses() {
    let (bed, noxsd) = Bed::with_noxsd();
    let (link, disks) = (&bed.host.noxsd, OpenDisks::default());
    let vif = VifIdentity { mac: DERIVED, ipv4: None, ipv6: None, mtu: 1500, rate: None };
    let id = DomainId { domid: 1, handle: [1; 16] };
    let guest = Configure { id, vifs: &[vif], disks: &[], files: &[] };
    let restart = || {
        noxsd.behave(Behaviour::Dies("detach"));
        link.call(|noxsd| noxsd.detach(id)).unwrap_err();
        bed.done();
    };
    link.call(|noxsd| noxsd.finish_configure(guest)).unwrap();
    bed.done();
    configure_restarted(link, &disks, guest).unwrap();
    assert_eq!(bed.done(), Vec::<String>::new(), "it is the same noxsd");
    restart();
    noxsd.behave(Behaviour::Obedient);
    configure_restarted(link, &disks, guest).unwrap();
    assert_eq!(bed.done(), ["noxsd: configure"]);
    restart();
    noxsd.behave(Behaviour::Refuses("configure", Refusal::Invalid("configured already".into())));
    configure_restarted(link, &disks, guest).unwrap();
    restart();
    noxsd.behave(in_use(VifAddress::Mac(DERIVED), AddressOwner::Domain(77)));
    let refused = configure_restarted(link, &disks, guest).unwrap_err();
    assert!(matches!(refused, BackendError::Refused(Refusal::AddressInUse(_))), "{refused}");
}
