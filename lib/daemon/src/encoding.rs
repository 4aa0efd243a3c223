// SPDX-License-Identifier: MIT OR Apache-2.0
//! How messages and files are encoded: one byte for the version, then bincode.
//!
//! Messages and files have separate versions. A message is read in one version, because both ends
//! run at the same time. A file outlives the program that wrote it, so its reader chooses the
//! decoder by the file's [`version`].

use bincode::{Decode, Encode, config};

/// The initial capacity of a message's buffer, in bytes; most messages fit.
const USUAL_LENGTH: usize = 512;

/// Why bytes cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// They have another version.
    #[error("it has version {found}; expected version {known}")]
    Version {
        /// The first byte.
        found: u8,
        /// The expected version.
        known: u8,
    },
    /// They are empty, too few or too many, or not a valid value.
    #[error("it is malformed")]
    Malformed,
}

fn settings<const LIMIT: usize>() -> impl config::Config {
    config::standard().with_limit::<LIMIT>()
}

/// Returns the version of a message or file; `None` if it is empty.
#[must_use]
pub fn version(bytes: &[u8]) -> Option<u8> {
    bytes.first().copied()
}

/// Encodes a message. Returns `None` if it takes more than `LIMIT` bytes.
pub fn encode<const LIMIT: usize>(version: u8, message: &impl Encode) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(USUAL_LENGTH);
    bytes.push(version);
    bincode::encode_into_std_write(message, &mut bytes, settings::<LIMIT>()).ok()?;
    (bytes.len() <= LIMIT).then_some(bytes)
}

/// Decodes a message; the bytes must contain nothing else.
///
/// # Errors
/// They have another version, or are not a valid message.
pub fn decode<T: Decode<()>, const LIMIT: usize>(
    version: u8,
    bytes: &[u8],
) -> Result<T, DecodeError> {
    let (found, body) = bytes.split_first().ok_or(DecodeError::Malformed)?;
    if *found != version {
        return Err(DecodeError::Version { found: *found, known: version });
    }
    match bincode::decode_from_slice(body, settings::<LIMIT>()) {
        Ok((message, used)) if used == body.len() => Ok(message),
        _ => Err(DecodeError::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 100;

    #[test]
    fn a_message_comes_back_and_other_bytes_are_refused() {
        let bytes = encode::<LIMIT>(3, &(7u16, "text")).unwrap();
        let back = |bytes: &[u8]| decode::<(u16, String), LIMIT>(3, bytes);
        assert_eq!(back(&bytes), Ok((7, "text".into())));
        for length in 0..bytes.len() {
            assert_eq!(back(&bytes[..length]), Err(DecodeError::Malformed), "cut to {length}");
        }
        assert_eq!(back(&[&bytes[..], &[0]].concat()), Err(DecodeError::Malformed));
        let other = decode::<(u16, String), LIMIT>(4, &bytes);
        assert_eq!(other, Err(DecodeError::Version { found: 3, known: 4 }));
    }

    #[test]
    fn a_message_that_is_too_long_is_not_encoded() {
        // The version, the length, and the text.
        assert_eq!(encode::<LIMIT>(3, &"x".repeat(98).as_str()).map(|all| all.len()), Some(100));
        assert_eq!(encode::<LIMIT>(3, &"x".repeat(99).as_str()), None);
    }
}
