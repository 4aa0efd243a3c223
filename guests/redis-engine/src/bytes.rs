// SPDX-License-Identifier: MIT OR Apache-2.0
//! Byte strings in the store. Short ones are stored inline, without an allocation.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::borrow::Borrow;
use core::hash::{Hash, Hasher};
use core::ops::Deref;

use crate::error::Refused;
use crate::number;

/// The most bytes that fit in place of the address and the length.
const SHORT: usize = 7;

/// Immutable bytes: an element of a list, a member of a set, a field or value of a hash.
#[derive(Debug)]
pub(crate) enum Bytes {
    Short { length: u8, bytes: [u8; SHORT] },
    Long(Box<[u8]>),
}

impl From<&[u8]> for Bytes {
    /// Copies the bytes. The caller must have checked memory.
    fn from(from: &[u8]) -> Self {
        let mut bytes = [0; SHORT];
        match (bytes.get_mut(..from.len()), u8::try_from(from.len())) {
            (Some(part), Ok(length)) => {
                part.copy_from_slice(from);
                Self::Short { length, bytes }
            }
            _ => Self::Long(Box::from(from)),
        }
    }
}

impl Bytes {
    /// Takes the bytes, which are copied only if they are few or the vector has spare capacity.
    pub(crate) fn of(bytes: Vec<u8>) -> Self {
        if bytes.len() > SHORT {
            Self::Long(bytes.into_boxed_slice())
        } else {
            Self::from(&bytes[..])
        }
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Short { length, bytes } => &bytes[..usize::from(*length)],
            Self::Long(bytes) => bytes,
        }
    }
}

// These traits agree with those of `[u8]`, so that a slice can be looked up in a table of `Bytes`.
impl Borrow<[u8]> for Bytes {
    fn borrow(&self) -> &[u8] {
        self
    }
}

impl Hash for Bytes {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self[..].hash(state);
    }
}

impl PartialEq for Bytes {
    fn eq(&self, other: &Self) -> bool {
        self[..] == other[..]
    }
}

impl Eq for Bytes {}

/// The most bytes that fit in place of the address, the length and the capacity.
const SHORT_TEXT: usize = 15;

/// A string that may grow.
#[derive(Debug)]
pub(crate) enum Text {
    Short { length: u8, bytes: [u8; SHORT_TEXT] },
    Long(Vec<u8>),
}

impl Text {
    pub(crate) const EMPTY: Self = Self::Short { length: 0, bytes: [0; SHORT_TEXT] };

    /// Copies the bytes; refuses if there is no memory.
    pub(crate) fn copy(from: &[u8]) -> Result<Self, Refused> {
        let mut bytes = [0; SHORT_TEXT];
        if let (Some(part), Ok(length)) = (bytes.get_mut(..from.len()), u8::try_from(from.len())) {
            part.copy_from_slice(from);
            return Ok(Self::Short { length, bytes });
        }
        let mut copy = Vec::new();
        copy.try_reserve_exact(from.len()).map_err(|_| Refused::OutOfMemory)?;
        copy.extend_from_slice(from);
        Ok(Self::Long(copy))
    }

    /// Takes the bytes.
    pub(crate) fn of(bytes: Vec<u8>) -> Self {
        match Self::copy(bytes.get(..bytes.len().min(SHORT_TEXT + 1)).unwrap_or_default()) {
            Ok(short @ Self::Short { .. }) => short,
            _ => Self::Long(bytes),
        }
    }

    /// Converts a number to text. May allocate a few bytes without checking memory.
    pub(crate) fn integer(number: i64) -> Self {
        let mut digits = [0; 20];
        let text = number::print_integer(number, &mut digits);
        Self::copy(text).unwrap_or_else(|_| Self::Long(text.to_vec()))
    }

    /// Returns the string as a vector that can grow. May allocate a few bytes without checking
    /// memory.
    pub(crate) fn grown(&mut self) -> &mut Vec<u8> {
        if let Self::Short { .. } = self {
            *self = Self::Long(self.to_vec());
        }
        match self {
            Self::Long(bytes) => bytes,
            Self::Short { .. } => unreachable!("was made long above"),
        }
    }
}

impl Deref for Text {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Short { length, bytes } => &bytes[..usize::from(*length)],
            Self::Long(bytes) => bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_any_length_read_back_unchanged() {
        let all: Vec<u8> = (0..40).collect();
        for length in 0..=all.len() {
            assert_eq!(Bytes::from(&all[..length])[..], all[..length]);
            assert_eq!(Bytes::of(all[..length].to_vec())[..], all[..length]);
            let text = Text::of(all[..length].to_vec());
            assert_eq!(text[..], all[..length]);
            assert_eq!(matches!(text, Text::Short { .. }), length <= SHORT_TEXT);
            let mut text = Text::copy(&all[..length]).unwrap();
            assert_eq!(text[..], all[..length]);
            assert_eq!(matches!(text, Text::Short { .. }), length <= SHORT_TEXT);
            text.grown().push(7);
            assert_eq!(text[..length], all[..length]);
            assert_eq!(text[length..], [7]);
        }
    }

    /// Every key takes this much memory.
    #[test]
    fn inline_bytes_need_no_extra_space() {
        assert_eq!(size_of::<Bytes>(), size_of::<Box<[u8]>>());
        assert_eq!(size_of::<Text>(), size_of::<Vec<u8>>());
    }
}
