//! Kernels that can be loaded, and all that cannot.

mod made;

use std::fs;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, LazyLock};

use flate2::Crc;
use lzma_rust2::{CheckType, FilterType, LzmaOptions, LzmaWriter, XzOptions, XzWriter};
use proptest::prelude::*;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};

use self::made::{Made, NotesIn, bzimage, gzip, note};
use super::kernel::ImageBytes;
use super::*;

/// The file of a small kernel, for the tests of other modules.
pub(crate) fn kernel() -> Vec<u8> {
    Made::new().build()
}

/// Why a kernel is refused, which is the same whether all of it is read or not.
fn refusal(bytes: Vec<u8>) -> String {
    let unread = open_unread(&bytes).unwrap_err().to_string();
    let refusal = Image::parse(bytes).unwrap_err().to_string();
    assert_eq!(unread, refusal);
    refusal
}

fn open_unread(bytes: &[u8]) -> Result<Image, ImageError> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    Image::open_unread(file.path())
}

/// All bytes of an image that was read.
fn held(image: Image) -> Vec<u8> {
    match image.bytes {
        ImageBytes::Memory(bytes) => bytes,
        ImageBytes::File { .. } => panic!("the image was not read"),
    }
}

fn bytes<'a>(image: &'a Image, segment: &Segment) -> &'a [u8] {
    match image.content(segment) {
        Content::Bytes(bytes) => bytes,
        Content::File { .. } => panic!("the image was not read"),
    }
}

/// Packed data as the kernel's build leaves it: with the unpacked size behind it.
fn sized(mut packed: Vec<u8>, size: usize) -> Vec<u8> {
    packed.extend(u32::try_from(size).unwrap().to_le_bytes());
    packed
}

#[test]
fn a_kernel_is_read() {
    for made in [Made::new(), Made::new().i386()] {
        for place in [NotesIn::Segment, NotesIn::Section] {
            let image = Image::parse(made.clone().notes_in(place).build()).unwrap();
            assert_eq!(image.entry(), 0x10_0000);
            assert_eq!(image.end(), 0x10_2000);
            let [segment] = image.segments() else { panic!("{:?}", image.segments()) };
            assert_eq!((segment.paddr, segment.mem_size, segment.index), (0x10_0000, 0x2000, 0));
            assert_eq!(bytes(&image, segment), made.loads[0].bytes);
        }
    }
}

#[test]
fn segments_come_sorted_and_empty_ones_not_at_all() {
    let made = Made::new().load(0x30_0000, 0x1000, 0).load(0, 0x1000, 16).load(0x20_0000, 0, 0);
    let image = Image::parse(made.build()).unwrap();
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
        let made = Made::new().load(0x80, 0x10, 0x10).notes(notes);
        assert_eq!(Image::parse(made.build()).unwrap().entry(), 0x80);
    }
    for desc in [&[][..], &[0; 3], &[0; 5], &[0; 16]] {
        let refused = refusal(Made::new().entry(desc).build());
        assert!(refused.contains(&format!("holds {} bytes", desc.len())), "{refused}");
    }
    for notes in [vec![], note(b"Xen\0", 1, &[0; 4]), note(b"NetBSD\0", 18, &[0; 4]), vec![1; 7]] {
        let refused = refusal(Made::new().notes(notes).build());
        assert!(refused.starts_with("no PVH note"), "{refused}");
    }
}

