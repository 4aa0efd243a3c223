// SPDX-License-Identifier: GPL-3.0-or-later
//! Tests of the order of answers, of flushes, and of restarts in the middle of requests.

use noxs_control::DeviceNumber;

use super::*;

#[test]
fn answers_come_in_the_order_of_the_requests() {
    let image = TestImage::new();
    let mut bed = Bed::new();
    let (_, ring) = bed.with_disk(1, &image);
    bed.domains.host.holds_io = true;
    for id in 0..3u8 {
        let page = bed.fill(1, id.into(), id);
        let sector = u64::from(id) * 8;
        submit(&ring, &request(BLKIF_OP_WRITE, id.into(), sector, &[segment(page, 0, 7)]));
    }
    submit(&ring, &request(255, 3, 0, &[]));
    bed.run_disk(1);
    assert_eq!(bed.domains.host.begun.len(), 3, "all at once");
    bed.finish_io(2);
    bed.finish_io(1);
    assert!(answers(&ring).is_empty(), "the first one is not finished");
    bed.finish_io(0);
    let ids: Vec<u64> = answers(&ring).iter().map(|answer| answer.0).collect();
    assert_eq!(ids, [0, 1, 2, 3]);
    assert_eq!(answers(&ring)[3].2, BLKIF_RSP_EOPNOTSUPP);
}

#[test]
fn a_flush_is_not_kept_behind_writes_but_its_answer_is() {
    let image = TestImage::new();
    let mut bed = Bed::new();
    let (_, ring) = bed.with_disk(1, &image);
    bed.domains.host.holds_io = true;
    let page = bed.fill(1, 0, 1);
    submit(&ring, &request(BLKIF_OP_WRITE, 0, 0, &[segment(page, 0, 7)]));
    submit(&ring, &request(BLKIF_OP_FLUSH_DISKCACHE, 1, 0, &[]));
    bed.run_disk(1);
    let flush = bed.domains.host.kinds.iter().position(|kind| *kind == IoKind::Sync);
    assert_eq!(bed.domains.host.kinds.len(), 2);
    bed.finish_io(flush.unwrap());
    assert!(answers(&ring).is_empty());
    bed.finish_io(0);
    assert_eq!(answers(&ring).len(), 2);
}

#[test]
fn a_barrier_comes_after_what_is_before_it_and_before_what_is_behind_it() {
    let image = TestImage::new();
    let mut bed = Bed::new();
    let (_, ring) = bed.with_disk(1, &image);
    bed.domains.host.holds_io = true;
    let page = bed.fill(1, 0, 1);
    let part = [segment(page, 0, 7)];
    for (id, operation) in [(0, BLKIF_OP_WRITE), (1, BLKIF_OP_WRITE_BARRIER), (2, BLKIF_OP_WRITE)] {
        submit(&ring, &request(operation, id, 8 * id, &part));
    }
    // One without data, behind a request that is refused.
    submit(&ring, &request(255, 3, 0, &[]));
    submit(&ring, &request(BLKIF_OP_WRITE_BARRIER, 4, 0, &[]));
    bed.run_disk(1);
    assert_eq!(bed.domains.host.kinds, [IoKind::Write], "the barrier waits");
    bed.finish_io(0);
    assert_eq!(bed.domains.host.kinds[1..], [IoKind::Write], "the barrier's data");
    bed.finish_io(0);
    assert_eq!(bed.domains.host.kinds[2..], [IoKind::Sync], "then it is put on stable storage");
    assert_eq!(answers(&ring).len(), 1, "the barrier is not answered before");
    bed.finish_io(0);
    assert_eq!(bed.domains.host.kinds[3..], [IoKind::Write], "then what is behind it");
    bed.finish_io(0);
    assert_eq!(bed.domains.host.kinds[4..], [IoKind::Sync]);
    bed.finish_io(0);
    let ids: Vec<u64> = answers(&ring).iter().map(|answer| answer.0).collect();
    assert_eq!(ids, [0, 1, 2, 3, 4]);
    assert!(!bed.domains.has_work(), "nothing is ready while nothing is to do");
}

