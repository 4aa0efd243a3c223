// SPDX-License-Identifier: GPL-3.0-or-later
//! Tests of devices that a running domain gets and loses.

use noxs::{MAX_DEVICES, MAX_VIFS};
use noxs_control::DeviceNumber;

use super::several_vifs::{RINGS, two_vifs};
use super::*;
use crate::net::waiting::ALL_BYTES;

/// Returns a request to add vif 1 to a domain of [`attach`], on the port of its vif 0.
fn second_vif(domid: u16) -> Attach {
    let mut request = two_vifs(domid);
    request.vifs.remove(0);
    request
}

/// Returns a request to add a vif with this number to domain 1.
fn another_vif(number: u16) -> Attach {
    let mut request = second_vif(1);
    request.vifs[0].index = number;
    let identity = first(&mut request);
    (identity.mac, identity.ipv4) = (mac(100 + number), Some(ip(100 + number)));
    request
}

impl Bed {
    fn add(&mut self, request: &Attach) -> Result<(), Refusal> {
        self.domains.attach_devices(request, Vec::new(), self.now, &mut self.clients)
    }

    fn detach_device(&mut self, id: DomainId, device: DeviceNumber) -> Result<(), Refusal> {
        self.domains.detach_device(id, device, &mut self.clients)
    }

    /// Sends a frame from the vif that was added.
    fn send_from_second(&mut self, domid: u16, frame: &[u8]) {
        self.page(domid, DATA_REF + 9).write(0, frame);
        let (tx, _) = RINGS[1];
        let length = u16::try_from(frame.len()).unwrap();
        frontend::send(&self.page(domid, tx), DATA_REF + 9, 0, 0, 0, length);
        self.run(domid);
    }

    fn names(&self, attach: &Attach) -> Vec<String> {
        let status = self.domains.status(attach.id).unwrap();
        status.devices.into_iter().map(|device| device.name).collect()
    }
}

#[test]
fn a_vif_that_is_added_works_beside_the_others_until_it_is_detached() {
    for again in [false, true] {
        let mut bed = Bed::new();
        let guest = bed.running(1);
        bed.running(2);
        let bound = bed.domains.host.bound.clone();
        bed.add(&second_vif(1)).unwrap();
        if again {
            // A toolstack was killed after it had added the vif, and the next one adds another.
            bed.add(&second_vif(1)).unwrap();
        }
        assert_eq!(bed.domains.host.bound, bound, "the port is shared");
        assert_eq!(bed.names(&guest), ["console", "vif0", "vif1"]);
        bed.send_from_second(1, &build::ipv4(mac(2), mac(101), ip(101)));
        assert_eq!(bed.traffic(&guest).from_guest_frames, 1);
        // The first pages are the rings of the second vif.
        bed.send(1, 2, &frame_to(2, 1));
        bed.run(1);
        assert_eq!(bed.sent(1), [(2, 0)]);

        let mut rival = attach(3);
        *first(&mut rival) = second_vif(1).vifs[0].identity.unwrap();
        bed.guest(3);
        let refused = bed.attach(&rival).unwrap_err();
        assert_eq!(refused, ipv4_in_use(ip(101), AddressOwner::Domain(1)));
        bed.detach_device(guest.id, DeviceNumber::Vif(1)).unwrap();
        assert_eq!(bed.names(&guest), ["console", "vif0"]);
        bed.attach(&rival).unwrap();
        bed.send(1, 3, &frame_to(2, 1));
        bed.run(1);
        assert_eq!(bed.sent(1), [(2, 0), (3, 0)], "the first vif works on");
        let twice = bed.detach_device(guest.id, DeviceNumber::Vif(1));
        assert_eq!(twice, Err(Refusal::NoDevice));
    }
}

#[test]
fn a_vif_in_the_middle_can_be_detached_and_its_place_is_used_again() {
    let mut bed = Bed::new();
    let guest = bed.running(1);
    bed.add(&second_vif(1)).unwrap();
    bed.detach_device(guest.id, DeviceNumber::Vif(0)).unwrap();
    assert_eq!(bed.names(&guest), ["console", "vif1"]);
    let mut first = guest.clone();
    first.console = None;
    bed.add(&first).unwrap();
    assert_eq!(bed.names(&guest), ["console", "vif0", "vif1"]);
    bed.send(1, 2, &frame_to(2, 1));
    bed.run(1);
    assert_eq!(bed.sent(1), [(2, 0)]);
}