#[test]
fn what_is_not_elf_is_named() {
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
fn other_machines_are_refused() {
    let mut made = Made::new();
    made.machine = 183;
    assert!(refusal(made.build()).contains("64-bit for machine 183"));
    let mut made = Made::new().i386();
    made.machine = 62;
    assert!(refusal(made.build()).contains("32-bit for machine 62"));
    let mut big_endian = Made::new().build();
    big_endian[5] = 2;
    assert!(refusal(big_endian).contains("it is big-endian"));
    let mut class = Made::new().build();
    class[4] = 3;
    assert!(refusal(class).contains("its class is 3"));
}

#[test]
fn a_file_that_is_cut_short_names_the_part() {
    let whole = Made::new().build();
    let size = whole.len();
    let notes = size - Made::new().notes.len();
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
    let sections = Made::new().notes_in(NotesIn::Section).build();
    let refused = refusal(sections[..sections.len() - 1].to_vec());
    assert!(refused.contains("the section header table"), "{refused}");
}

#[test]
fn no_prefix_of_a_kernel_is_a_kernel() {
    for made in [Made::new(), Made::new().i386().notes_in(NotesIn::Section)] {
        let whole = made.build();
        for length in 0..whole.len() {
            assert!(Image::parse(whole[..length].to_vec()).is_err(), "{length}");
        }
    }
}

#[test]
fn segments_that_cannot_be_are_refused() {
    let refused = refusal(Made::new().load(0x10_1fff, 0x10, 0x10).build());
    assert!(refused.contains("segments 0 and 1 overlap"), "{refused}");
    assert!(refused.contains("0x102000") && refused.contains("0x101fff"), "{refused}");

    let refused = refusal(Made::new().load(u64::MAX - 0xf, 0x11, 1).build());
    assert!(refused.contains("segment 1 at 0xfffffffffffffff0 with 0x11 bytes"), "{refused}");

    let refused = refusal(Made::new().load(0x20_0000, 0xf, 0x10).build());
    assert_eq!(refused, "segment 1 has 16 bytes in the file, but only 15 in memory");

    let mut empty = Made::new();
    empty.loads.clear();
    assert_eq!(refusal(empty.build()), "the ELF file has no segment to load");
}

#[test]
fn the_entry_lies_in_a_segment_below_4_gib() {
    // In the segment, but where the file has nothing.
    for entry in [0x10_1000u32, 0x0f_ffff, 0] {
        let refused = refusal(Made::new().entry(&entry.to_le_bytes()).build());
        assert!(refused.contains(&format!("entry point {entry:#x}")), "{refused}");
        assert!(refused.contains("must lie in a loaded segment"), "{refused}");
    }
    let high = Made::new().load(1 << 32, 16, 16).entry(&(1u64 << 32).to_le_bytes());
    assert!(refusal(high.build()).contains("below 4 GiB"));
}

#[test]
fn notes_that_share_their_bytes_are_refused() {
    // As many headers of note segments as fit, each of the whole file.
    let mut file = Made::new().notes(Vec::new()).build();
    file.truncate(64);
    file.resize(64 + 56 * 1000, 0);
    file[56..58].copy_from_slice(&1000u16.to_le_bytes());
    let size = (file.len() as u64).to_le_bytes();
    for header in file[64..].chunks_exact_mut(56) {
        header[0] = 4;
        header[32..40].copy_from_slice(&size);
    }
    // A segment to load, so that the notes are what is wrong.
    file[64] = 1;
    file[64 + 40..64 + 48].copy_from_slice(&size);
    assert_eq!(refusal(file), "malformed ELF file: its notes overlap each other");
}

#[test]
fn a_kernel_that_does_not_fit_says_what_is_missing() {
    let image = Image::parse(Made::new().load(0x20_0000, 0x1801, 0).build()).unwrap();
    image.check_fits(0x20_1801).unwrap();
    let refused = image.check_fits(0x20_0000).unwrap_err().to_string();
    assert!(refused.contains("segment 1 ends at 0x201801"), "{refused}");
    assert!(refused.contains("ends at 0x200000: 7 KiB are missing"), "{refused}");
}

/// The payload of a bzImage of [`Made::new`] for each way of packing, as the kernel's build makes
/// it.
static PACKED: LazyLock<[(&str, Vec<u8>); 5]> = LazyLock::new(|| {
    let kernel = Made::new().build();
    let mut xz_options = XzOptions::with_preset(1);
    xz_options.set_check_sum_type(CheckType::Crc32);
    xz_options.prepend_pre_filter(FilterType::BcjX86, 0);
    let mut xz = XzWriter::new(Vec::new(), xz_options).unwrap();
    xz.write_all(&kernel).unwrap();
    let mut lzma =
        LzmaWriter::new_use_header(Vec::new(), &LzmaOptions::with_preset(1), None).unwrap();
    lzma.write_all(&kernel).unwrap();
    let zstd = compress_to_vec(kernel.as_slice(), CompressionLevel::Fastest);
    let block = lz4_flex::block::compress(&kernel);
    let mut lz4 = vec![0x02, 0x21, 0x4c, 0x18];
    lz4.extend(u32::try_from(block.len()).unwrap().to_le_bytes());
    lz4.extend(block);
    let size = kernel.len();
    [
        ("gzip", gzip(&kernel)),
        ("xz", sized(xz.finish().unwrap(), size)),
        ("lzma", sized(lzma.finish().unwrap(), size)),
        ("zstd", sized(zstd, size)),
        ("lz4", sized(lz4, size)),
    ]
});

#[test]
fn packed_kernels_are_unpacked() {
    let kernel = Made::new().build();
    assert_eq!(held(Image::parse(gzip(&kernel)).unwrap()), kernel);
    for (method, packed) in PACKED.iter() {
        for gap in [0, 700] {
            let image = Image::parse(bzimage(packed, gap));
            assert_eq!(held(image.unwrap_or_else(|e| panic!("{method}: {e}"))), kernel);
        }
    }
}

#[test]
fn damaged_packed_kernels_are_refused() {
    let packed = gzip(&Made::new().build());
    let refused = refusal(packed[..packed.len() - 9].to_vec());
    assert!(refused.starts_with("cannot unpack the gzip data"), "{refused}");
    let mut file = bzimage(&packed, 0);
    file.truncate(file.len() - 5);
    assert!(refusal(file.clone()).contains("its payload ends at byte"));
    file.truncate(0x24e);
    assert!(refusal(file).contains("ends within its header"));

    let mut old = bzimage(&packed, 0);
    old[0x206..0x208].copy_from_slice(&[7, 2]);
    assert!(refusal(old).contains("boot protocol 2.7 is too old"));
    assert!(refusal(bzimage(b"BZh9....", 0)).contains("bzip2"));
    assert!(refusal(bzimage(b"????", 0)).contains("its payload begins with 3f 3f 3f 3f"));
    assert!(refusal(bzimage(b"", 0)).contains("its payload is empty"));

    // Lz4 has no end mark: what is missing shows in the size only.
    let lz4 = bzimage(&sized(vec![0x02, 0x21, 0x4c, 0x18], 9), 0);
    assert!(refusal(lz4).contains("the lz4 data unpacks to 0 bytes: must be 9"));
}

#[test]
fn only_regular_files_are_read() {
    assert!(matches!(Image::open("/".as_ref()), Err(ImageError::NotRegular)));
    assert!(matches!(Image::open("/dev/zero".as_ref()), Err(ImageError::NotRegular)));
    assert!(matches!(Image::open("/no/such/file".as_ref()), Err(ImageError::Open(_))));
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(MAX_SIZE + 1).unwrap();
    assert!(matches!(Image::open(file.path()), Err(ImageError::TooLarge { .. })));
    // A pipe that nobody writes to must not make the command wait.
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(matches!(Image::open(&pipe), Err(ImageError::NotRegular)));
}

#[test]
fn a_kernel_that_changes_before_it_was_read_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kernel");
    fs::write(&path, Made::new().build()).unwrap();
    let image = Image::open_unread(&path).unwrap();
    assert!(image.check_unchanged().is_ok());
    fs::write(&path, Made::new().load(0x20_0000, 0x10, 0x10).build()).unwrap();
    assert!(matches!(image.check_unchanged(), Err(ImageError::Changed)));

    fs::write(&path, gzip(&Made::new().build())).unwrap();
    let packed = Image::open_unread(&path).unwrap();
    assert!(packed.held_bytes() > 0, "a packed kernel is read at once");
    fs::write(&path, b"something else").unwrap();
    assert!(packed.check_unchanged().is_ok());
}

