// SPDX-License-Identifier: GPL-3.0-or-later
//! ELF files that can be loaded, and those that cannot.

mod files;
mod kernel_file;
mod packed;
mod properties;

use std::io::Write;

use self::kernel_file::{KernelFile, NotesIn, note};
use super::*;

/// Returns the file of a small kernel, for the tests of other modules.
pub(crate) fn kernel() -> Vec<u8> {
    KernelFile::new().build()
}

/// Returns the file of a small kernel without an entry for PVH, for the tests of other modules.
pub(crate) fn pv_kernel() -> Vec<u8> {
    KernelFile::new().notes(Vec::new()).build()
}

/// Returns a small kernel with some more segments, each with its address and its size, for the tests
/// of other modules.
pub(crate) fn kernel_with(loads: &[(u64, u64)]) -> Image {
    let load = |file: KernelFile, (paddr, size): &(u64, u64)| file.load(*paddr, *size, 1);
    parse(loads.iter().fold(KernelFile::new(), load).build()).unwrap()
}

/// Returns why a kernel is refused. Checks that it is refused for the same reason when only its
/// headers are read.
fn refusal(bytes: Vec<u8>) -> String {
    let unread = open_unread(&bytes).unwrap_err().to_string();
    let refusal = parse(bytes).unwrap_err().to_string();
    assert_eq!(unread, refusal);
    refusal
}

fn parse(bytes: Vec<u8>) -> Result<Image, ImageError> {
    Image::parse(bytes, SizeLimit::MOST)
}

fn open_unread(bytes: &[u8]) -> Result<Image, ImageError> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    Image::open_unread(file.path(), SizeLimit::MOST)
}

fn bytes<'a>(image: &'a Image, segment: &Segment) -> &'a [u8] {
    match image.content(segment) {
        Content::Bytes(bytes) => bytes,
        Content::File { .. } => panic!("the image is not in memory"),
    }
}

#[test]
fn both_classes_are_read_with_notes_in_segments_or_sections() {
    for file in [KernelFile::new(), KernelFile::new().i386()] {
        for place in [NotesIn::Segment, NotesIn::Section] {
            let image = parse(file.clone().notes_in(place).build()).unwrap();
            assert_eq!(image.entry(), 0x10_0000);
            assert_eq!(image.end(), 0x10_2000);
            let [segment] = image.segments() else { panic!("{:?}", image.segments()) };
            assert_eq!((segment.paddr, segment.mem_size, segment.index), (0x10_0000, 0x2000, 0));
            assert_eq!(bytes(&image, segment), file.loads[0].bytes);
        }
    }
}

#[test]
fn segments_are_sorted_and_empty_ones_left_out() {
    let file =
        KernelFile::new().load(0x30_0000, 0x1000, 0).load(0, 0x1000, 16).load(0x20_0000, 0, 0);
    let image = parse(file.build()).unwrap();
    let order: Vec<_> = image.segments().iter().map(|s| (s.index, s.paddr)).collect();
    assert_eq!(order, [(2, 0), (0, 0x10_0000), (1, 0x30_0000)]);
    assert_eq!(bytes(&image, &image.segments()[2]), b"");
}

#[test]
fn the_pvh_note_is_found_among_others_and_in_each_size() {
    for desc in [vec![0x80], vec![0x80, 0], vec![0x80, 0, 0, 0], vec![0x80, 0, 0, 0, 0, 0, 0, 0]] {
        let mut notes = note(b"GNU\0", 18, &[1, 2, 3, 4]);
        notes.extend(note(b"Xen\0", 5, b"guest\0"));
        notes.extend(note(b"Xen\0", 18, &desc));
        let file = KernelFile::new().load(0x80, 0x10, 0x10).notes(notes);
        assert_eq!(parse(file.build()).unwrap().entry(), 0x80);
    }
    for desc in [&[][..], &[0; 3], &[0; 5], &[0; 16]] {
        let refused = refusal(KernelFile::new().entry(desc).build());
        assert!(refused.contains(&format!("holds {} bytes", desc.len())), "{refused}");
    }
    for notes in [vec![], note(b"Xen\0", 1, &[0; 4]), note(b"NetBSD\0", 18, &[0; 4]), vec![1; 7]] {
        let refused = refusal(KernelFile::new().notes(notes).build());
        assert!(refused.starts_with("no PVH note"), "{refused}");
    }
}

