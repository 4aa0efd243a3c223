// SPDX-License-Identifier: GPL-3.0-or-later
//! Tests of guests that attack their disk, and of what disks share.

use super::*;
use crate::block::{DOMAIN_PAGES, MAX_PAGES};

#[test]
fn an_impossible_index_costs_one_guest_its_disk() {
    let images = [TestImage::new(), TestImage::new()];
    let mut bed = Bed::new();
    let (one, ring) = bed.with_disk(1, &images[0]);
    let (two, other) = bed.with_disk(2, &images[1]);
    frontend::set_producer(&ring, Block::SLOTS + 1);
    bed.run_disk(1);
    let broken = bed.broken(&one);
    assert!(broken[0].is_none() && broken[1].as_ref().is_some_and(|why| why.contains("block")));
    let page = bed.fill(2, 0, 1);
    submit(&other, &request(BLKIF_OP_WRITE, 1, 0, &[segment(page, 0, 7)]));
    bed.run_disk(2);
    assert_eq!(answers(&other).len(), 1);
    assert_eq!(bed.broken(&two), [None, None]);
}

#[test]
fn a_page_that_is_not_granted_fails_its_request_alone() {
    let image = TestImage::new();
    let mut bed = Bed::new();
    let (one, ring) = bed.with_disk(1, &image);
    let good = bed.fill(1, 0, 8);
    for (id, operation) in [(0, BLKIF_OP_WRITE), (1, BLKIF_OP_READ)] {
        let segments = [segment(good, 0, 7), segment(9999, 0, 7)];
        submit(&ring, &request(operation, id, 64, &segments));
    }
    submit(&ring, &request(BLKIF_OP_WRITE, 2, 0, &[segment(good, 0, 7)]));
    bed.run_disk(1);
    let statuses: Vec<i16> = answers(&ring).iter().map(|answer| answer.2).collect();
    assert_eq!(statuses, [BLKIF_RSP_ERROR, BLKIF_RSP_ERROR, BLKIF_RSP_OKAY]);
    assert_eq!(image.read(64, 4096), [0; 4096], "nothing of a write whose copy has failed");
    assert_eq!(bed.disk_status(&one).failed_requests, 2);
    assert_eq!(bed.broken(&one), [None, None]);
}

#[test]
fn requests_that_are_all_refused_delay_the_guest() {
    let image = TestImage::new();
    let mut bed = Bed::new();
    let (_, ring) = bed.with_disk(1, &image);
    for round in 0..20 {
        submit(&ring, &request(255, round, 0, &[]));
        let port = bed.disk_port(1);
        bed.domains.event(port);
        bed.domains.turn(bed.now, &mut bed.clients);
    }
    assert!(answers(&ring).len() < 20, "later ones wait for their time");
    assert!(bed.domains.deadline().is_some());
}

#[test]
fn one_disk_takes_its_share_of_the_pages_and_the_rest_waits_in_its_ring() {
    let image = TestImage::new();
    let mut bed = Bed::new();
    let (_, ring) = bed.with_disk(1, &image);
    bed.domains.host.holds_io = true;
    let list = DATA_REF + 200;
    let segments = vec![segment(DATA_REF, 0, 7); usize::from(MAX_INDIRECT_SEGMENTS)];
    bed.page(1, list).write(0, segments.as_bytes());
    for id in 0..8 {
        submit(&ring, &indirect(BLKIF_OP_READ, id, 0, MAX_INDIRECT_SEGMENTS, list));
    }
    bed.run_disk(1);
    let most = DOMAIN_PAGES / usize::from(MAX_INDIRECT_SEGMENTS);
    assert_eq!(bed.domains.host.begun.len(), most);
    assert!(!bed.domains.has_work(), "it does not ask again and again");
    for _ in 0..8 {
        bed.finish_io(0);
        assert!(bed.domains.host.begun.len() <= most);
    }
    assert_eq!(answers(&ring).len(), 8);
}

impl Bed {
    /// Adds a guest with a read-only disk that makes as many requests as it can, each of the largest
    /// size. Returns its ring, and how many of them were begun.
    fn greedy(&mut self, domid: u16, image: &TestImage, storage: u64) -> (FakePage, usize) {
        let list = DATA_REF + 200;
        let segments = vec![segment(DATA_REF, 0, 7); usize::from(MAX_INDIRECT_SEGMENTS)];
        self.guest(domid);
        let mut read_only = image.image();
        read_only.geometry.read_only = true;
        read_only.identity = DiskIdentity::File { device: storage, inode: 1 };
        let file = DiskFile::Open(File::open(image.path()).unwrap().into());
        self.attach_disks(&with_disks(domid, &[read_only]), vec![file], AttachedAs::New).unwrap();
        self.page(domid, list).write(0, segments.as_bytes());
        let ring = self.page(domid, DISK_REF);
        for id in 0..8 {
            submit(&ring, &indirect(BLKIF_OP_READ, id, 0, MAX_INDIRECT_SEGMENTS, list));
        }
        let begun = self.domains.host.begun.len();
        self.run_disk(domid);
        (ring, self.domains.host.begun.len() - begun)
    }

