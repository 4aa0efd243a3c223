// SPDX-License-Identifier: GPL-3.0-or-later
//! Tests of domains whose devices share one event channel.

use super::*;

/// Returns a request for a domain whose console and vif share one port.
pub(super) fn shared(domid: u16) -> Attach {
    let mut attach = attach(domid);
    attach.vifs[0].port = attach.console.unwrap().port;
    attach
}

impl Bed {
    /// Attaches a running guest and returns its port.
    fn running_shared(&mut self, attach: &Attach) -> LocalPort {
        self.guest(attach.id.domid);
        self.attach(attach).unwrap();
        let (console, vif) = self.ports(attach.id.domid);
        assert_eq!(console, vif);
        console
    }

    /// Raises an event and serves until no device is ready.
    fn event(&mut self, port: LocalPort) {
        self.domains.event(port);
        self.settle();
    }
}

#[test]
fn one_event_serves_both_devices() {
    let mut bed = Bed::new();
    let one = shared(1);
    let port = bed.running_shared(&one);
    assert_eq!(bed.domains.host.bound.len(), 1);
    bed.domains.open_console(one.id, ClientId(1), ConsoleUse::Terminal).unwrap();
    console_frontend::print(&bed.page(1, CONSOLE_REF), b"hello");
    bed.send(1, 0, &frame_to(99, 1));
    bed.event(port);
    assert_eq!(bed.clients.output, b"hello");
    assert_eq!(bed.sent(1), [(0, 0)]);
    assert!(bed.domains.host.unmasked.contains(&port));
    bed.domains.detach(one.id, &mut bed.clients).unwrap();
    assert!(bed.domains.host.bound.is_empty());
    assert!(bed.domains.by_port.numbers().next().is_none());
}

#[test]
fn a_prepared_vif_does_not_mask_the_events_of_the_console() {
    let mut bed = Bed::new();
    let mut one = shared(1);
    let identity = one.vifs[0].identity.take().unwrap();
    bed.guest(1);
    bed.attach(&one).unwrap();
    let port = bed.vif_port(1);
    bed.domains.open_console(one.id, ClientId(1), ConsoleUse::Terminal).unwrap();
    console_frontend::print(&bed.page(1, CONSOLE_REF), b"early");
    bed.send(1, 0, &frame_to(99, 1));
    bed.event(port);
    assert_eq!(bed.clients.output, b"early");
    assert!(bed.domains.host.unmasked.contains(&port) && bed.sent(1).is_empty());
    bed.configure(one.id, &[identity]).unwrap();
    bed.settle();
    assert_eq!(bed.sent(1), [(0, 0)]);
    bed.domains.detach(one.id, &mut bed.clients).unwrap();
    assert!(bed.domains.host.bound.is_empty());
}

#[test]
fn a_vif_over_its_rate_keeps_waiting_while_the_console_prints() {
    let mut bed = Bed::new();
    let mut one = shared(1);
    first(&mut one).rate = Some(Rate { bytes: 60, interval_us: 1_000_000 });
    let port = bed.running_shared(&one);
    bed.domains.open_console(one.id, ClientId(1), ConsoleUse::Terminal).unwrap();
    for slot in 0..200 {
        bed.send(1, slot, &frame_to(99, 1));
    }
    bed.event(port);
    let sent = bed.sent(1).len();
    assert!(sent < 200);
    let copies = bed.domains.host.copies;
    for text in [b"a", b"b"] {
        assert!(bed.domains.host.unmasked.contains(&port), "the console waits for events");
        bed.domains.host.unmasked.clear();
        console_frontend::print(&bed.page(1, CONSOLE_REF), text);
        bed.event(port);
    }
    assert_eq!(bed.clients.output, b"ab");
    assert_eq!(
        (bed.sent(1).len(), bed.domains.host.copies),
        (sent, copies),
        "the vif was not served"
    );
    assert_eq!(bed.domains.turns.waiting(), 1);
    bed.now = bed.domains.deadline().unwrap();
    bed.domains.turn(bed.now, &mut bed.clients);
    bed.settle();
    assert!(bed.sent(1).len() > sent);
}

#[test]
fn the_other_device_keeps_working_when_one_is_lost() {
    let mut bed = Bed::new();
    let [one, two] = [shared(1), shared(2)];
    let ports = [bed.running_shared(&one), bed.running_shared(&two)];
    frontend::set_producer(&bed.page(1, TX_REF), 1 << 20);
    console_frontend::set_output_index(&bed.page(2, CONSOLE_REF), 1 << 31);
    bed.domains.event(ports[0]);
    bed.event(ports[1]);
    assert!(bed.broken(&one)[0].is_none() && bed.broken(&one)[1].is_some());
    assert!(bed.broken(&two)[0].is_some() && bed.broken(&two)[1].is_none());
    assert!(ports.iter().all(|port| bed.domains.host.unmasked.contains(port)));

    bed.domains.open_console(one.id, ClientId(1), ConsoleUse::Terminal).unwrap();
    console_frontend::print(&bed.page(1, CONSOLE_REF), b"still here");
    bed.event(ports[0]);
    assert_eq!(bed.clients.output, b"still here");
    bed.send(2, 0, &frame_to(99, 2));
    bed.event(ports[1]);
    assert_eq!(bed.sent(2), [(0, 0)]);

    // Losing the last device releases the port.
    console_frontend::set_output_index(&bed.page(1, CONSOLE_REF), 1 << 31);
    bed.event(ports[0]);
    assert!(!bed.domains.host.bound.contains(&ports[0]));
    for attach in [one, two] {
        bed.domains.detach(attach.id, &mut bed.clients).unwrap();
    }
    assert!(bed.domains.host.bound.is_empty());
    assert!(bed.domains.slots.is_empty());
    assert_eq!(bed.domains.turns.owners(), 2, "only the bridge is left");
}
