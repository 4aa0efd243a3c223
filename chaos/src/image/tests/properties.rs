// SPDX-License-Identifier: GPL-3.0-or-later
//! Properties of all kernels, well-formed and damaged.

use std::os::unix::fs::FileExt;

use flate2::Crc;
use proptest::prelude::*;

use super::kernel_file::{KernelFile, NotesIn, bzimage};
use super::packed::PACKED;
use super::*;

/// Returns a gzip file with the given content, so that the code behind decompression is reached.
fn gzip_stored(bytes: &[u8]) -> Vec<u8> {
    let mut file = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let length = u16::try_from(bytes.len()).unwrap();
    file.push(1);
    file.extend(length.to_le_bytes());
    file.extend((!length).to_le_bytes());
    file.extend(bytes);
    let mut crc = Crc::new();
    crc.update(bytes);
    file.extend(crc.sum().to_le_bytes());
    file.extend(u32::from(length).to_le_bytes());
    file
}

/// Checks what code that copies an image into a guest relies on.
fn check_invariants(image: &Image) {
    let mut end = 0;
    assert!(!image.segments().is_empty());
    for segment in image.segments() {
        assert!(segment.paddr >= end && segment.mem_size > 0);
        assert!(segment.file_size() <= segment.mem_size);
        end = segment.end();
    }
    assert_eq!(image.end(), end);
    assert!(image.segments().iter().any(|s| (s.paddr..s.end()).contains(&image.entry().into())));
}

proptest! {
    #[test]
    fn any_bytes_are_a_kernel_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let mut elf = b"\x7fELF\x02\x01".to_vec();
        elf.extend(&bytes);
        let stored = gzip_stored(&bytes);
        for file in [bytes.clone(), elf, stored, bzimage(&bytes, 0)] {
            if let Ok(image) = parse(file) {
                check_invariants(&image);
            }
        }
    }

    #[test]
    fn a_damaged_kernel_keeps_the_invariants_or_is_refused(
        is_64: bool,
        in_segment: bool,
        // Most bytes with an effect are in the headers.
        changes in prop::collection::vec((0..260usize, prop_oneof![Just(0), Just(0xff), any::<u8>()]), 0..6),
        tail in 0..80usize,
        tail_byte: u8,
        length in 0..6000usize,
    ) {
        let kernel = if is_64 { KernelFile::new() } else { KernelFile::new().i386() };
        let place = if in_segment { NotesIn::Segment } else { NotesIn::Section };
        let mut file = kernel.load(0x20_0000, 0x100, 0x80).notes_in(place).build();
        for (at, byte) in changes {
            file[at] = byte;
        }
        let at = file.len() - 1 - tail;
        file[at] = tail_byte;
        file.truncate(length);
        if let Ok(image) = parse(file) {
            check_invariants(&image);
        }
    }

    #[test]
    fn damaged_packed_data_keep_the_invariants_or_are_refused(
        at in 0..4000usize,
        byte: u8,
        method in 0..PACKED.len(),
    ) {
        let packed = &PACKED[method].1;
        let mut file = bzimage(packed, 0);
        let at = 1024 + at % packed.len();
        file[at] = byte;
        if let Ok(image) = parse(file) {
            check_invariants(&image);
        }
    }

    #[test]
    fn each_well_formed_kernel_loads(
        is_64: bool,
        segments in prop::collection::vec((0..0x1000u64, 1..64usize, 0..0x1000u64), 1..6),
        rotation in 0..6usize,
    ) {
        let mut kernel = if is_64 { KernelFile::new() } else { KernelFile::new().i386() };
        kernel.loads.clear();
        let mut at = 0;
        for (gap, file_size, cleared) in segments {
            let mem_size = file_size as u64 + cleared;
            kernel = kernel.load(at + gap, mem_size, file_size);
            at += gap + mem_size;
        }
        let sorted = kernel.loads.clone();
        let entry = u32::try_from(sorted[0].paddr).unwrap();
        kernel.loads.rotate_left(rotation % sorted.len());
        let built = kernel.entry(&entry.to_le_bytes()).build();
        let image = parse(built.clone()).unwrap();
        check_invariants(&image);
        prop_assert_eq!(image.entry(), entry);
        prop_assert_eq!(image.segments().len(), sorted.len());
        for (segment, load) in image.segments().iter().zip(&sorted) {
            prop_assert_eq!((segment.paddr, segment.mem_size), (load.paddr, load.mem_size));
            prop_assert_eq!(bytes(&image, segment), load.bytes.as_slice());
        }
        let unread = open_unread(&built).unwrap();
        prop_assert_eq!((unread.entry(), unread.segments()), (entry, image.segments()));
        for (segment, load) in unread.segments().iter().zip(&sorted) {
            let Content::File { file, position, count } = unread.content(segment) else {
                panic!("the image is in memory");
            };
            let mut content = vec![0; count];
            file.read_exact_at(&mut content, position).unwrap();
            prop_assert_eq!(&content, &load.bytes);
        }
    }
}
