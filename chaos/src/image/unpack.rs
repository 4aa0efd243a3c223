// SPDX-License-Identifier: GPL-3.0-or-later
//! Unpacks kernels: gzip'ed ELF files, and Linux bzImages.

use std::io::{self, Read};

use flate2::bufread::GzDecoder;
use lz4_flex::frame::FrameDecoder as Lz4Decoder;
use lzma_rust2::{LzmaReader, XzReader};
use ruzstd::decoding::StreamingDecoder as ZstdDecoder;

use super::bzimage::{BzImage, SIZE_BYTES};
use super::effort::{Effort, MAX_CPU_TIME, Packed, Unpacked};
use super::error::{BzImageProblem, ImageError};
use super::limit::SizeLimit;
use super::room::Room;
use crate::convert::u64_to_usize;

/// Most memory that xz and lzma may use, in KiB. Their largest preset uses 65 MiB.
const LZMA_MEMORY_KIB: u32 = 256 << 10;

/// Returns `bytes` unpacked if they are packed, and unchanged otherwise.
pub(super) fn unpack(bytes: Vec<u8>, limit: SizeLimit) -> Result<Vec<u8>, ImageError> {
    unpack_within(&Effort::new(MAX_CPU_TIME), bytes, limit)
}

pub(super) fn unpack_within(
    effort: &Effort,
    bytes: Vec<u8>,
    limit: SizeLimit,
) -> Result<Vec<u8>, ImageError> {
    if bytes.starts_with(GZIP) {
        return unpack_gzip(effort, &bytes, limit);
    }
    match BzImage::find(&bytes)? {
        Some(image) => unpack_bzimage(effort, &image, limit),
        None => Ok(bytes),
    }
}

fn unpack_gzip(effort: &Effort, packed: &[u8], limit: SizeLimit) -> Result<Vec<u8>, ImageError> {
    // gzip ends with the unpacked size. It is not more than a hint: other data may follow.
    let hint = packed.last_chunk().map_or(0, |size| u32::from_le_bytes(*size));
    let hint = u64::from(hint).min(limit.bytes());
    // One byte more shows that there are too many.
    let unpacked = read_most(effort, Method::Gzip, packed, hint, limit.bytes() + 1)?;
    limit.check(UNPACKED, unpacked.len() as u64)?;
    Ok(unpacked)
}

/// The name of the unpacked kernel in messages.
const UNPACKED: &str = "the unpacked kernel";

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

    /// Returns a decoder of the data.
    fn decoder<'a>(self, packed: Packed<'a>) -> io::Result<Box<dyn Read + 'a>> {
        Ok(match self {
            Self::Gzip => Box::new(GzDecoder::new(packed)),
            Self::Xz => Box::new(XzReader::new_mem_limit(packed, false, LZMA_MEMORY_KIB)),
            Self::Zstd => Box::new(ZstdDecoder::new(packed).map_err(io::Error::other)?),
            Self::Lz4 => Box::new(Lz4Decoder::new(packed)),
            Self::Lzma => Box::new(LzmaReader::new_mem_limit(packed, LZMA_MEMORY_KIB, None)?),
        })
    }

    /// Appends the unpacked data to `unpacked`, at most `limit` bytes.
    fn read(
        self,
        effort: &Effort,
        packed: &[u8],
        limit: u64,
        unpacked: &mut Vec<u8>,
    ) -> Result<(), ImageError> {
        let method = self.name();
        let failed = |source| match effort.is_exceeded() {
            true => ImageError::TooSlow { method },
            false => ImageError::Unpack { method, source },
        };
        let decoder = self.decoder(Packed::new(packed, effort)).map_err(failed)?;
        let mut room = Room::new(Unpacked::new(decoder, effort));
        let result = room.by_ref().take(limit).read_to_end(unpacked);
        match room.lacking() {
            Some(available) => Err(ImageError::NoRoom { available }),
            None => result.map(drop).map_err(failed),
        }
    }
}

/// Returns the kernel that is packed in a bzImage.
fn unpack_bzimage(
    effort: &Effort,
    image: &BzImage<'_>,
    limit: SizeLimit,
) -> Result<Vec<u8>, ImageError> {
    let payload = image.payload();
    let method = Method::of(payload)?;
    // Linux's build appends the unpacked size to all formats but gzip, whose own last field it is.
    let packed = match method {
        Method::Gzip => payload,
        _ => &payload[..payload.len().saturating_sub(SIZE_BYTES)],
    };
    let size = limit.check(UNPACKED, image.unpacked_size() as u64)?;
    let unpacked = read_most(effort, method, packed, size, size + 1)?;
    let (method, found, expected) = (method.name(), unpacked.len(), image.unpacked_size());
    match found {
        found if found < expected => Err(ImageError::UnpackedSize { method, found, expected }),
        found if found > expected => Err(ImageError::UnpackedMore { method, expected }),
        _ => Ok(unpacked),
    }
}

/// Unpacks `packed` up to `most` bytes. `size` is the expected number of bytes.
fn read_most(
    effort: &Effort,
    method: Method,
    packed: &[u8],
    size: u64,
    most: u64,
) -> Result<Vec<u8>, ImageError> {
    let mut unpacked = Vec::new();
    // Room for all of it at once, and for the byte that must not follow: a buffer that grows is
    // twice as large while it is copied. A size that is not true costs nothing, because the kernel
    // of dom0 provides the memory when it is written to.
    unpacked
        .try_reserve_exact(u64_to_usize(size) + 1)
        .map_err(|_| ImageError::NoMemory { size })?;
    method.read(effort, packed, most, &mut unpacked)?;
    unpacked.shrink_to_fit();
    Ok(unpacked)
}