#[test]
fn a_refused_device_leaves_nothing_and_others_work_on() {
    let mut bed = Bed::new();
    let guest = bed.running(1);
    bed.running(2);
    let bound = bed.domains.host.bound.clone();
    let request = |change: &dyn Fn(&mut Attach)| {
        let mut request = second_vif(1);
        change(&mut request);
        request
    };
    let in_use = request(&|request| first(request).mac = mac(2));
    let nowhere = request(&|request| request.vifs[0].bridge = "nowhere".into());
    let unmapped = request(&|request| request.vifs[0].tx_ring = 5000);
    let unnamed = request(&|request| request.vifs[0].identity = None);
    let with_console = request(&|request| request.console = guest.console);
    for wrong in [in_use, nowhere, unmapped, unnamed, with_console] {
        assert!(bed.add(&wrong).is_err(), "{wrong:?}");
        assert_eq!(bed.names(&guest), ["console", "vif0"]);
        assert_eq!(bed.domains.host.bound, bound);
    }
    bed.domains.host.fail_bind = Some(0);
    let own_port = request(&|request| request.vifs[0].port = 77);
    assert!(bed.add(&own_port).is_err());
    assert_eq!(bed.domains.host.bound, bound);
    bed.domains.host.fail_bind = None;
    bed.add(&second_vif(1)).unwrap();
}

#[test]
fn a_domain_has_no_more_devices_than_it_could_have_had_from_the_start() {
    let mut bed = Bed::new();
    let guest = bed.running(1);
    let vifs = u16::try_from(MAX_VIFS).unwrap();
    for number in 1..vifs {
        bed.add(&another_vif(number)).unwrap();
    }
    let refused = bed.add(&another_vif(vifs)).unwrap_err().to_string();
    assert!(refused.contains("9 vifs: must be at most 8"), "{refused}");
    assert_eq!(bed.names(&guest).len(), 1 + MAX_VIFS);
    assert!(bed.names(&guest).len() < MAX_DEVICES);
}

#[test]
fn a_domain_without_devices_is_attached_with_its_first_and_forgotten_with_its_last() {
    let mut bed = Bed::new();
    bed.guest(1);
    let request = second_vif(1);
    bed.add(&request).unwrap();
    assert_eq!(bed.names(&request), ["vif1"]);
    bed.detach_device(request.id, DeviceNumber::Vif(1)).unwrap();
    assert!(bed.domains.status(request.id).is_err());
    assert!(bed.domains.host.bound.is_empty());
}

#[test]
fn vifs_that_are_added_share_what_may_wait_for_the_guest() {
    let mut bed = Bed::new();
    bed.running(1);
    let numbers = 1..u16::try_from(MAX_VIFS).unwrap();
    for number in numbers.clone() {
        bed.add(&another_vif(number)).unwrap();
    }
    for to in std::iter::once(1).chain(numbers.map(|number| 100 + number)) {
        for _ in 0..512 {
            bed.frame_in(&[&frame_to(to, 99)[..], &[0; 1400]].concat());
        }
    }
    let held = bed.domains.net.waiting_bytes();
    assert!(held > ALL_BYTES / 32 && held <= ALL_BYTES / 16, "{held}");
}

#[test]
fn a_broken_device_can_be_detached() {
    let mut bed = Bed::new();
    let guest = bed.running(1);
    bed.add(&second_vif(1)).unwrap();
    frontend::set_producer(&bed.page(1, RINGS[1].0), 1 << 20);
    bed.run(1);
    assert!(bed.broken(&guest)[2].is_some());
    assert_eq!(bed.domains.broken().count(), 1);
    bed.detach_device(guest.id, DeviceNumber::Vif(1)).unwrap();
    assert_eq!(bed.domains.broken().count(), 0);
    assert_eq!(bed.broken(&guest), [None, None]);
}

#[test]
fn a_domain_that_is_left_out_is_forgotten_with_its_last_device() {
    let mut bed = Bed::new();
    let mut one = attach(1);
    one.console = None;
    bed.domains.leave_out(&one, "it crashed noxsd", Vec::new());
    assert_eq!(bed.domains.broken().map(|status| status.devices.len()).collect::<Vec<_>>(), [1]);
    bed.detach_device(one.id, DeviceNumber::Vif(0)).unwrap();
    assert_eq!(bed.domains.broken().count(), 0);
}
