// SPDX-License-Identifier: GPL-3.0-or-later
//! Tests of attaching and detaching.

use super::*;

#[test]
fn a_refused_attach_leaves_nothing() {
    let mut bed = Bed::new();
    bed.running(1);
    let bound = bed.domains.host.bound.clone();
    bed.guest(2);
    let refused = |bed: &mut Bed, attach: &Attach| {
        let refusal = bed.attach(attach).unwrap_err();
        assert_eq!(bed.domains.host.bound, bound, "{refusal}");
        assert_eq!(bed.domains.slots.len(), 1, "{refusal}");
        refusal
    };
    let good = attach(2);
    let changed = |change: fn(&mut Attach)| {
        let mut attach = good.clone();
        change(&mut attach);
        attach
    };
    let clash = changed(|a| first(a).mac = mac(1));
    assert_eq!(refused(&mut bed, &clash), mac_in_use(mac(1), AddressOwner::Domain(1)));
    let clash = changed(|a| first(a).ipv4 = Some(ip(1)));
    assert_eq!(refused(&mut bed, &clash), ipv4_in_use(ip(1), AddressOwner::Domain(1)));
    let twice = changed(|a| {
        let mut second = a.vifs[0].clone();
        second.index = 1;
        a.vifs.push(second);
    });
    assert_eq!(refused(&mut bed, &twice), ipv4_in_use(ip(2), AddressOwner::SameRequest));
    let mut same_mac = twice.clone();
    same_mac.vifs[1].identity.as_mut().unwrap().ipv4 = Some(ip(3));
    assert_eq!(refused(&mut bed, &same_mac), mac_in_use(mac(2), AddressOwner::SameRequest));
    let nowhere = changed(|a| a.vifs[0].bridge = "br9".into());
    assert_eq!(refused(&mut bed, &nowhere), Refusal::NoSwitch("br9".into()));
    let no_grant = changed(|a| a.vifs[0].rx_ring = 9999);
    assert!(matches!(refused(&mut bed, &no_grant), Refusal::System { .. }));
    for invalid in [
        changed(|a| first(a).mac = MacAddr([0xff; 6])),
        changed(|a| first(a).mac = MacAddr([0; 6])),
        changed(|a| first(a).mtu = 0),
        changed(|a| first(a).mtu = u16::MAX),
        changed(|a| first(a).rate = Some(Rate { bytes: 0, interval_us: 1 })),
        changed(|a| a.vifs = vec![a.vifs[0].clone(); noxs::MAX_VIFS + 1]),
        changed(|a| a.id.domid = 0),
        changed(|a| a.id.domid = 0x7ff0),
        changed(|a| {
            a.console = None;
            a.vifs.clear();
        }),
        attach(1),
    ] {
        assert!(matches!(refused(&mut bed, &invalid), Refusal::Invalid(_)), "{invalid:?}");
    }
    for failing in 0..2 {
        bed.domains.host.fail_bind = Some(failing);
        assert!(matches!(refused(&mut bed, &good), Refusal::System { .. }));
    }
    bed.domains.host.fail_bind = None;
    let no_log = bed.domains.attach(&good, None, AttachedAs::New, bed.now, &mut bed.clients);
    assert!(matches!(no_log, Err(Refusal::Invalid(_))));
    bed.attach(&good).unwrap();
}

#[test]
fn no_page_of_a_detached_domain_stays_mapped() {
    let mut bed = Bed::new();
    bed.guest(1);
    let rings = [CONSOLE_REF, TX_REF, RX_REF].map(|gref| bed.page(1, gref));
    let before = rings.each_ref().map(FakePage::holders);
    let one = attach(1);
    bed.attach(&one).unwrap();
    assert!(rings.iter().zip(before).all(|(ring, before)| ring.holders() > before));
    bed.domains.detach(one.id, &mut bed.clients).unwrap();
    assert_eq!(rings.each_ref().map(FakePage::holders), before);
}

#[test]
fn a_reused_domid_detaches_the_old_domain() {
    let mut bed = Bed::new();
    let old = bed.running(1);
    bed.domains.open_console(old.id, ClientId(3), ConsoleUse::Terminal).unwrap();
    bed.guest(1);
    let mut new = attach(1);
    new.id.handle = [8; 16];
    bed.attach(&new).unwrap();
    assert_eq!(bed.domains.host.bound.len(), 2);
    assert_eq!(bed.clients.closed, [ClientId(3)]);
    assert_eq!(bed.domains.detach(old.id, &mut bed.clients), Err(Refusal::NoDevice));
    bed.domains.detach(new.id, &mut bed.clients).unwrap();
    assert!(bed.domains.host.bound.is_empty());
    assert!(bed.domains.by_port.numbers().next().is_none() && bed.domains.turns.waiting() == 0);
    let free = std::iter::once((0, BridgeId(0)));
    assert_eq!(bed.domains.net.check_identities(free, &[identity(1)]), Ok(()));
}

#[test]
fn an_event_on_a_released_port_is_ignored() {
    let mut bed = Bed::new();
    let one = bed.running(1);
    let (console, vif) = bed.ports(1);
    bed.domains.event(vif);
    bed.domains.event(console);
    bed.domains.detach(one.id, &mut bed.clients).unwrap();
    bed.domains.event(vif);
    bed.domains.event(LocalPort(4_000_000_000));
    bed.settle();
    assert!(bed.domains.host.unmasked.is_empty());
}
