//! Vifs that are attached first and told who they are later.

use proptest::prelude::*;

use super::*;

/// A domain whose vifs nobody knows yet.
fn prepared(domid: u16) -> Attach {
    let mut attach = attach(domid);
    attach.vifs[0].identity = None;
    attach
}

impl Bed {
    fn prepared(&mut self, domid: u16) -> Attach {
        self.guest(domid);
        let attach = prepared(domid);
        self.attach(&attach).unwrap();
        attach
    }

    fn configure(&mut self, id: DomainId, vifs: &[VifIdentity]) -> Result<(), Refusal> {
        self.domains.configure(id, vifs, self.now, &mut self.clients)
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
    assert_eq!(bed.frame_out(), Some(frame_to(1, 2)), "nobody here has the address");
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
    bed.domains.open_console(one.id, ClientId(0)).unwrap();
    bed.domains.input(one.id, b"typed").unwrap();
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
fn what_does_not_fit_is_refused_and_changes_nothing() {
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
    for taken in [1, 2] {
        let mut identities = good;
        identities[1].mac = mac(taken);
        assert_eq!(bed.configure(two.id, &identities), Err(Refusal::MacInUse(mac(taken))));
    }
    for wrong in [
        vec![identity(1)],
        vec![],
        [identity(1); 3].to_vec(),
        with(|vif| vif.mac = MacAddr([0; 6])),
        with(|vif| vif.mac = MacAddr([0xff; 6])),
        with(|vif| vif.mtu = 67),
        with(|vif| vif.mtu = 9000),
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
fn some_identities_are_none_and_a_domain_without_vifs_has_none() {
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
fn an_address_is_free_again_and_nothing_is_left_of_a_prepared_domain() {
    let mut bed = Bed::new();
    let one = bed.prepared(1);
    bed.domains.detach(one.id, &mut bed.clients).unwrap();
    assert!(bed.domains.host.bound.is_empty());
    assert_eq!(bed.domains.by_port.numbers().count(), 0);

    let one = bed.prepared(1);
    bed.configure(one.id, &[identity(1)]).unwrap();
    let two = bed.prepared(2);
    assert_eq!(bed.configure(two.id, &[identity(1)]), Err(Refusal::MacInUse(mac(1))));
    bed.domains.detach(one.id, &mut bed.clients).unwrap();
    bed.configure(two.id, &[identity(1)]).unwrap();
}

#[test]
fn a_restarted_noxsd_finds_it_prepared_and_configures_it() {
    let mut bed = Bed::new();
    bed.guest(1);
    // The noxsd before this one was told who the vif is, the record was not.
    frontend::send(&bed.page(1, TX_REF), 9999, 0, 0, 7, 60);
    let one = prepared(1);
    bed.attach_as(&one, GuestState::Running).unwrap();
    bed.settle();
    assert!(bed.sent(1).is_empty());
    bed.configure(one.id, &[identity(1)]).unwrap();
    bed.settle();
    assert_eq!(bed.sent(1), [(7, -1)]);
    let port = bed.vif_port(1);
    assert!(bed.domains.host.notified.contains(&port), "its answer may have been lost");
}

#[test]
fn a_guest_that_broke_its_ring_before_loses_its_vif() {
    let mut bed = Bed::new();
    let one = bed.prepared(1);
    frontend::set_producer(&bed.page(1, TX_REF), SLOTS + 1);
    bed.configure(one.id, &[identity(1)]).unwrap();
    assert!(matches!(&bed.broken(&one)[..], [None, Some(_)]));
    bed.running(2);
    bed.send(2, 0, &frame_to(1, 2));
    bed.run(2);
    assert!(bed.frame_out().is_some(), "the address leads to the tap");
}

/// What may happen around a `Configure`, in any order.
#[derive(Clone, Copy, Debug)]
enum Step {
    Configure,
    /// The guest sends frames, and an event if its ring asks for one.
    Send(u16),
    /// An event that nobody asked for.
    Kick,
    /// The kernel says that events may have been lost.
    Lost,
    Turn,
}

/// A guest's event channel as the kernel has it: masked from one event until noxsd is done.
struct Channel {
    port: LocalPort,
    pending: bool,
    masked: bool,
}

impl Channel {
    fn pass(&mut self, bed: &mut Bed) {
        if bed.domains.host.unmasked.drain(..).any(|port| port == self.port) {
            self.masked = false;
        }
        if self.pending && !self.masked {
            (self.pending, self.masked) = (false, true);
            bed.domains.event(self.port);
        }
    }
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1..4u16).prop_map(Step::Send),
        Just(Step::Kick),
        Just(Step::Lost),
        Just(Step::Turn)
    ]
}

proptest! {
    // Each builds a switch with its tables.
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever a guest sends and signals before, while and after its vif is configured, each
    /// frame arrives once and in order, and so does a frame for it that comes at the end.
    #[test]
    fn the_order_of_frames_events_and_configuring_does_not_matter(
        before in proptest::collection::vec(step(), 0..12),
        after in proptest::collection::vec(step(), 0..12),
    ) {
        let mut bed = Bed::new();
        let one = bed.prepared(1);
        bed.running(2);
        bed.post(1, 1);
        bed.post(2, 100);
        let mut channel = Channel { port: bed.vif_port(1), pending: false, masked: false };
        let mut frames = 0u16;
        for step in before.into_iter().chain([Step::Configure]).chain(after) {
            match step {
                Step::Configure => bed.configure(one.id, &[identity(1)]).unwrap(),
                Step::Send(count) => {
                    let ring = bed.page(1, TX_REF);
                    let old = frontend::producer(&ring);
                    for _ in 0..count {
                        let mut frame = frame_to(2, 1);
                        frame.extend(frames.to_le_bytes());
                        bed.send(1, frames, &frame);
                        frames += 1;
                    }
                    channel.pending |= frontend::wants_event(&ring, old);
                }
                Step::Kick => channel.pending = true,
                Step::Lost => {
                    // Ports that are in no list stay masked until they are looked at.
                    channel.masked |= std::mem::take(&mut channel.pending);
                    bed.domains.events_lost();
                }
                Step::Turn => bed.domains.turn(bed.now, &mut bed.clients),
            }
            channel.pass(&mut bed);
        }
        for _ in 0..100 {
            bed.domains.turn(bed.now, &mut bed.clients);
            channel.pass(&mut bed);
        }
        prop_assert!(!bed.domains.has_work() && !channel.pending);
        let expected: Vec<(u16, i16)> = (0..frames).map(|id| (id, 0)).collect();
        prop_assert_eq!(bed.sent(1), expected);
        prop_assert_eq!(bed.received(2).len(), usize::from(frames));
        for number in 0..frames {
            let mut tail = [0; 2];
            bed.page(2, DATA_REF + u32::from(number)).read(60, &mut tail);
            prop_assert_eq!(u16::from_le_bytes(tail), number);
        }
        bed.frame_in(&frame_to(1, 99));
        prop_assert_eq!(bed.received(1), [60]);
    }
}