#[test]
fn the_cache_reads_a_kernel_again_only_if_it_changed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kernel");
    let kernel = Made::new().build();
    fs::write(&path, &kernel).unwrap();
    let mut cache = ImageCache::new(kernel.len() + 10_000);
    let first = cache.open(&path).unwrap();
    assert!(Arc::ptr_eq(&first, &cache.open(&path).unwrap()));

    // Written in place: the same inode with another content.
    fs::write(&path, Made::new().load(0x20_0000, 0x10, 0x10).build()).unwrap();
    let second = cache.open(&path).unwrap();
    assert_eq!(second.segments().len(), 2);
    assert_eq!(cache.held_bytes(), second.held_bytes(), "the old content is forgotten");

    // A failure is not remembered, and takes nothing out.
    fs::write(&path, b"no kernel").unwrap();
    assert!(cache.open(&path).is_err());
    fs::write(&path, &kernel).unwrap();
    assert_eq!(cache.open(&path).unwrap().segments().len(), 1);
}

#[test]
fn a_full_cache_forgets_what_was_used_longest_ago() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let kernel = Made::new().build();
    for name in ["a", "b", "c"] {
        fs::write(path(name), &kernel).unwrap();
    }
    let mut cache = ImageCache::new(2 * kernel.len() + 1);
    let [a, b] = ["a", "b"].map(|name| cache.open(&path(name)).unwrap());
    assert!(Arc::ptr_eq(&a, &cache.open(&path("a")).unwrap()));
    cache.open(&path("c")).unwrap();
    assert_eq!(cache.held_bytes(), 2 * kernel.len());
    assert!(Arc::ptr_eq(&a, &cache.open(&path("a")).unwrap()));
    assert!(!Arc::ptr_eq(&b, &cache.open(&path("b")).unwrap()));

    let mut small = ImageCache::new(kernel.len() - 1);
    small.open(&path("a")).unwrap();
    assert_eq!(small.held_bytes(), 0, "what is larger than the cache is not kept");
}

