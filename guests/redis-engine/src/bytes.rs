//! Bytes that belong to the store. Short ones need no memory of their own.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::borrow::Borrow;
use core::hash::{Hash, Hasher};
use core::ops::Deref;

use crate::error::Refused;
use crate::number;

/// Most bytes that fit where the address and the length would be.
const SHORT: usize = 7;

/// Bytes that do not change: a list's element, a set's member, a field, its value.
#[derive(Debug)]
pub(crate) enum Bytes {
    Short { length: u8, bytes: [u8; SHORT] },
    Long(Box<[u8]>),
}

impl From<&[u8]> for Bytes {
    /// A copy. Memory must be there.
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

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Short { length, bytes } => &bytes[..usize::from(*length)],
            Self::Long(bytes) => bytes,
        }
    }
}

// As those of the slice, so that a slice finds it in a table.
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

/// Most bytes that fit where the address, the length and the capacity would be.
const SHORT_TEXT: usize = 15;

/// A string, which may grow.
#[derive(Debug)]
pub(crate) enum Text {
    Short { length: u8, bytes: [u8; SHORT_TEXT] },
    Long(Vec<u8>),
}

impl Text {
    pub(crate) const EMPTY: Self = Self::Short { length: 0, bytes: [0; SHORT_TEXT] };

    /// A copy, if there is memory for it.
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

    /// A number as text. Takes a few bytes without asking.
    pub(crate) fn integer(number: i64) -> Self {
        let mut digits = [0; 20];
        let text = number::print_integer(number, &mut digits);
        Self::copy(text).unwrap_or_else(|_| Self::Long(text.to_vec()))
    }

    /// The string as one that can grow. Takes a few bytes without asking.
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
    fn bytes_of_any_length_come_back() {
        let all: Vec<u8> = (0..40).collect();
        for length in 0..=all.len() {
            assert_eq!(Bytes::from(&all[..length])[..], all[..length]);
            let mut text = Text::copy(&all[..length]).unwrap();
            assert_eq!(text[..], all[..length]);
            assert_eq!(matches!(text, Text::Short { .. }), length <= SHORT_TEXT);
            text.grown().push(7);
            assert_eq!(text[..length], all[..length]);
            assert_eq!(text[length..], [7]);
        }
    }

    /// Every key pays for these.
    #[test]
    fn short_ones_cost_no_more_than_long_ones() {
        assert_eq!(size_of::<Bytes>(), size_of::<Box<[u8]>>());
        assert_eq!(size_of::<Text>(), size_of::<Vec<u8>>());
    }
}
