// SPDX-License-Identifier: GPL-3.0-or-later
//! Tests of data in pages that stay mapped.

use noxs::layout::vbd_ring;
use xen_ring::SharedPage;

use super::*;

/// Pages of a round, whose copies make a disk busy: as many as two requests have.
const PAGES: u32 = 64;

/// The page of the lists of segments.
const LIST: u32 = DATA_REF + 200;

/// The most pages that are mapped in one turn.
const AT_ONCE: usize = xen::gntdev::MAX_MAP;

/// Writes [`PAGES`] pages of a guest's disk, or reads them, and checks the data. Returns how many copies
/// Xen has made.
fn round(bed: &mut Bed, ring: &FakePage, image: &TestImage, operation: u8, byte: u8) -> usize {
    let before = bed.domains.host.copied;
    let answered = answers(ring).len();
    let segments: Vec<Segment> = (0..PAGES)
        .map(|slot| {
            let sector = 8 * u64::from(slot);
            if operation == BLKIF_OP_WRITE {
                bed.fill(1, slot, byte);
            } else {
                image.write(sector, &[byte; 4096]);
            }
            segment(DATA_REF + slot, 0, 7)
        })
        .collect();
    bed.page(1, LIST).write(0, segments.as_bytes());
    submit(ring, &indirect(operation, 5, 0, 64, LIST));
    bed.run_disk(1);
    assert_eq!(answers(ring)[answered..], [(5, operation, BLKIF_RSP_OKAY)]);
    for slot in 0..PAGES {
        let sector = 8 * u64::from(slot);
        assert_eq!(image.read(sector, 4096), [byte; 4096], "{slot}");
        assert_eq!(bed.data(1, slot), [byte; 4096], "{slot}");
    }
    bed.domains.host.copied - before
}

#[test]
fn the_pages_of_a_busy_disk_are_mapped_once() {
    let (image, mut bed) = (TestImage::new(), Bed::new());
    let (_, ring) = bed.with_disk(1, &image);
    ring.store(vbd_ring::PERSISTENT_GRANTS, 1);
    let pages = PAGES as usize;
    // The list takes a copy, too.
    assert_eq!(round(&mut bed, &ring, &image, BLKIF_OP_WRITE, 1), 1 + pages);
    assert_eq!(round(&mut bed, &ring, &image, BLKIF_OP_WRITE, 2), 1 + pages - AT_ONCE);
    assert_eq!(round(&mut bed, &ring, &image, BLKIF_OP_WRITE, 3), 0, "the list is mapped, too");
    assert_eq!(round(&mut bed, &ring, &image, BLKIF_OP_READ, 4), pages, "for writing, anew");
    assert_eq!(round(&mut bed, &ring, &image, BLKIF_OP_READ, 5), pages - AT_ONCE);
    assert_eq!(round(&mut bed, &ring, &image, BLKIF_OP_READ, 6), 0);
    assert_eq!(round(&mut bed, &ring, &image, BLKIF_OP_WRITE, 7), 0);
}

#[test]
fn pages_of_a_guest_that_does_not_promise_to_keep_them_are_not_mapped() {
    let (image, mut bed) = (TestImage::new(), Bed::new());
    let (_, ring) = bed.with_disk(1, &image);
    for byte in 1..5 {
        assert_eq!(round(&mut bed, &ring, &image, BLKIF_OP_WRITE, byte), 1 + PAGES as usize);
    }
}

#[test]
fn what_a_disk_has_mapped_is_free_for_others_when_it_is_removed() {
    let image = TestImage::new();
    let mut bed = Bed::new();
    for _ in 0..100 {
        let (attach, ring) = bed.with_disk(1, &image);
        ring.write(0, &[0; 4096]);
        ring.store(vbd_ring::PERSISTENT_GRANTS, 1);
        for byte in 1..4 {
            round(&mut bed, &ring, &image, BLKIF_OP_WRITE, byte);
        }
        assert_eq!(round(&mut bed, &ring, &image, BLKIF_OP_WRITE, 4), 0);
        bed.domains.detach(attach.id, &mut bed.clients).unwrap();
    }
}