/// The slot of an unanswered request is never overwritten, so a new noxsd finds it.
#[test]
fn requests_that_a_killed_noxsd_has_not_answered_are_carried_out_by_the_next() {
    let image = TestImage::new();
    let mut bed = Bed::new();
    let (attach, ring) = bed.with_disk(1, &image);
    bed.domains.host.holds_io = true;
    // A ring that is full: each answer takes the place of a request.
    let slots = u8::try_from(Block::SLOTS).unwrap();
    for id in 0..slots {
        let page = bed.fill(1, id.into(), id + 1);
        let sector = u64::from(id) * 8;
        submit(&ring, &request(BLKIF_OP_WRITE, id.into(), sector, &[segment(page, 0, 7)]));
    }
    bed.run_disk(1);
    assert_eq!(bed.domains.host.begun.len(), usize::from(slots));
    // All but the fourth are finished. Those behind it are written and not answered.
    bed.domains.host.begun.swap(3, usize::from(slots) - 1);
    for _ in 0..slots - 1 {
        bed.finish_io(0);
    }
    assert_eq!(answers(&ring).len(), 3);
    let pages = std::mem::take(&mut bed.domains.host.pages);
    // noxsd is killed. What its operation wrote is lost.
    bed.domains.host.begun.clear();
    drop(bed);
    image.write(0, &vec![0; usize::try_from(SECTORS * 512).unwrap()]);
    image.write(0, &[1; 4096]);
    image.write(8, &[2; 4096]);
    image.write(16, &[3; 4096]);

    let mut bed = Bed::new();
    bed.domains.host.pages = pages;
    bed.attach_disks(&attach, vec![image.open()], AttachedAs::Running).unwrap();
    bed.settle();
    let ids: Vec<u64> = answers(&ring).iter().map(|answer| answer.0).collect();
    assert_eq!(ids, (0..u64::from(slots)).collect::<Vec<_>>());
    assert!(answers(&ring).iter().all(|answer| answer.2 == BLKIF_RSP_OKAY));
    for id in 0..slots {
        assert_eq!(image.read(u64::from(id) * 8, 4096), [id + 1; 4096], "{id}");
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    /// A guest writes numbered versions of sectors and flushes, while noxsd is killed at any moment
    /// and operations end in any order. What was answered is there, whatever happens.
    #[test]
    fn no_answered_write_is_lost_by_kills_at_any_moment(
        steps in proptest::collection::vec((0u8..10, 0usize..40), 1..150),
    ) {
        const DISK_PAGES: u64 = 8;
        let image = TestImage::new();
        let mut bed = Bed::new();
        let (attach, ring) = bed.with_disk(1, &image);
        bed.domains.host.holds_io = true;
        // Page on the disk and version of each request, in the order of the ring.
        let mut sent: Vec<Option<(u64, u8)>> = Vec::new();
        let mut answered = 0;
        let mut expected = vec![0u8; usize::try_from(DISK_PAGES).unwrap()];
        for (action, which) in steps {
            let outstanding = sent.len() - answered;
            match action {
                0..=3 if outstanding < 32 => {
                    let page = which as u64 % DISK_PAGES;
                    // A guest has one request at a time for a place.
                    let busy = sent[answered..].iter().flatten().any(|(other, _)| *other == page);
                    if !busy {
                        let version = u8::try_from(sent.len() % 251).unwrap() + 1;
                        let slot = u32::try_from(sent.len() % 32).unwrap();
                        let gref = bed.fill(1, slot, version);
                        let id = sent.len() as u64;
                        let part = [segment(gref, 0, 7)];
                        submit(&ring, &request(BLKIF_OP_WRITE, id, page * 8, &part));
                        sent.push(Some((page, version)));
                    }
                }
                4 if outstanding < 32 => {
                    submit(&ring, &request(BLKIF_OP_FLUSH_DISKCACHE, sent.len() as u64, 0, &[]));
                    sent.push(None);
                }
                5..=7 => {
                    let begun = bed.domains.host.begun.len();
                    if begun > 0 {
                        bed.finish_io(which % begun);
                    }
                }
                8 => bed.run_disk(1),
                _ => {
                    // Killed: only the guest's pages and the file remain.
                    let pages = std::mem::take(&mut bed.domains.host.pages);
                    bed = Bed::new();
                    bed.domains.host.pages = pages;
                    bed.domains.host.holds_io = true;
                    bed.attach_disks(&attach, vec![image.open()], AttachedAs::Running).unwrap();
                }
            }
            let now = usize::try_from(frontend::responses(&ring)).unwrap();
            proptest::prop_assert!(now >= answered && now <= sent.len());
            for (number, write) in sent.iter().enumerate().take(now).skip(answered) {
                let index = u32::try_from(number).unwrap();
                let (id, _, status) = frontend::answer(&ring, index);
                proptest::prop_assert_eq!((id, status), (number as u64, BLKIF_RSP_OKAY));
                if let Some((page, version)) = write {
                    expected[usize::try_from(*page).unwrap()] = *version;
                }
            }
            answered = now;
            for page in 0..DISK_PAGES {
                let waits = sent[answered..].iter().flatten().any(|(other, _)| *other == page);
                if !waits {
                    let version = expected[usize::try_from(page).unwrap()];
                    proptest::prop_assert_eq!(image.read(page * 8, 4096), vec![version; 4096]);
                }
            }
        }
    }
}

#[test]
fn a_disk_that_a_restarted_noxsd_cannot_open_is_lost_alone() {
    let images = [TestImage::new(), TestImage::new()];
    let mut bed = Bed::new();
    bed.guest(1);
    let attach = with_disks(1, &images.each_ref().map(TestImage::image));
    let lost = DiskFile::Lost("disk /a is in use by another program".into());
    bed.attach_disks(&attach, vec![lost, images[1].open()], AttachedAs::Running).unwrap();
    let ring = bed.page(1, DISK_REF + 1);
    let page = bed.fill(1, 0, 1);
    submit(&ring, &request(BLKIF_OP_WRITE, 1, 0, &[segment(page, 0, 7)]));
    bed.run_disk(1);
    assert_eq!(answers(&ring).len(), 1);
    let broken = bed.broken(&attach);
    assert_eq!((&broken[0], &broken[2]), (&None, &None));
    let why = broken[1].as_deref().unwrap();
    assert!(
        why.contains("in use by another program; detach the disk with chaos block-detach"),
        "{why}"
    );
}

#[test]
fn a_guest_that_is_left_out_keeps_its_disk_locked() {
    let image = TestImage::new();
    let mut bed = Bed::new();
    let attach = with_disks(1, &[image.image()]);
    let DiskFile::Open(file) = image.open() else { unreachable!() };
    assert!(disk::lock(&file, false).unwrap());
    bed.domains.leave_out(&attach, CRASHED, vec![DiskFile::Open(file)]);
    let listed: Vec<_> = bed.domains.broken().collect();
    assert_eq!(listed[0].devices.last().unwrap().name, "vbd0");
    bed.guest(2);
    let two = with_disks(2, &[image.image()]);
    assert!(bed.attach_disks(&two, vec![image.open()], AttachedAs::New).is_err());
    // Without the disk, another guest may have it.
    bed.domains.detach_device(attach.id, DeviceNumber::Vbd(0), &mut bed.clients).unwrap();
    bed.attach_disks(&two, vec![image.open()], AttachedAs::New).unwrap();
}

/// A guest is destroyed and created again while its last operations are in the kernel.
#[test]
fn the_next_guest_gets_the_disk_once_the_operations_of_the_last_one_have_ended() {
    let image = TestImage::new();
    let mut bed = Bed::new();
    let (one, ring) = bed.with_disk(1, &image);
    bed.domains.host.holds_io = true;
    let page = bed.fill(1, 0, 9);
    submit(&ring, &request(BLKIF_OP_WRITE, 1, 0, &[segment(page, 0, 7)]));
    bed.run_disk(1);
    bed.domains.detach(one.id, &mut bed.clients).unwrap();
    assert_eq!(bed.domains.host.begun.len(), 1);
    let again = File::options().read(true).write(true).open(image.path()).unwrap();
    assert!(!disk::lock(&again, false).unwrap(), "the operation has the file");
    bed.guest(2);
    let two = with_disks(2, &[image.image()]);
    let asks = noxs_control::Request::Attach(two.clone());
    assert_eq!(bed.domains.draining(&asks), two.vbds[0].image.as_ref());
    let early = bed.attach_disks(&two, vec![image.open()], AttachedAs::New);
    assert!(matches!(early, Err(Refusal::DiskInUse(_))), "{early:?}");
    bed.finish_io(0);
    assert_eq!(bed.domains.draining(&asks), None);
    bed.attach_disks(&two, vec![image.open()], AttachedAs::New).unwrap();
    assert_eq!(image.read(0, 4096), [9; 4096]);
}