    /// Adds greedy guests until one gets nothing. Returns their rings.
    fn fill_memory(&mut self, image: &TestImage, storage: u64) -> Vec<FakePage> {
        let mut rings = Vec::new();
        let first = u16::try_from(self.domains.slots.len()).unwrap() + 1;
        for domid in first.. {
            let (ring, begun) = self.greedy(domid, image, storage);
            rings.push(ring);
            if begun == 0 {
                break;
            }
        }
        rings
    }
}

/// Many guests fill the memory for requests. The others wait for their turn, in order.
#[test]
fn disks_wait_for_pages_in_the_order_in_which_they_asked() {
    let image = TestImage::new();
    let mut bed = Bed::new();
    bed.domains.host.holds_io = true;
    let mut rings = bed.fill_memory(&image, 1);
    let begun = bed.domains.host.begun.len();
    assert!(begun * usize::from(MAX_INDIRECT_SEGMENTS) <= MAX_PAGES / 2, "{begun} requests");
    // The last one waits already.
    let waits = u16::try_from(rings.len()).unwrap();
    for domid in [waits + 1, waits + 2] {
        let (ring, begun) = bed.greedy(domid, &image, 1);
        assert_eq!(begun, 0);
        rings.push(ring);
    }
    assert!(!bed.domains.has_work());
    // One that waits is destroyed, and one withdraws its requests: neither holds up the others.
    bed.domains.detach(attach(waits).id, &mut bed.clients).unwrap();
    for slot in 0..8 {
        bed.page(waits + 1, DISK_REF).write(Block::slot(slot), &[0xff; 112]);
    }
    for _ in 0..begun {
        bed.finish_io(0);
    }
    assert_eq!(answers(&rings[usize::from(waits)]).len(), 8);
    while !bed.domains.host.begun.is_empty() {
        bed.finish_io(0);
    }
    assert_eq!(answers(&rings[usize::from(waits) + 1]).len(), 8);
    assert_eq!(answers(&rings[0]).len(), 8);
}

#[test]
fn storage_that_does_not_answer_stops_no_disk_on_another() {
    let image = TestImage::new();
    let mut bed = Bed::new();
    bed.domains.host.holds_io = true;
    // Two file systems do not answer, and many guests have disks there.
    let stuck: usize = [1, 2].map(|storage| bed.fill_memory(&image, storage).len()).iter().sum();
    let held = bed.domains.host.begun.len();
    let next = u16::try_from(stuck).unwrap() + 1;
    let (ring, begun) = bed.greedy(next, &image, 3);
    assert!(begun > 0, "{held} requests are stuck");
    for _ in 0..8 {
        bed.finish_io(held);
    }
    assert_eq!(answers(&ring).len(), 8);
    assert_eq!(bed.domains.host.begun.len(), held);
    // A guest on the file system that answers again gets its turn.
    while !bed.domains.host.begun.is_empty() {
        bed.finish_io(0);
    }
    for domid in 1..next {
        assert_eq!(answers(&bed.page(domid, DISK_REF)).len(), 8, "guest {domid}");
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    /// Whatever a guest writes into its ring, and however operations end, the disk of another guest
    /// works, and the file of none changes outside of it.
    #[test]
    fn a_hostile_guest_harms_only_its_own_disk(
        steps in proptest::collection::vec(
            (0u8..6, 0u32..32, 0usize..28, proptest::prelude::any::<u32>()), 0..120),
    ) {
        let images = [TestImage::new(), TestImage::new()];
        let mut bed = Bed::new();
        bed.domains.host.holds_io = true;
        let (_, ring) = bed.with_disk(1, &images[0]);
        let (good, other) = bed.with_disk(2, &images[1]);
        let port = bed.disk_port(1);
        for (action, slot, word, value) in steps {
            match action {
                0 => ring.store(Block::slot(slot) + word * 4, value),
                1 => ring.store(Block::slot(slot), value & 0x0b07),
                2 => ring.store(Block::slot(slot) + 24, DATA_REF + value % 8),
                3 => {
                    let produced = frontend::responses(&ring).wrapping_add(value % 34);
                    frontend::set_producer(&ring, produced);
                    bed.domains.event(port);
                    bed.domains.turn(bed.now, &mut bed.clients);
                }
                4 => {
                    let begun = bed.domains.host.begun.len();
                    if begun > 0 {
                        bed.domains.host.finish_io(slot as usize % begun);
                    }
                    bed.domains.turn(bed.now, &mut bed.clients);
                }
                _ => bed.domains.turn(bed.now, &mut bed.clients),
            }
        }
        bed.domains.host.holds_io = false;
        let page = bed.fill(2, 0, 6);
        submit(&other, &request(BLKIF_OP_WRITE, 1, 0, &[segment(page, 0, 7)]));
        let port = bed.disk_port(2);
        bed.domains.event(port);
        for _ in 0..20 {
            bed.domains.turn(bed.now, &mut bed.clients);
        }
        proptest::prop_assert_eq!(answers(&other), [(1, BLKIF_OP_WRITE, BLKIF_RSP_OKAY)]);
        proptest::prop_assert_eq!(bed.broken(&good), [None, None]);
        proptest::prop_assert_eq!(images[1].read(0, 4096), vec![6; 4096]);
        for image in &images {
            proptest::prop_assert_eq!(image.0.as_file().metadata().unwrap().len(), SECTORS * 512);
        }
    }
}
