// SPDX-License-Identifier: GPL-3.0-or-later
//! Packed kernels.

use std::io::Write;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use lzma_rust2::{CheckType, FilterType, LzmaOptions, LzmaWriter, XzOptions, XzWriter};
use ruzstd::encoding::{CompressionLevel, compress_to_vec};

use super::kernel_file::{KernelFile, bzimage, gzip};
use xen::units::KiB;

use super::*;
use crate::image::kernel::ImageBytes;

/// Returns all bytes of an image that is in memory.
fn held(image: Image) -> Vec<u8> {
    match image.bytes {
        ImageBytes::Memory(bytes) => bytes,
        ImageBytes::File { .. } => panic!("the image is not in memory"),
    }
}

/// Appends the unpacked size to packed data, as Linux's build does.
fn sized(mut packed: Vec<u8>, size: usize) -> Vec<u8> {
    packed.extend(u32::try_from(size).unwrap().to_le_bytes());
    packed
}

/// The payload of a bzImage of [`KernelFile::new`] in each format, as Linux's build creates it.
pub(super) static PACKED: LazyLock<[(&str, Vec<u8>); 5]> = LazyLock::new(|| {
    let kernel = KernelFile::new().build();
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
    let kernel = KernelFile::new().build();
    assert_eq!(held(parse(gzip(&kernel)).unwrap()), kernel);
    for (method, packed) in PACKED.iter() {
        for gap in [0, 700] {
            let image = parse(bzimage(packed, gap));
            assert_eq!(held(image.unwrap_or_else(|e| panic!("{method}: {e}"))), kernel);
        }
    }
}

#[test]
fn no_more_is_unpacked_than_the_guest_can_use() {
    let limit = SizeLimit::of_guest(KiB(1024));
    let zeroes = vec![0; usize::try_from(limit.bytes()).unwrap() + 1];
    for file in [gzip(&zeroes), bzimage(&gzip(&zeroes), 0)] {
        let refused = Image::parse(file, limit).unwrap_err().to_string();
        assert!(refused.starts_with("the unpacked kernel must be at most 65 MiB for"), "{refused}");
    }
    // The whole buffer is allocated at once, and none of it is kept in vain.
    let kernel = KernelFile::new().build();
    let mut lying = gzip(&kernel);
    let end = lying.len() - 4;
    lying[end..].copy_from_slice(&u32::MAX.to_le_bytes());
    for file in [gzip(&kernel), [gzip(&kernel), vec![0xff; 4]].concat()] {
        let unpacked = held(Image::parse(file, limit).unwrap());
        assert_eq!(unpacked.capacity(), kernel.len());
    }
    assert!(Image::parse(lying, limit).is_err());
    // A bzImage that claims less than it has.
    for (method, packed) in PACKED.iter() {
        let mut packed = packed.clone();
        let end = packed.len() - 4;
        packed[end..].copy_from_slice(&100u32.to_le_bytes());
        let refused = refusal(bzimage(&packed, 0));
        assert!(refused.contains(method), "{refused}");
        assert!(refused.contains("more than 100 bytes, the size in its header"), "{refused}");
    }
}

#[test]
fn damaged_packed_kernels_are_refused() {
    let packed = gzip(&KernelFile::new().build());
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

    // Lz4 has no end mark: only the size shows that data are missing.
    let lz4 = bzimage(&sized(vec![0x02, 0x21, 0x4c, 0x18], 9), 0);
    assert!(refusal(lz4).contains("the lz4 data unpacks to 0 bytes: must be 9"));
}

/// Returns `count` gzip blocks, of which each defines a code and contains no data. A block of 90 bits
/// takes as long as thousands of bytes of a real kernel.
fn slow_gzip(count: usize) -> Vec<u8> {
    // Eight blocks are whole bytes. In each: 257 and 1 symbols, the lengths of 18 code lengths, of
    // which "many zeroes" and 1 have one bit; 256 zeroes and two symbols of one bit; the end.
    let mut bits: Vec<u8> = Vec::new();
    let mut put = |value: u32, width: u32| {
        bits.extend((0..width).map(|bit| u8::try_from((value >> bit) & 1).unwrap()));
    };
    for _ in 0..8 {
        put(0, 1);
        put(2, 2);
        put(0, 5);
        put(0, 5);
        put(14, 4);
        for length in 0..18 {
            put(u32::from(matches!(length, 2 | 17)), 3);
        }
        put(1, 1);
        put(138 - 11, 7);
        put(1, 1);
        put(118 - 11, 7);
        put(0, 3);
    }
    let bytes = bits.chunks(8);
    let bytes = bytes.map(|byte| byte.iter().rev().fold(0, |byte, bit| (byte << 1) | bit));
    let blocks: Vec<u8> = bytes.collect();
    let mut file = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
    file.extend(blocks.iter().cycle().take(count * blocks.len() / 8));
    file
}

#[test]
fn a_kernel_that_takes_too_long_to_unpack_is_refused() {
    use crate::image::effort::Effort;
    use crate::image::unpack::unpack_within;

    let slow = slow_gzip(1 << 20);
    for file in [slow.clone(), bzimage(&slow, 0)] {
        let begun = Instant::now();
        let effort = Effort::new(Duration::from_millis(50));
        let refused = unpack_within(&effort, file, SizeLimit::MOST).unwrap_err();
        assert!(matches!(refused, ImageError::TooSlow { method: "gzip" }), "{refused:?}");
        assert!(begun.elapsed() < Duration::from_secs(5));
    }
    // What is unpacked counts, too.
    for (method, packed) in PACKED.iter() {
        let effort = Effort::new(Duration::ZERO);
        let refused = unpack_within(&effort, bzimage(packed, 0), SizeLimit::MOST).unwrap_err();
        assert!(matches!(&refused, ImageError::TooSlow { method: it } if it == method));
    }
}
