// SPDX-License-Identifier: MIT OR Apache-2.0
//! The header of a message, and how a stream of bytes is split into messages.

use xen_abi::io::xs_wire::{SockMsg, XENSTORE_PAYLOAD_MAX};

/// The longest payload of a message, in bytes (`XENSTORE_PAYLOAD_MAX`).
pub const MAX_PAYLOAD: usize = XENSTORE_PAYLOAD_MAX;

/// The length of a header in bytes.
pub const HEADER: usize = size_of::<SockMsg>();

/// A payload of more than [`MAX_PAYLOAD`] bytes. If it was received, its sender violates the
/// protocol, and where the next message begins is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a XenStore message has a payload of {length} bytes: must be at most {MAX_PAYLOAD}")]
pub struct TooLong {
    /// The length in the header, or the length that would have to be written.
    pub length: usize,
}

/// What precedes each payload (`struct xsd_sockmsg`). Any 16 bytes are a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The kind of the message: see [`Kind::of`](crate::Kind::of).
    pub kind: u32,
    /// The request's number, which its reply repeats.
    pub request: u32,
    /// The transaction; 0 outside of transactions.
    pub transaction: u32,
    /// The length of the payload in bytes, as the sender states it.
    pub length: u32,
}

impl Header {
    /// Reads a header.
    #[must_use]
    pub fn from_bytes(bytes: [u8; HEADER]) -> Self {
        let [k0, k1, k2, k3, r0, r1, r2, r3, t0, t1, t2, t3, l0, l1, l2, l3] = bytes;
        Self {
            kind: u32::from_le_bytes([k0, k1, k2, k3]),
            request: u32::from_le_bytes([r0, r1, r2, r3]),
            transaction: u32::from_le_bytes([t0, t1, t2, t3]),
            length: u32::from_le_bytes([l0, l1, l2, l3]),
        }
    }

    /// Appends the header's bytes.
    pub(crate) fn write(self, out: &mut Vec<u8>) {
        let Self { kind, request, transaction, length } = self;
        for word in [kind, request, transaction, length] {
            out.extend_from_slice(&word.to_le_bytes());
        }
    }

    /// Returns the payload's length in bytes.
    ///
    /// # Errors
    /// It is more than [`MAX_PAYLOAD`].
    pub fn payload_length(self) -> Result<usize, TooLong> {
        let length = usize::try_from(self.length).unwrap_or(usize::MAX);
        if length > MAX_PAYLOAD { Err(TooLong { length }) } else { Ok(length) }
    }
}

/// A received message: the header, and its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The header.
    pub header: Header,
    /// The payload, of [`Header::length`] bytes.
    pub payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Splits the first message off a stream of bytes. Returns it and the rest, or `None` if it has
    /// not arrived completely.
    ///
    /// # Errors
    /// Its payload is too long.
    pub fn split(bytes: &'a [u8]) -> Result<Option<(Self, &'a [u8])>, TooLong> {
        let Some((header, rest)) = bytes.split_first_chunk::<HEADER>() else { return Ok(None) };
        let header = Header::from_bytes(*header);
        let length = header.payload_length()?;
        Ok(rest.split_at_checked(length).map(|(payload, rest)| (Self { header, payload }, rest)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_are_split_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            match Frame::split(&bytes) {
                Ok(Some((frame, rest))) => {
                    prop_assert_eq!(HEADER + frame.payload.len() + rest.len(), bytes.len());
                    prop_assert_eq!(frame.payload.len(), frame.header.payload_length().unwrap());
                }
                Ok(None) => {}
                Err(TooLong { length }) => prop_assert!(length > MAX_PAYLOAD),
            }
        }

        #[test]
        fn a_header_comes_back(words in any::<[u32; 4]>()) {
            let [kind, request, transaction, length] = words;
            let header = Header { kind, request, transaction, length };
            let mut bytes = Vec::new();
            header.write(&mut bytes);
            prop_assert_eq!(Header::from_bytes(bytes.try_into().unwrap()), header);
        }
    }

    #[test]
    fn a_message_is_complete_with_its_last_byte_and_the_longest_is_accepted() {
        let length = u32::try_from(MAX_PAYLOAD).unwrap();
        let mut bytes = Vec::new();
        Header { kind: 2, request: 1, transaction: 0, length }.write(&mut bytes);
        bytes.resize(HEADER + MAX_PAYLOAD, b'x');
        assert_eq!(Frame::split(&bytes[..HEADER - 1]), Ok(None));
        assert_eq!(Frame::split(&bytes[..bytes.len() - 1]), Ok(None));
        let (frame, rest) = Frame::split(&bytes).unwrap().unwrap();
        assert_eq!((frame.payload.len(), rest.len()), (MAX_PAYLOAD, 0));
        bytes[12..16].copy_from_slice(&(length + 1).to_le_bytes());
        assert_eq!(Frame::split(&bytes), Err(TooLong { length: MAX_PAYLOAD + 1 }));
    }
}
