//! Packed kernels: gzip'ed ELF files, and the payload of a Linux bzImage.

use std::io::Read;

use flate2::bufread::GzDecoder;

use super::MAX_SIZE;
use super::error::ImageError;

/// Gives the ELF file in `bytes`, unpacked if it is packed; anything unknown comes back as it is.
pub(super) fn unpack(bytes: Vec<u8>) -> Result<Vec<u8>, ImageError> {
    match bytes.as_slice() {
        [0x1f, 0x8b, ..] => gzip(&bytes),
        _ => Ok(bytes),
    }
}

/// How a file begins, in words, for a message.
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

fn gzip(bytes: &[u8]) -> Result<Vec<u8>, ImageError> {
    read_limited("gzip", GzDecoder::new(bytes))
}

/// Reads all that a decompressor gives, up to [`MAX_SIZE`].
fn read_limited(method: &'static str, decoder: impl Read) -> Result<Vec<u8>, ImageError> {
    let mut unpacked = Vec::new();
    decoder
        .take(MAX_SIZE + 1)
        .read_to_end(&mut unpacked)
        .map_err(|error| ImageError::Unpack { method, reason: error.to_string() })?;
    if unpacked.len() as u64 > MAX_SIZE {
        return Err(ImageError::TooLarge { what: "the unpacked kernel" });
    }
    Ok(unpacked)
}
