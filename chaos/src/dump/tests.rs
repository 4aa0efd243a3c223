// SPDX-License-Identifier: GPL-3.0-or-later
//! Core files of memory that only exists in the tests.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;

use xen_abi::hvm::hw_cpu;

use super::testing::{Pages as Fake, vcpu};
use super::*;

const PROGRAM: Program<'_> = Program { kernel: "redis", command: "web" };

/// Frames with a byte in each page; 0 stands for a page of zeroes.
fn memory(pages: &[(u64, u8)]) -> Fake {
    Fake(pages.iter().map(|(frame, byte)| (*frame, [*byte; PAGE_SIZE])).collect())
}

fn dump(memory: &Fake, end: u64, file: &File) -> Result<CoreSummary, DumpError> {
    let vcpus = [vcpu(&[(hw_cpu::RIP, 0x1234)])];
    write(memory, Gfn(end), &vcpus, PROGRAM, file, &mut || false)
}

/// Returns the segments of the file: address, offset and length.
fn segments(file: &File) -> Vec<(u64, u64, u64)> {
    let mut head = vec![0; usize::try_from(DATA).unwrap()];
    let read = file.read_at(&mut head, 0).unwrap();
    head.truncate(read);
    let word = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().unwrap());
    let count = u16::from_le_bytes([head[56], head[57]]);
    let rows = (1..usize::from(count)).map(|row| 64 + row * 56);
    rows.map(|at| (word(at + 16), word(at + 8), word(at + 32))).collect()
}

#[test]
fn memory_is_found_at_its_address_and_zeroes_take_no_space() {
    let mut pages: Vec<_> = (0..1000).map(|frame| (frame, 0)).collect();
    pages[3].1 = 7;
    pages[300].1 = 8;
    pages[301].1 = 9;
    // Above a hole, and with zeroes at the end.
    pages.extend([(1 << 20, 5), ((1 << 20) + 1, 0)]);
    let memory = memory(&pages);
    let file = tempfile::tempfile().unwrap();
    let summary = dump(&memory, (1 << 20) + 5, &file).unwrap();
    assert_eq!((summary.memory, summary.written), (Pages(1002), Pages(4)));
    assert_eq!((summary.vcpus, summary.is_cut), (1, false));
    assert_eq!(segments(&file), [(0, DATA, 1000 << 12), (1 << 32, DATA + (1 << 32), 2 << 12)]);
    for (frame, byte) in [(3, 7), (4, 0), (300, 8), (301, 9), (1 << 20, 5), ((1 << 20) + 1, 0)] {
        let mut page = [1; PAGE_SIZE];
        file.read_exact_at(&mut page, DATA + (frame << 12)).unwrap();
        assert!(page.iter().all(|found| *found == byte), "frame {frame}");
    }
    let metadata = file.metadata().unwrap();
    assert_eq!(metadata.len(), DATA + (1 << 32) + (2 << 12));
    assert!(metadata.blocks() * 512 < 1 << 16, "{} blocks", metadata.blocks());
}

#[test]
fn scattered_memory_takes_a_limited_number_of_segments() {
    let pages: Vec<_> = (0..3 * MAX_RUNS as u64).map(|run| (run * 2, 1)).collect();
    let memory = memory(&pages);
    let file = tempfile::tempfile().unwrap();
    let summary = dump(&memory, 6 * MAX_RUNS as u64, &file).unwrap();
    assert_eq!(summary.memory, Pages(3 * MAX_RUNS as u64));
    let segments = segments(&file);
    assert_eq!(segments.len(), MAX_RUNS);
    let (start, _, length) = segments[MAX_RUNS - 1];
    assert_eq!(start + length, (6 * MAX_RUNS as u64 - 1) << 12);
}

#[test]
fn the_kernels_addresses_show_the_same_memory() {
    let mut pages = BTreeMap::from([(4, [6; PAGE_SIZE])]);
    for (frame, index, entry) in [(1, 511, 0x2003u64), (2, 510, 0x3003), (3, 0, 0x83)] {
        let mut page = [0; PAGE_SIZE];
        page[index * 8..][..8].copy_from_slice(&entry.to_le_bytes());
        pages.insert(frame, page);
    }
    // Of 2 MiB that are mapped, the last page exists.
    pages.insert(511, [0; PAGE_SIZE]);
    let registers = [(hw_cpu::CR0, 1 << 31), (hw_cpu::MSR_EFER, 1 << 10), (hw_cpu::CR3, 0x1000)];
    let file = tempfile::tempfile().unwrap();
    let memory = Fake(pages);
    write(&memory, Gfn(600), &[vcpu(&registers)], PROGRAM, &file, &mut || false).unwrap();
    let last = segments(&file).pop().unwrap();
    assert_eq!(last, (0xffff_ffff_8000_0000, DATA, 2 << 20));
}

#[test]
fn a_file_that_takes_no_more_and_a_signal_end_the_dump() {
    let memory = memory(&[(0, 1), (AT_ONCE as u64, 1)]);
    let read_only = File::open("/dev/null").unwrap();
    let error = dump(&memory, 1000, &read_only).unwrap_err();
    assert!(matches!(error, DumpError::Write { .. }), "{error}");
    let file = tempfile::tempfile().unwrap();
    let mut rounds = 0;
    let mut stop = || std::mem::replace(&mut rounds, 1) == 1;
    let error = write(&memory, Gfn(1000), &[], PROGRAM, &file, &mut stop).unwrap_err();
    assert!(matches!(error, DumpError::Interrupted), "{error}");
    assert_eq!(segments(&file), [], "no header was written");
}