#[test]
fn the_notes_say_what_a_kernel_expects() {
    let pvh = note(b"Xen\0", 18, &0x10_0000u32.to_le_bytes());
    let page = note(b"chaos\0", 1, &[1, 0, 7, 0]);
    let expects = |notes: &[&[u8]], place| {
        let file = KernelFile::new().notes(notes.concat()).notes_in(place).build();
        let unread = open_unread(&file).unwrap().expects();
        let image = parse(file).unwrap();
        assert_eq!(unread, image.expects());
        let expects = image.expects();
        (expects.device_page, expects.is_operating_system)
    };
    for place in [NotesIn::Segment, NotesIn::Section] {
        let os = note(b"Xen\0", 6, b"linux\0");
        let linux = note(b"Linux\0", 0x101, &[0; 4]);
        assert_eq!(expects(&[&pvh], place), (None, false));
        assert_eq!(expects(&[&pvh, &page], place), (Some(1), false));
        assert_eq!(expects(&[&page, &pvh], place), (Some(1), false));
        assert_eq!(expects(&[&pvh, &os], place), (None, true));
        assert_eq!(expects(&[&linux, &pvh], place), (None, true));
        for other in [note(b"chaos\0", 2, &[1, 0, 0, 0]), note(b"chaotic\0", 1, &[1, 0, 0, 0])] {
            assert_eq!(expects(&[&pvh, &other], place), (None, false));
        }
    }
    let uses_ipv6 = |minor| {
        let page = note(b"chaos\0", 1, &[1, 0, minor, 0]);
        let file = KernelFile::new().notes([&pvh[..], &page].concat());
        parse(file.build()).unwrap().expects().uses_ipv6
    };
    assert_eq!([2, 3, 4].map(uses_ipv6), [false, true, true]);
    let short = [pvh, note(b"chaos\0", 1, &[1, 0])].concat();
    let refused = refusal(KernelFile::new().notes(short).build());
    assert!(refused.contains("\"chaos\" of type 1 holds 2 bytes: must be 4"), "{refused}");
}

#[test]
fn a_file_that_is_not_elf_is_described() {
    for (bytes, begins) in [
        (&b""[..], "the file is empty"),
        (b"\x7fEL", "begins with 7f 45 4c"),
        (b"#!/bin/sh\n", "23 21 2f 62 (a script)"),
        (b"MZ\x90\0", "(an EFI program)"),
    ] {
        let refused = refusal(bytes.to_vec());
        assert!(refused.contains(begins), "{refused}");
    }
}

#[test]
fn both_machines_are_read_in_both_classes() {
    // The hvm64 tests of Xen's test framework are 32-bit files for x86-64.
    for (file, machine) in [(KernelFile::new().i386(), 62), (KernelFile::new(), 3)] {
        let image = parse(KernelFile { machine, ..file }.build()).unwrap();
        assert_eq!(image.entry(), 0x10_0000);
    }
}

#[test]
fn other_machines_are_refused() {
    let mut file = KernelFile::new();
    file.machine = 183;
    assert!(refusal(file.build()).contains("64-bit for machine 183"));
    let mut file = KernelFile::new().i386();
    file.machine = 40;
    assert!(refusal(file.build()).contains("32-bit for machine 40"));
    let mut big_endian = KernelFile::new().build();
    big_endian[5] = 2;
    assert!(refusal(big_endian).contains("it is big-endian"));
    let mut class = KernelFile::new().build();
    class[4] = 3;
    assert!(refusal(class).contains("its class is 3"));
}

#[test]
fn the_error_of_a_truncated_file_names_the_part() {
    let whole = KernelFile::new().build();
    let size = whole.len();
    let notes = size - KernelFile::new().notes.len();
    for (length, part) in [
        (5, "the ELF header ends at byte 16, the file at byte 5".to_owned()),
        (40, "the ELF header ends at byte 64, the file at byte 40".to_owned()),
        (100, "the program header table ends at byte 176, the file at byte 100".to_owned()),
        (notes - 1, format!("segment 0 ends at byte {notes}, the file at byte {}", notes - 1)),
        (size - 1, format!("segment 1 ends at byte {size}, the file at byte {}", size - 1)),
    ] {
        let refused = refusal(whole[..length].to_vec());
        assert!(refused.contains(&part), "{refused}");
    }
    let sections = KernelFile::new().notes_in(NotesIn::Section).build();
    let refused = refusal(sections[..sections.len() - 1].to_vec());
    assert!(refused.contains("the section header table"), "{refused}");
}

