// SPDX-License-Identifier: GPL-3.0-or-later
//! Tests of vifs that are configured while their guests send frames and events.

use proptest::prelude::*;

use super::*;

/// What may happen before and after `Configure`, in any order.
#[derive(Clone, Copy, Debug)]
enum Step {
    Configure,
    /// The guest sends frames, and an event if its ring asks for one.
    Send(u16),
    /// The guest sends an event that its ring did not ask for.
    Kick,
    /// The kernel reports that events may have been lost.
    Lost,
    Turn,
}

/// The kernel's state of an event channel: masked from an event until noxsd unmasks it.
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
    // Few cases, because each creates a switch with its tables.
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever frames and events a guest sends before and after its vif is configured, each frame
    /// arrives once and in order, and so does a frame that comes for the guest at the end.
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
                    channel.pending |= frontend::asked_for_event(&ring, old);
                }
                Step::Kick => channel.pending = true,
                Step::Lost => {
                    // A lost event has masked its port, which stays masked until noxsd looks at it.
                    channel.masked |= std::mem::take(&mut channel.pending);
                    bed.domains.events_lost();
                }
                Step::Turn => bed.domains.turn(bed.now, &mut bed.clients),
            }
            channel.pass(&mut bed);
        }
        for _ in 0..100 {
            // Events for nothing are served later.
            bed.now = bed.domains.deadline().map_or(bed.now, |deadline| deadline.max(bed.now));
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
