// SPDX-License-Identifier: GPL-3.0-or-later
//! Tests of both engines, on real files.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

use nix::sys::memfd::{MFdFlags, memfd_create};
use noxs_control::DiskIdentity;

use super::storage::Owner;
use super::*;

/// Returns the engines that this machine has.
fn engines() -> Vec<FileEngine> {
    let engine = |ring| FileEngine { ring, threads: Threads::start().unwrap() };
    let mut engines = vec![engine(None)];
    match Ring::new() {
        Ok(ring) => engines.push(engine(Some(Box::new(ring)))),
        // Such as in a container.
        Err(error) => eprintln!("the kernel provides no io_uring: {error}"),
    }
    engines
}

/// Returns a file that never waits.
fn in_memory() -> Arc<StorageFile> {
    let file = memfd_create(c"disk", MFdFlags::MFD_CLOEXEC).unwrap();
    let file = behind_a_disk(file.into());
    assert!(file.is_quick());
    Arc::new(file)
}

fn behind_a_disk(file: File) -> StorageFile {
    let identity = DiskIdentity::File { device: 1, inode: 1 };
    StorageFile::from(file).behind(Owner { identity, read_only: false })
}

fn parts(bytes: &[u8], lengths: &[u16]) -> Vec<IoPart> {
    let mut rest = bytes;
    let part = |length: &u16| {
        let mut part = IoPart { page: Box::new(IoPage([0; PAGE_SIZE])), length: *length };
        let (data, after) = rest.split_at(usize::from(*length).min(rest.len()));
        part.data_mut()[..data.len()].copy_from_slice(data);
        rest = after;
        part
    };
    lengths.iter().map(part).collect()
}

/// Carries out operations and returns their results in the order of their keys.
fn run(engine: &mut FileEngine, ios: Vec<FileIo>) -> Vec<FinishedIo> {
    let count = ios.len();
    for io in ios {
        engine.begin(io);
    }
    assert!(engine.submit());
    let mut finished = Vec::new();
    let end = std::time::Instant::now() + Duration::from_secs(30);
    while finished.len() < count && std::time::Instant::now() < end {
        engine.wait(Duration::from_secs(1));
        engine.finished(&mut finished);
    }
    finished.sort_by_key(|done| done.key);
    assert_eq!(finished.len(), count);
    finished
}

#[test]
fn operations_are_carried_out_and_return_their_buffers() {
    for mut engine in engines() {
        let file = in_memory();
        file.set_len(64 * 1024).unwrap();
        let bytes: Vec<u8> = (0..=255).cycle().take(6144).collect();
        let io =
            |key, kind, offset, parts| FileIo { key, file: Arc::clone(&file), kind, offset, parts };
        let done = run(
            &mut engine,
            vec![
                io(0, IoKind::Write, 512, parts(&bytes, &[4096, 512, 1536])),
                io(1, IoKind::Write, 32768, parts(&bytes, &[4096])),
            ],
        );
        assert!(done.iter().all(|done| done.result.is_ok()), "{engine:?}: {done:?}");
        assert_eq!(done[0].parts.len(), 3);
        let done = run(
            &mut engine,
            vec![
                io(0, IoKind::Read, 512, parts(&[], &[512, 4096, 1536])),
                io(1, IoKind::Sync, 0, Vec::new()),
                io(2, IoKind::Discard { length: 4096 }, 32768, Vec::new()),
            ],
        );
        assert!(done.iter().all(|done| done.result.is_ok()), "{engine:?}: {done:?}");
        let read: Vec<u8> = done[0].parts.iter().flat_map(|part| part.data().to_vec()).collect();
        assert_eq!(read, bytes);
        let mut hole = [1; 4096];
        file.read_exact_at(&mut hole, 32768).unwrap();
        assert_eq!(hole, [0; 4096]);
        assert_eq!(file.metadata().unwrap().len(), 64 * 1024);
    }
}

#[test]
fn a_transfer_that_is_not_whole_is_an_error() {
    for mut engine in engines() {
        let file = in_memory();
        file.set_len(1024).unwrap();
        let read_only = File::open(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap();
        let read_only = Arc::new(behind_a_disk(read_only));
        let io = |key, file: &Arc<StorageFile>, kind, offset, parts| FileIo {
            key,
            file: Arc::clone(file),
            kind,
            offset,
            parts,
        };
        let done = run(
            &mut engine,
            vec![
                io(0, &file, IoKind::Read, 512, parts(&[], &[512, 512])),
                io(1, &file, IoKind::Read, 4096, parts(&[], &[512])),
                io(2, &read_only, IoKind::Write, 0, parts(&[], &[512])),
                io(3, &file, IoKind::Read, 512, parts(&[], &[512])),
            ],
        );
        let failed: Vec<bool> = done.iter().map(|done| done.result.is_err()).collect();
        assert_eq!(failed, [true, true, true, false], "{engine:?}: {done:?}");
    }
}

#[test]
fn the_file_is_closed_once_its_operations_are_finished() {
    for mut engine in engines() {
        let file = in_memory();
        file.set_len(4096).unwrap();
        let io = FileIo {
            key: 0,
            file: Arc::clone(&file),
            kind: IoKind::Read,
            offset: 0,
            parts: parts(&[], &[4096]),
        };
        run(&mut engine, vec![io]);
        assert_eq!(Arc::strong_count(&file), 1, "{engine:?}");
    }
}

#[test]
fn more_operations_than_the_queue_has_entries_are_taken() {
    for mut engine in engines() {
        let file = in_memory();
        file.set_len(4096).unwrap();
        let io = |key| FileIo {
            key,
            file: Arc::clone(&file),
            kind: IoKind::Read,
            offset: 0,
            parts: parts(&[], &[512]),
        };
        let done = run(&mut engine, (0..MAX_OPERATIONS as usize).map(io).collect());
        assert!(done.iter().all(|done| done.result.is_ok()));
    }
}
