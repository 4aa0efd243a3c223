// SPDX-License-Identifier: GPL-3.0-or-later
//! Tests of vifs that are attached first and configured later.

use super::*;

/// Returns a request for a domain whose vif has no identity yet.
fn prepared(domid: u16) -> Attach {
    let mut attach = attach(domid);
    attach.vifs[0].identity = None;
    attach
}

impl Bed {
    pub(super) fn prepared(&mut self, domid: u16) -> Attach {
        self.guest(domid);
        let attach = prepared(domid);
        self.attach(&attach).unwrap();
        attach
    }

    pub(super) fn configure(&mut self, id: DomainId, vifs: &[VifIdentity]) -> Result<(), Refusal> {
        self.domains.configure(id, vifs, (&[], Vec::new()), self.now, &mut self.clients)
    }
}

#[test]
fn a_prepared_vif_is_on_no_switch_until_it_is_configured() {
    let mut bed = Bed::new();
    bed.running(2);
    let one = bed.prepared(1);
    let [console, vif] = &bed.domains.status(one.id).unwrap().devices[..] else { panic!() };
    assert_eq!((&*console.name, &*vif.name), ("console", "vif0"));
    bed.post(1, 4);
    bed.send(2, 0, &frame_to(1, 2));
    bed.run(2);
    assert_eq!(bed.frame_out(), Some(frame_to(1, 2)), "no vif has the address yet");
    bed.frame_in(&build::ipv4(MacAddr([0xff; 6]), mac(9), ip(9)));
    assert!(bed.received(1).is_empty());

    bed.configure(one.id, &[identity(1)]).unwrap();
    bed.settle();
    bed.send(2, 1, &frame_to(1, 2));
    bed.run(2);
    assert_eq!(bed.frame_out(), None);
    assert_eq!(bed.received(1), [60]);
}

#[test]
fn the_console_of_a_prepared_domain_works() {
    let mut bed = Bed::new();
    let one = bed.prepared(1);
    bed.domains.open_console(one.id, ClientId(0), ConsoleUse::Terminal).unwrap();
    bed.domains.input(one.id, ClientId(0), b"typed").unwrap();
    bed.settle();
    let counters = bed.domains.status(one.id).unwrap().devices[0].counters;
    let typed = ConsoleStatus { from_guest_bytes: 0, to_guest_bytes: 5 };
    assert_eq!(counters, DeviceCounters::Console(typed));
}

#[test]
fn an_idle_guest_is_configured_without_a_turn() {
    let mut bed = Bed::new();
    let one = bed.prepared(1);
    bed.configure(one.id, &[identity(1)]).unwrap();
    assert!(!bed.domains.has_work());
    assert!(bed.domains.host.notified.is_empty());
}

#[test]
fn invalid_identities_are_refused_and_change_nothing() {
    let mut bed = Bed::new();
    bed.guest(1);
    let mut two = prepared(1);
    let VifDevice { bridge, .. } = two.vifs[0].clone();
    let (tx_ring, rx_ring) = (DATA_REF, DATA_REF + 1);
    two.vifs.push(VifDevice { index: 1, port: 3, tx_ring, rx_ring, bridge, identity: None });
    bed.attach(&two).unwrap();
    bed.running(2);
    let good = [identity(1), identity(3)];
    let with = |change: fn(&mut VifIdentity)| {
        let mut identities = good;
        change(&mut identities[1]);
        identities.to_vec()
    };

    let other = DomainId { handle: [8; 16], ..two.id };
    assert_eq!(bed.configure(other, &good), Err(Refusal::NoDevice));
    for (taken, owner) in [(1, AddressOwner::SameRequest), (2, AddressOwner::Domain(2))] {
        let mut identities = good;
        identities[1].mac = mac(taken);
        assert_eq!(bed.configure(two.id, &identities), Err(mac_in_use(mac(taken), owner)));
        let mut identities = good;
        identities[1].ipv4 = Some(ip(taken));
        assert_eq!(bed.configure(two.id, &identities), Err(ipv4_in_use(ip(taken), owner)));
    }
    for wrong in [
        vec![identity(1)],
        vec![],
        [identity(1); 3].to_vec(),
        with(|vif| vif.mac = MacAddr([0; 6])),
        with(|vif| vif.mac = MacAddr([0xff; 6])),
        with(|vif| vif.mtu = 67),
        with(|vif| vif.mtu = 9001),
        with(|vif| vif.rate = Some(Rate { bytes: 1, interval_us: 0 })),
    ] {
        let refusal = bed.configure(two.id, &wrong).unwrap_err();
        assert!(matches!(refusal, Refusal::Invalid(_)), "{refusal}");
    }
    assert!(!bed.domains.has_work());
    bed.configure(two.id, &good).unwrap();
    let refusal = bed.configure(two.id, &good).unwrap_err();
    assert!(refusal.to_string().contains("already"), "{refusal}");
}