#[test]
fn no_prefix_of_a_kernel_is_a_kernel() {
    for file in [KernelFile::new(), KernelFile::new().i386().notes_in(NotesIn::Section)] {
        let whole = file.build();
        for length in 0..whole.len() {
            assert!(parse(whole[..length].to_vec()).is_err(), "{length}");
        }
    }
}

#[test]
fn invalid_segments_are_refused() {
    let refused = refusal(KernelFile::new().load(0x10_1fff, 0x10, 0x10).build());
    assert!(refused.contains("segments 0 and 1 overlap"), "{refused}");
    assert!(refused.contains("0x102000") && refused.contains("0x101fff"), "{refused}");

    let refused = refusal(KernelFile::new().load(u64::MAX - 0xf, 0x11, 1).build());
    assert!(refused.contains("segment 1 at 0xfffffffffffffff0 with 0x11 bytes"), "{refused}");

    let refused = refusal(KernelFile::new().load(0x20_0000, 0xf, 0x10).build());
    assert_eq!(refused, "segment 1 has 16 bytes in the file, but only 15 in memory");

    let mut empty = KernelFile::new();
    empty.loads.clear();
    assert_eq!(refusal(empty.build()), "the ELF file has no segment to load");
}

#[test]
fn the_entry_must_lie_in_a_segment_below_4_gib() {
    // 0x10_1000 is in the segment, but beyond its bytes in the file.
    for entry in [0x10_1000u32, 0x0f_ffff, 0] {
        let refused = refusal(KernelFile::new().entry(&entry.to_le_bytes()).build());
        assert!(refused.contains(&format!("entry point {entry:#x}")), "{refused}");
        assert!(refused.contains("must lie in a loaded segment"), "{refused}");
    }
    let high = KernelFile::new().load(1 << 32, 16, 16).entry(&(1u64 << 32).to_le_bytes());
    assert!(refusal(high.build()).contains("below 4 GiB"));
}

#[test]
fn notes_that_share_their_bytes_are_refused() {
    // 1000 headers of note segments, each covering the whole file.
    let mut file = KernelFile::new().notes(Vec::new()).build();
    file.truncate(64);
    file.resize(64 + 56 * 1000, 0);
    file[56..58].copy_from_slice(&1000u16.to_le_bytes());
    let size = (file.len() as u64).to_le_bytes();
    for header in file[64..].chunks_exact_mut(56) {
        header[0] = 4;
        header[32..40].copy_from_slice(&size);
    }
    // One segment to load, so that only the notes are wrong.
    file[64] = 1;
    file[64 + 40..64 + 48].copy_from_slice(&size);
    assert_eq!(refusal(file), "malformed ELF file: its notes overlap each other");
}

#[test]
fn the_number_of_segments_is_limited() {
    let with = |count: u64| {
        (1..count).fold(KernelFile::new(), |file, n| file.load(0x20_0000 + n * 16, 1, 1)).build()
    };
    assert_eq!(parse(with(128)).unwrap().segments().len(), 128);
    let refused = refusal(with(129));
    assert_eq!(refused, "the ELF file has 129 segments to load: must be at most 128");
    // PN_XNUM: the number is in the first section header.
    let mut file = KernelFile::new().notes_in(NotesIn::Section).build();
    file[56..58].copy_from_slice(&[0xff, 0xff]);
    assert!(refusal(file).contains("has 65535 segments to load"));
}

#[test]
fn the_notes_and_sections_that_are_read_are_limited() {
    let refused = refusal(KernelFile::new().notes(vec![0; (1 << 20) + 1]).build());
    assert_eq!(refused, "malformed ELF file: it has more than 1 MiB of notes");
    let mut file = KernelFile::new().notes_in(NotesIn::Section).build();
    // No number of sections, which then is in the first section header.
    file[60..62].copy_from_slice(&[0, 0]);
    assert_eq!(refusal(file), "malformed ELF file: it has more than 65279 sections");
}

#[test]
fn the_error_of_a_kernel_that_does_not_fit_says_how_much_is_missing() {
    let image = parse(KernelFile::new().load(0x20_0000, 0x1801, 0).build()).unwrap();
    image.check_fits(0x20_1801).unwrap();
    let refused = image.check_fits(0x20_0000).unwrap_err().to_string();
    assert!(refused.contains("segment 1 ends at 0x201801"), "{refused}");
    assert!(refused.contains("ends at 0x200000: 7 KiB are missing"), "{refused}");
}
