// SPDX-License-Identifier: GPL-3.0-or-later
//! Tests of domains with several vifs and no console, whose port may pass to other domains.

use proptest::prelude::*;

use super::*;

/// Grant references of the rings of vif 0 and of vif 1.
pub(super) const RINGS: [(u32, u32); 2] = [(TX_REF, RX_REF), (DATA_REF, DATA_REF + 1)];

/// Returns a request for a domain with two vifs on one port and no console.
pub(super) fn two_vifs(domid: u16) -> Attach {
    let mut attach = Attach { console: None, ..attach(domid) };
    let mut second = VifDevice { index: 1, ..attach.vifs[0].clone() };
    (second.tx_ring, second.rx_ring) = RINGS[1];
    let identity =
        VifIdentity { mac: mac(domid + 100), ipv4: Some(ip(domid + 100)), ..identity(domid) };
    second.identity = Some(identity);
    attach.vifs.push(second);
    attach
}

impl Bed {
    /// Breaks the transmit ring of a vif of a domain of [`two_vifs`], and raises its event.
    fn break_vif(&mut self, domid: u16, vif: usize) {
        frontend::set_producer(&self.page(domid, RINGS[vif].0), 1 << 20);
        self.domains.events_lost();
        self.settle();
    }

    /// Panics unless the bound ports are those that the devices have.
    fn check_ports(&self) {
        let ports: Vec<LocalPort> = self.domains.by_port.numbers().map(LocalPort).collect();
        assert_eq!(ports, self.domains.host.bound.iter().copied().collect::<Vec<_>>());
        for (_, domain) in &self.domains.slots {
            for port in domain.devices.iter().filter_map(|device| device.port) {
                let owner =
                    self.domains.by_port.get(port.0).map(|index| self.domains.slots[index.0].id);
                assert_eq!(owner, Some(domain.id), "port {port}");
            }
        }
    }
}

#[test]
fn a_guest_that_breaks_its_vifs_does_not_take_the_port_of_another() {
    for guest in [AttachedAs::New, AttachedAs::Running] {
        let mut bed = Bed::new();
        bed.guest(1);
        frontend::set_producer(&bed.page(1, TX_REF), 1 << 20);
        let hostile = two_vifs(1);
        bed.attach_as(&hostile, guest).unwrap();
        assert!(bed.broken(&hostile)[0].is_some(), "broken while it is put on its bridge");
        let victim = bed.running(2);
        bed.check_ports();
        bed.break_vif(1, 1);
        bed.check_ports();
        bed.domains.detach(hostile.id, &mut bed.clients).unwrap();
        bed.check_ports();
        assert_eq!(bed.broken(&victim), [None, None]);
        bed.send(2, 0, &frame_to(99, 2));
        bed.run(2);
        assert_eq!(bed.sent(2), [(0, 0)]);
    }
}

#[test]
fn a_device_whose_port_is_another_domains_does_not_unbind_it() {
    let mut bed = Bed::new();
    bed.guest(1);
    let one = two_vifs(1);
    bed.attach(&one).unwrap();
    bed.running(2);
    let (victim, _) = bed.ports(2);
    // A port that a mistake has left in a device after its number went to another domain.
    let index = bed.domains.by_domid.get(1).unwrap();
    let own = bed.domains.slots[index.0].devices[0].port.replace(victim);
    bed.domains.slots[index.0].devices[1].port = None;
    bed.domains.detach(one.id, &mut bed.clients).unwrap();
    assert!(bed.domains.host.bound.contains(&victim));
    assert_eq!(bed.domains.by_port.get(victim.0), bed.domains.by_domid.get(2));
    assert!(bed.domains.host.bound.contains(&own.unwrap()), "it is not known to be this device's");
}

/// What may happen to hostile guests 1 and 2, each with two vifs on one port, and to guest 4.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A hostile guest writes a request index into a ring of one of its vifs.
    Index(u16, usize, bool, u32),
    /// A hostile guest is removed, and attached again as new or as running.
    Again(u16, bool),
    /// A well-behaved guest comes or goes, and may get a port that was released.
    Other,
}

fn step() -> impl Strategy<Value = Step> {
    let indices = prop_oneof![0u32..3, 200u32..300, Just(1 << 20)];
    prop_oneof![
        (1u16..3, 0usize..2, any::<bool>(), indices)
            .prop_map(|(domid, vif, tx, index)| Step::Index(domid, vif, tx, index)),
        (1u16..3, any::<bool>()).prop_map(|(domid, running)| Step::Again(domid, running)),
        Just(Step::Other),
    ]
}

proptest! {
    // Few cases, because each creates a whole bed.
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever guests with several vifs and no console write, and in whatever order guests come
    /// and go, each port belongs to one domain, and a well-behaved guest keeps its devices.
    #[test]
    fn guests_with_several_vifs_harm_only_themselves(
        steps in proptest::collection::vec(step(), 0..40),
    ) {
        let mut bed = Bed::new();
        let hostile = [two_vifs(1), two_vifs(2)];
        for attach in &hostile {
            bed.guest(attach.id.domid);
            bed.attach(attach).unwrap();
        }
        let good = bed.running(3);
        bed.guest(4);
        let other = attach(4);
        for step in steps {
            match step {
                Step::Index(domid, vif, tx, index) => {
                    let (tx_ring, rx_ring) = RINGS[vif];
                    let ring = if tx { tx_ring } else { rx_ring };
                    frontend::set_producer(&bed.page(domid, ring), index);
                }
                Step::Again(domid, running) => {
                    let attach = &hostile[usize::from(domid) - 1];
                    bed.domains.detach(attach.id, &mut bed.clients).unwrap();
                    let guest = if running { AttachedAs::Running } else { AttachedAs::New };
                    bed.attach_as(attach, guest).unwrap();
                }
                Step::Other => {
                    if bed.domains.detach(other.id, &mut bed.clients).is_err() {
                        bed.attach(&other).unwrap();
                    }
                }
            }
            bed.domains.events_lost();
            for _ in 0..5 {
                bed.domains.turn(bed.now, &mut bed.clients);
            }
            while bed.frame_out().is_some() {}
            bed.check_ports();
        }
        bed.post(3, 1);
        bed.frame_in_once(&frame_to(3, 99));
        prop_assert!(bed.received(3).contains(&60));
        prop_assert_eq!(bed.broken(&good), [None, None]);
    }
}
