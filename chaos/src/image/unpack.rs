//! Packed kernels: gzip'ed ELF files, and Linux bzImages.

use std::io::{self, Read};

use flate2::bufread::GzDecoder;
use lz4_flex::frame::FrameDecoder as Lz4Decoder;
use lzma_rust2::{LzmaReader, XzReader};
use ruzstd::decoding::StreamingDecoder as ZstdDecoder;

use super::bzimage::{BzImage, SIZE_BYTES};
use super::error::{BzImageProblem, ImageError, MAX_SIZE};

/// Most memory that xz and lzma may ask for, in KiB: their largest preset takes 65 MiB.
const LZMA_MEMORY_KIB: u32 = 256 << 10;

/// How many times larger than its Linux payload a real kernel is at most. For one that claims more,
/// memory is allocated as it grows.
const USUAL_RATIO: usize = 16;

/// Returns the ELF file in `bytes`, unpacked if it is packed; anything unknown is returned as it is.
pub(super) fn unpack(bytes: Vec<u8>) -> Result<Vec<u8>, ImageError> {
    if bytes.starts_with(GZIP) {
        return read_limited(Method::Gzip, &bytes, 0);
    }
    match BzImage::find(&bytes)? {
        Some(image) => unpack_bzimage(&image),
        None => Ok(bytes),
    }
}

/// Describes how a file begins, for a message.
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

/// How data is packed.
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

    /// Returns the method of data that begins so, as in Linux's `lib/decompress.c`.
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

    /// Writes the unpacked data behind `unpacked`, at most `limit` bytes of it.
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

/// The kernel that unpacks itself when a bzImage is booted.
fn unpack_bzimage(image: &BzImage<'_>) -> Result<Vec<u8>, ImageError> {
    let payload = image.payload();
    let method = Method::of(payload)?;
    // Gzip's own last field is what the kernel's build appends to all other kinds.
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

/// Unpacks all of it, up to [`MAX_SIZE`]; `size` is how many bytes are expected, or 0.
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