/// Gzip with any content, so that what is behind it is reached.
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

/// What every image promises to those who copy it into a guest.
fn check_promises(image: &Image) {
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
            if let Ok(image) = Image::parse(file) {
                check_promises(&image);
            }
        }
    }

    #[test]
    fn a_damaged_kernel_keeps_the_promises_or_is_refused(
        is_64: bool,
        in_segment: bool,
        // Most bytes that matter are in the headers.
        changes in prop::collection::vec((0..260usize, prop_oneof![Just(0), Just(0xff), any::<u8>()]), 0..6),
        tail in 0..80usize,
        tail_byte: u8,
        length in 0..6000usize,
    ) {
        let made = if is_64 { Made::new() } else { Made::new().i386() };
        let place = if in_segment { NotesIn::Segment } else { NotesIn::Section };
        let mut file = made.load(0x20_0000, 0x100, 0x80).notes_in(place).build();
        for (at, byte) in changes {
            file[at] = byte;
        }
        let at = file.len() - 1 - tail;
        file[at] = tail_byte;
        file.truncate(length);
        if let Ok(image) = Image::parse(file) {
            check_promises(&image);
        }
    }

    #[test]
    fn damaged_packed_data_is_refused_or_whole(
        at in 0..4000usize,
        byte: u8,
        method in 0..PACKED.len(),
    ) {
        let packed = &PACKED[method].1;
        let mut file = bzimage(packed, 0);
        let at = 1024 + at % packed.len();
        file[at] = byte;
        if let Ok(image) = Image::parse(file) {
            check_promises(&image);
        }
    }

    #[test]
    fn each_well_formed_kernel_loads(
        is_64: bool,
        segments in prop::collection::vec((0..0x1000u64, 1..64usize, 0..0x1000u64), 1..6),
        turn in 0..6usize,
    ) {
        let mut made = if is_64 { Made::new() } else { Made::new().i386() };
        made.loads.clear();
        let mut at = 0;
        for (gap, file_size, cleared) in segments {
            let mem_size = file_size as u64 + cleared;
            made = made.load(at + gap, mem_size, file_size);
            at += gap + mem_size;
        }
        let sorted = made.loads.clone();
        let entry = u32::try_from(sorted[0].paddr).unwrap();
        made.loads.rotate_left(turn % sorted.len());
        let built = made.entry(&entry.to_le_bytes()).build();
        let image = Image::parse(built.clone()).unwrap();
        check_promises(&image);
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
                panic!("the image was read");
            };
            let mut content = vec![0; count];
            file.read_exact_at(&mut content, position).unwrap();
            prop_assert_eq!(&content, &load.bytes);
        }
    }
}
