// SPDX-License-Identifier: MIT OR Apache-2.0
//! Disks that are damaged, end early, or lost writes in a crash.

use proptest::prelude::*;

use crate::ram::Started;
use crate::{Free, LoadError, NOW, Ram, Random, Server};

/// Returns a disk with two snapshots, and the data of the older and of the newer one.
fn two_snapshots() -> (Vec<u8>, [Vec<String>; 2]) {
    let disk = Ram::new(8192 + 2 * 8192);
    let (mut server, _) = Server::start(&disk).unwrap();
    let fill = ["set s value", "rpush l a b c", "sadd t a b", "hset h f v g w", "zadd z 1 a 2 b"];
    let data = fill.map(|command| {
        server.ask(command);
        assert_eq!(server.ask("save"), "+OK\r\n");
        server.data()
    });
    let content = disk.0.borrow().content.clone();
    let [.., older, newer] = data;
    (content, [older, newer])
}

/// Checks what a damaged disk loads: one of the two snapshots, or nothing at all. Nothing may be taken
/// for the newest snapshot but that.
fn check(content: Vec<u8>, data: &[Vec<String>; 2]) -> Result<(), TestCaseError> {
    match Server::start(&Ram::with(content)) {
        Ok((mut server, loaded)) => {
            let found = server.data();
            prop_assert!(found == data[1] || found == data[0] && loaded.other_is_damaged);
        }
        Err(error) => prop_assert!(
            matches!(error, LoadError::Damaged | LoadError::NotOurs | LoadError::Disk),
            "{}",
            error
        ),
    }
    Ok(())
}

/// All bits: the snapshots are short.
#[test]
fn with_any_bit_flipped_the_older_snapshot_is_loaded() {
    let (content, data) = two_snapshots();
    let mut older = 0;
    for byte in (0..48).chain(4096..4096 + 48).chain(8192..8192 + 160).chain(16384..16384 + 160) {
        for bit in 0..8 {
            let mut damaged = content.clone();
            damaged[byte] ^= 1 << bit;
            let (mut server, loaded) = Server::start(&Ram::with(damaged)).unwrap();
            let found = server.data();
            assert!(
                found == data[1] || found == data[0] && loaded.other_is_damaged,
                "byte {byte} bit {bit}"
            );
            older += usize::from(found == data[0]);
        }
    }
    assert!(older > 8 * 100, "{older} flips damaged the newer snapshot");
}

#[test]
fn when_both_are_damaged_nothing_is_loaded() {
    let (content, _) = two_snapshots();
    for (first, second) in [(8200, 16400), (20, 4116), (8200, 4116), (20, 16400)] {
        let mut damaged = content.clone();
        damaged[first] ^= 1;
        damaged[second] ^= 1;
        let error = Server::start(&Ram::with(damaged)).err();
        // Headers that were never complete are those of a disk without a snapshot.
        let both_headers = (first, second) == (20, 4116);
        assert_eq!(error, (!both_headers).then_some(LoadError::Damaged), "{first} {second}");
    }
}

