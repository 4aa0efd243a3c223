// SPDX-License-Identifier: GPL-3.0-or-later
//! Tests of frames in pages that stay mapped.

use noxs::VifFeatures;

use super::*;

/// Frames of a full turn, whose pages are mapped.
const MANY: u16 = 64;

/// Pages that a turn maps in each direction.
const AT_ONCE: u16 = 56;

fn bed() -> (Bed, Attach) {
    let mut bed = Bed::new();
    let one = bed.running(1);
    bed.running(2);
    (bed, one)
}

/// Sends frames from guest 1 to guest 2, which must arrive. Returns how many copies Xen has made.
fn round(bed: &mut Bed, frames: u16) -> usize {
    let (before, received) = (bed.domains.host.copied, bed.received(2).len());
    for id in 0..frames {
        bed.page(2, DATA_REF + u32::from(id)).write(0, &[0; 60]);
        bed.send(1, id, &frame_to(2, 1));
    }
    bed.post(2, frames);
    bed.run(1);
    assert_eq!(bed.received(2)[received..], vec![60; frames.into()]);
    for id in 0..frames {
        let mut arrived = [0; 60];
        bed.page(2, DATA_REF + u32::from(id)).read(0, &mut arrived);
        assert_eq!(arrived[..], frame_to(2, 1)[..], "frame {id}");
    }
    bed.domains.host.copied - before
}

#[test]
fn a_busy_guests_pages_are_mapped_once() {
    let (mut bed, _) = bed();
    for domid in [1, 2] {
        bed.accept(domid, VifFeatures::PERSISTENT_GRANTS);
    }
    let few = MANY - 1;
    for _ in 0..3 {
        assert_eq!(round(&mut bed, few), 2 * usize::from(few), "few frames are copied by Xen");
    }
    assert_eq!(round(&mut bed, MANY), 2 * usize::from(MANY));
    assert_eq!(round(&mut bed, MANY), 2 * usize::from(MANY - AT_ONCE));
    assert_eq!(round(&mut bed, MANY), 0);
    assert_eq!(round(&mut bed, 1), 0, "what is mapped stays mapped");
    for _ in 0..2 {
        assert_eq!(round(&mut bed, MANY + 2), 4, "those of a second turn, which is not full");
    }
}

#[test]
fn each_guest_decides_whether_its_pages_are_mapped() {
    for (one, other) in [(0, 0), (1, 0), (0, 1)] {
        let (mut bed, _) = bed();
        for (domid, accepts) in [(1, one), (2, other)] {
            bed.accept(domid, VifFeatures(accepts * VifFeatures::PERSISTENT_GRANTS.0));
        }
        let frames = usize::from(MANY);
        assert_eq!(round(&mut bed, MANY), 2 * frames);
        round(&mut bed, MANY);
        let mapped = usize::try_from(one + other).unwrap();
        assert_eq!(round(&mut bed, MANY), (2 - mapped) * frames);
    }
}

#[test]
fn a_page_that_cannot_be_mapped_costs_its_own_frame_only() {
    let (mut bed, one) = bed();
    bed.accept(1, VifFeatures::PERSISTENT_GRANTS);
    for _ in 0..2 {
        let ring = bed.page(1, TX_REF);
        frontend::send(&ring, 99, 0, 0, 200, 60);
        let frames = usize::from(MANY);
        assert_eq!(round(&mut bed, MANY), 2 * frames + 1, "nothing is mapped");
    }
    assert_eq!(bed.traffic(&one).dropped_frames, 2);
    assert_eq!(bed.sent(1)[0], (200, -1));
}

#[test]
fn the_few_pages_of_a_guest_that_ended_are_unmapped_at_once() {
    let (mut bed, one) = bed();
    bed.accept(1, VifFeatures::PERSISTENT_GRANTS);
    for _ in 0..3 {
        round(&mut bed, MANY);
    }
    bed.run(1);
    assert!(!bed.domains.has_work());
    let page = bed.page(1, DATA_REF);
    let holders = page.holders();

    bed.domains.detach(one.id, &mut bed.clients).unwrap();
    assert_eq!(page.holders(), holders - 1);
    assert!(!bed.domains.has_work());
}