#[test]
fn identities_of_some_vifs_only_and_domains_without_vifs_are_refused() {
    let mut bed = Bed::new();
    bed.guest(1);
    let mut mixed = attach(1);
    mixed.vifs.push(VifDevice { index: 1, port: 3, identity: None, ..mixed.vifs[0].clone() });
    assert!(matches!(bed.attach(&mixed), Err(Refusal::Invalid(_))));
    assert!(bed.domains.host.bound.is_empty());
    let bare = Attach { vifs: Vec::new(), ..attach(1) };
    bed.attach(&bare).unwrap();
    assert!(matches!(bed.configure(bare.id, &[]), Err(Refusal::Invalid(_))));
}

#[test]
fn detaching_frees_addresses_and_leaves_nothing_of_a_prepared_domain() {
    let mut bed = Bed::new();
    let one = bed.prepared(1);
    bed.domains.detach(one.id, &mut bed.clients).unwrap();
    assert!(bed.domains.host.bound.is_empty());
    assert_eq!(bed.domains.by_port.numbers().count(), 0);

    let one = bed.prepared(1);
    bed.configure(one.id, &[identity(1)]).unwrap();
    let two = bed.prepared(2);
    let refusal = ipv4_in_use(ip(1), AddressOwner::Domain(1));
    assert_eq!(bed.configure(two.id, &[identity(1)]), Err(refusal));
    bed.domains.detach(one.id, &mut bed.clients).unwrap();
    bed.configure(two.id, &[identity(1)]).unwrap();
}

#[test]
fn a_restarted_noxsd_configures_a_guest_that_was_configured_before() {
    let mut bed = Bed::new();
    bed.guest(1);
    // The earlier noxsd had configured the vif, but the record has no identity.
    frontend::send(&bed.page(1, TX_REF), 9999, 0, 0, 7, 60);
    let one = prepared(1);
    bed.attach_as(&one, AttachedAs::Running).unwrap();
    bed.settle();
    assert!(bed.sent(1).is_empty());
    bed.configure(one.id, &[identity(1)]).unwrap();
    bed.settle();
    assert_eq!(bed.sent(1), [(7, -1)]);
    let port = bed.vif_port(1);
    assert!(
        bed.domains.host.notified.contains(&port),
        "the earlier noxsd may not have sent its event"
    );
}

#[test]
fn a_ring_that_is_broken_before_it_is_configured_costs_the_vif() {
    let mut bed = Bed::new();
    let one = bed.prepared(1);
    frontend::set_producer(&bed.page(1, TX_REF), NetTx::SLOTS + 1);
    bed.configure(one.id, &[identity(1)]).unwrap();
    assert!(matches!(&bed.broken(&one)[..], [None, Some(_)]));
    bed.running(2);
    bed.send(2, 0, &frame_to(1, 2));
    bed.run(2);
    assert!(bed.frame_out().is_some(), "frames for the address go to the tap");
}
