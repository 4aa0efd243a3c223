// SPDX-License-Identifier: GPL-3.0-or-later
//! Unpacks kernels: gzip'ed ELF files, and Linux bzImages.

use std::io::{self, Read};

use flate2::bufread::GzDecoder;
use lz4_flex::frame::FrameDecoder as Lz4Decoder;
use lzma_rust2::{LzmaReader, XzReader};
use ruzstd::decoding::StreamingDecoder as ZstdDecoder;

use super::bzimage::{BzImage, SIZE_BYTES};
use super::error::{BzImageProblem, ImageError, MAX_SIZE};

/// Most memory that xz and lzma may use, in KiB. Their largest preset uses 65 MiB.
const LZMA_MEMORY_KIB: u32 = 256 << 10;

/// Upper bound of the ratio between the size of a real kernel and that of its payload. If the
/// header claims more, memory is allocated as the output grows, so that a false size costs nothing.
const USUAL_RATIO: usize = 16;

/// Returns `bytes` unpacked if they are packed, and unchanged otherwise.
pub(super) fn unpack(bytes: Vec<u8>) -> Result<Vec<u8>, ImageError> {
    if bytes.starts_with(GZIP) {
        return read_limited(Method::Gzip, &bytes, 0);
    }
    match BzImage::find(&bytes)? {
        Some(image) => unpack_bzimage(&image),
        None => Ok(bytes),
    }
}

/// Describes how a file begins, as a verb phrase for a message.
pub(super) fn describe(bytes: &[u8]) -> String {
    let known = match bytes {
        [] => return "is empty".to_owned(),
        [b'#', b'!', ..] => " (a script)",
        [b'M', b'Z', ..] => " (an EFI program)",
        _ => "",
    };
    let text: Vec<String> = bytes.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    format!("begins with {}{known}", text.join(" "))
}

const GZIP: &[u8] = &[0x1f, 0x8b];

/// The format of packed data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    Gzip,
    Xz,
    Zstd,
    Lz4,
    Lzma,
}

impl Method {
    fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Xz => "xz",
            Self::Zstd => "zstd",
            Self::Lz4 => "lz4",
            Self::Lzma => "lzma",
        }
    }

    /// Returns the method from the first bytes of the data, as in Linux's `lib/decompress.c`.
    fn of(packed: &[u8]) -> Result<Self, ImageError> {
        let unsupported = |name| ImageError::BzImage(BzImageProblem::Method(name));
        match packed {
            [0x1f, 0x8b, ..] => Ok(Self::Gzip),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Ok(Self::Xz),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Ok(Self::Zstd),
            [0x02, 0x21, 0x4c, 0x18, ..] => Ok(Self::Lz4),
            [0x5d, 0, 0, ..] => Ok(Self::Lzma),
            [b'B', b'Z', b'h', ..] => Err(unsupported("bzip2")),
            [0x89, b'L', b'Z', b'O', ..] => Err(unsupported("LZO")),
            _ => Err(ImageError::BzImage(BzImageProblem::Payload { begins: describe(packed) })),
        }
    }

    /// Appends the unpacked data to `unpacked`, at most `limit` bytes.
    fn read(self, packed: &[u8], limit: u64, unpacked: &mut Vec<u8>) -> io::Result<usize> {
        match self {
            Self::Gzip => GzDecoder::new(packed).take(limit).read_to_end(unpacked),
            Self::Xz => XzReader::new_mem_limit(packed, false, LZMA_MEMORY_KIB)
                .take(limit)
                .read_to_end(unpacked),
            Self::Zstd => ZstdDecoder::new(packed)
                .map_err(io::Error::other)?
                .take(limit)
                .read_to_end(unpacked),
            Self::Lz4 => Lz4Decoder::new(packed).take(limit).read_to_end(unpacked),
            Self::Lzma => LzmaReader::new_mem_limit(packed, LZMA_MEMORY_KIB, None)?
                .take(limit)
                .read_to_end(unpacked),
        }
    }
}

/// Returns the kernel that is packed in a bzImage.
fn unpack_bzimage(image: &BzImage<'_>) -> Result<Vec<u8>, ImageError> {
    let payload = image.payload();
    let method = Method::of(payload)?;
    // Linux's build appends the unpacked size to all formats but gzip, whose own last field it is.
    let packed = match method {
        Method::Gzip => payload,
        _ => &payload[..payload.len().saturating_sub(SIZE_BYTES)],
    };
    let size = image.unpacked_size();
    let unpacked = read_limited(method, packed, size)?;
    if unpacked.len() != size {
        return Err(ImageError::UnpackedSize {
            method: method.name(),
            found: unpacked.len(),
            expected: size,
        });
    }
    Ok(unpacked)
}

/// Unpacks `packed`, up to [`MAX_SIZE`]. `size` is the expected number of bytes, or 0 if unknown.
fn read_limited(method: Method, packed: &[u8], size: usize) -> Result<Vec<u8>, ImageError> {
    let mut unpacked = Vec::with_capacity(size.min(packed.len().saturating_mul(USUAL_RATIO)));
    method
        .read(packed, MAX_SIZE + 1, &mut unpacked)
        .map_err(|source| ImageError::Unpack { method: method.name(), source })?;
    if unpacked.len() as u64 > MAX_SIZE {
        return Err(ImageError::TooLarge { what: "the unpacked kernel" });
    }
    Ok(unpacked)
}