/// After damage, the next snapshot does not replace the one that was loaded.
#[test]
fn the_next_snapshot_replaces_the_damaged_one() {
    let (content, data) = two_snapshots();
    for damage in [8200, 16400] {
        let mut damaged = content.clone();
        damaged[damage] ^= 1;
        let disk = Ram::with(damaged);
        let (mut server, _) = Server::start(&disk).unwrap();
        let loaded = server.data();
        server.ask("set new 1");
        assert_eq!(server.ask("save"), "+OK\r\n");
        let (mut again, info) = Server::start(&disk).unwrap();
        assert!(again.data() == server.data() && !info.other_is_damaged);
        assert!(data.contains(&loaded));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_disk_that_ends_early_loads_a_whole_snapshot_or_nothing(length in 0usize..24577) {
        let (mut content, data) = two_snapshots();
        // A file that was cut off and extended again: what is behind the end reads as zeros.
        content[length..].fill(0);
        check_or_none(content.clone(), &data)?;
        // A file that was cut off.
        content.truncate(length);
        match Server::start(&Ram::with(content)) {
            Ok((mut server, loaded)) => {
                let found = server.data();
                prop_assert!(loaded.saved_ms == 0 || data.contains(&found));
            }
            Err(error) => prop_assert!(error != LoadError::Memory, "{}", error),
        }
    }

    #[test]
    fn any_damage_loads_a_whole_snapshot_or_nothing(
        damage in proptest::collection::vec((0usize..24576, any::<u8>()), 1..8),
        near in any::<bool>(),
    ) {
        let (mut content, data) = two_snapshots();
        for (at, byte) in damage {
            // Most of the disk is empty: hit what is used.
            let at = if near { [0, 4096, 8192, 16384][at % 4] + at / 4 % 160 } else { at };
            content[at] = byte;
        }
        check_or_none(content, &data)?;
    }

    /// Bytes in place of a snapshot, with a right header and a right checksum, cause no panic, and
    /// nothing that is not a whole file is loaded.
    #[test]
    fn any_bytes_are_parsed(bytes in proptest::collection::vec(any::<u8>(), 0..300), cut in any::<bool>()) {
        let (content, data) = two_snapshots();
        let mut forged = content.clone();
        let start = if cut { 11 } else { 0 };
        let at = 16384 + start;
        forged[at..at + bytes.len()].copy_from_slice(&bytes);
        let mut both = forged.clone();
        both[8192 + start..][..bytes.len()].copy_from_slice(&bytes);
        check_or_none(forged, &data)?;
        check_or_none(both, &data)?;
    }
}

/// As [`check`], or the disk has no snapshot, because no header is whole.
fn check_or_none(content: Vec<u8>, data: &[Vec<String>; 2]) -> Result<(), TestCaseError> {
    match Server::start(&Ram::with(content.clone())) {
        Ok((_, loaded)) if loaded.saved_ms == 0 => {
            prop_assert_eq!(loaded.keys, 0);
            Ok(())
        }
        _ => check(content, data),
    }
}

/// Crashes of the host at each moment of each save: writes that were not flushed are lost or not,
/// each on its own.
#[test]
fn after_a_crash_the_last_snapshot_that_was_answered_is_loaded() {
    let disk = Ram::new(1 << 18);
    let (mut server, _) = Server::start(&disk).unwrap();
    let mut random = Random(3);
    let mut before: Vec<String> = Vec::new();
    for _ in 0..4 {
        for _ in 0..2000 {
            server.ask(&random.command(400));
        }
        let base = disk.0.borrow().content.clone();
        disk.0.borrow_mut().done.clear();
        assert_eq!(server.ask("save"), "+OK\r\n");
        let after = server.data();
        let done = disk.0.borrow().done.clone();
        assert!(done.len() >= 6 && matches!(done.last(), Some(Started::Flush)));
        for end in 0..=done.len() {
            for _ in 0..8 {
                let mut content = base.clone();
                let flushed = done[..end].iter().rposition(|it| matches!(it, Started::Flush));
                for (number, started) in done[..end].iter().enumerate() {
                    let is_safe = flushed.is_some_and(|flush| number < flush);
                    if let Started::Write(at, bytes) = started
                        && (is_safe || random.below(2) == 0)
                    {
                        content[*at..][..bytes.len()].copy_from_slice(bytes);
                    }
                }
                let (mut again, _) = Server::start(&Ram::with(content)).unwrap();
                let data = again.data();
                let is_old = data == before && end < done.len();
                assert!(is_old || data == after, "crash after {end} of {}", done.len());
            }
        }
        before = after;
    }
}

#[test]
fn a_snapshot_that_is_larger_than_the_memory_is_not_loaded() {
    let disk = Ram::new(1 << 22);
    let (mut server, _) = Server::start(&disk).unwrap();
    for key in 0..1000 {
        server.ask(&format!("set k{key} {}", "v".repeat(1000)));
    }
    server.ask("save");
    // `Free` never shrinks, so this shows only the first check: a value alone.
    let error = Server::start_at(&disk, NOW, &Free(97 * 1024)).err();
    assert_eq!(error, Some(LoadError::Memory));
}
