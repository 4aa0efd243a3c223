// SPDX-License-Identifier: GPL-3.0-or-later
//! Tests of checking requests.

use std::sync::Arc;

use noxs::Discard;
use noxs_control::DiskIdentity;
use proptest::prelude::*;

use super::*;
use crate::block::frontend::{discard, indirect, request, segment};

/// Returns a disk of 1024 sectors of 512 bytes.
fn image(sector_size: u32, read_only: bool, can_discard: bool) -> Image {
    Image {
        file: Arc::new(tempfile::tempfile().unwrap().into()),
        path: "/a".into(),
        identity: DiskIdentity::File { device: 1, inode: 1 },
        geometry: Geometry { sectors: 1024, sector_size, physical_sector_size: 4096, read_only },
        discard: can_discard.then_some(Discard { granularity: 4096, alignment: 0, secure: false }),
    }
}

/// Checks a request with segments of its own in full.
fn check_all(request: &Request, image: &Image) -> Result<(u64, Vec<Target>), Refused> {
    match check(request, image)? {
        Checked::Transfer { sector, segments: Segments::Direct(count), .. } => {
            let mut targets = Vec::new();
            let offset =
                check_segments(sector, &request.seg[..count], &image.geometry, &mut targets)?;
            Ok((offset, targets))
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_transfer_lies_in_pages_and_on_the_disk() {
    let image = image(512, false, true);
    let good = request(BLKIF_OP_READ, 1, 8, &[segment(100, 0, 7), segment(101, 2, 2)]);
    let (offset, targets) = check_all(&good, &image).unwrap();
    assert_eq!(offset, 4096);
    let target = |gref, offset, length| Target { gref: GrantRef(gref), offset, length };
    assert_eq!(targets, [target(100, 0, 4096), target(101, 1024, 512)]);
    let last = request(BLKIF_OP_WRITE, 1, 1023, &[segment(100, 7, 7)]);
    assert_eq!(check_all(&last, &image).unwrap().0, 1023 * 512);
    for (what, bad) in [
        ("last before first", request(BLKIF_OP_READ, 1, 0, &[segment(1, 3, 2)])),
        ("past the page", request(BLKIF_OP_READ, 1, 0, &[segment(1, 0, 8)])),
        ("far past the page", request(BLKIF_OP_WRITE, 1, 0, &[segment(1, 255, 255)])),
        ("past the end", request(BLKIF_OP_READ, 1, 1024, &[segment(1, 0, 0)])),
        ("across the end", request(BLKIF_OP_READ, 1, 1023, &[segment(1, 0, 1)])),
        ("wraps", request(BLKIF_OP_WRITE, 1, u64::MAX, &[segment(1, 0, 1)])),
        ("bytes wrap", request(BLKIF_OP_WRITE, 1, 1 << 55, &[segment(1, 0, 1)])),
        ("no segment", request(BLKIF_OP_READ, 1, 0, &[])),
        ("no segment to write", request(BLKIF_OP_WRITE, 1, 0, &[])),
        ("12 segments", Request { nr_segments: 12, ..good }),
        ("255 segments", Request { nr_segments: 255, ..good }),
    ] {
        assert_eq!(check_all(&bad, &image), Err(ERROR), "{what}");
    }
}

#[test]
fn larger_sectors_are_transferred_whole() {
    let image = image(4096, false, false);
    assert!(check_all(&request(BLKIF_OP_READ, 1, 8, &[segment(1, 0, 7)]), &image).is_ok());
    for (sector, first, last) in [(8, 0, 6), (8, 1, 7), (1, 0, 7), (8, 4, 7)] {
        let bad = request(BLKIF_OP_READ, 1, sector, &[segment(1, first, last)]);
        assert_eq!(check_all(&bad, &image), Err(ERROR), "{sector}, {first} to {last}");
    }
}

#[test]
fn a_read_only_disk_is_only_read() {
    let image = image(512, true, true);
    let part = [segment(1, 0, 0)];
    assert!(check_all(&request(BLKIF_OP_READ, 1, 0, &part), &image).is_ok());
    for operation in [BLKIF_OP_WRITE, BLKIF_OP_WRITE_BARRIER] {
        assert_eq!(check(&request(operation, 1, 0, &part), &image), Err(ERROR));
    }
    assert_eq!(check(&indirect(BLKIF_OP_WRITE, 1, 0, 1, 9), &image), Err(ERROR));
    assert_eq!(check(&discard(0, 1, 0, 8), &image), Err(NOT_SUPPORTED));
}

#[test]
fn flushes_barriers_and_discards_are_told_apart() {
    let image = image(512, false, true);
    let flush = |operation| check(&request(operation, 1, 77, &[]), &image);
    assert_eq!(flush(BLKIF_OP_FLUSH_DISKCACHE), Ok(Checked::Flush { barrier: false }));
    assert_eq!(flush(BLKIF_OP_WRITE_BARRIER), Ok(Checked::Flush { barrier: true }));
    let with_data = request(BLKIF_OP_FLUSH_DISKCACHE, 1, 0, &[segment(1, 0, 0)]);
    assert_eq!(check(&with_data, &image), Err(NOT_SUPPORTED));
    let whole = Checked::Discard { offset: 0, length: 512 * 1024 };
    assert_eq!(check(&discard(0, 1, 0, 1024), &image), Ok(whole));
    for (first, count) in [(0, 0), (0, 1025), (1024, 1), (u64::MAX, 2), (1, u64::MAX)] {
        assert_eq!(check(&discard(0, 1, first, count), &image), Err(ERROR), "{first}, {count}");
    }
    assert_eq!(check(&discard(BLKIF_DISCARD_SECURE, 1, 0, 8), &image), Err(NOT_SUPPORTED));
    assert_eq!(check(&discard(0, 1, 0, 8), &self::image(512, false, false)), Err(NOT_SUPPORTED));
    for unknown in [4, 7, 255] {
        assert_eq!(check(&request(unknown, 1, 0, &[]), &image), Err(NOT_SUPPORTED), "{unknown}");
    }
}

#[test]
fn an_indirect_request_has_as_many_segments_as_were_offered() {
    let image = image(512, false, true);
    for (operation, count, is_valid) in [
        (BLKIF_OP_READ, 1, true),
        (BLKIF_OP_WRITE, MAX_INDIRECT_SEGMENTS, true),
        (BLKIF_OP_READ, 0, false),
        (BLKIF_OP_READ, MAX_INDIRECT_SEGMENTS + 1, false),
        (BLKIF_OP_READ, u16::MAX, false),
        (BLKIF_OP_WRITE_BARRIER, 1, false),
        (BLKIF_OP_INDIRECT, 1, false),
    ] {
        let request = indirect(operation, 1, 8, count, 9);
        let checked = check(&request, &image);
        assert_eq!(checked.is_ok(), is_valid, "{operation}, {count}: {checked:?}");
        assert_eq!(answered_operation(&request), operation);
    }
}

proptest! {
    /// Whatever a guest writes into a slot and into its list of segments.
    #[test]
    fn what_passes_lies_in_pages_and_on_the_disk(
        slot in prop::collection::vec(any::<u8>(), size_of::<Request>()),
        operation in 0u8..8,
        sector in prop_oneof![0u64..1100, any::<u64>()],
        segments in prop::collection::vec((any::<u32>(), 0u8..10, 0u8..10), 64),
        sector_size in prop::sample::select(vec![512u32, 4096]),
    ) {
        let image = image(sector_size, false, true);
        let (mut request, _) = Request::read_from_prefix(&slot).unwrap();
        (request.operation, request.sector_number) = (operation, sector);
        let list: Vec<Segment> =
            segments.iter().map(|(gref, first, last)| segment(*gref, *first, *last)).collect();
        match check(&request, &image) {
            Ok(Checked::Transfer { sector, segments, .. }) => {
                let count = segments.count();
                prop_assert!((1..=usize::from(MAX_INDIRECT_SEGMENTS)).contains(&count));
                let mut targets = Vec::new();
                let checked =
                    check_segments(sector, &list[..count], &image.geometry, &mut targets);
                if let Ok(offset) = checked {
                    let length: u64 = targets.iter().map(|target| u64::from(target.length)).sum();
                    prop_assert!(length > 0 && offset + length <= 1024 * 512);
                    prop_assert!(offset.is_multiple_of(sector_size.into()));
                    for Target { offset, length, .. } in targets {
                        prop_assert!(usize::from(offset) + usize::from(length) <= PAGE_SIZE);
                        prop_assert!(u32::from(length).is_multiple_of(sector_size));
                    }
                }
            }
            Ok(Checked::Discard { offset, length }) => {
                prop_assert!(length > 0 && offset + length <= 1024 * 512);
            }
            Ok(Checked::Flush { .. }) | Err(_) => {}
        }
    }
}
