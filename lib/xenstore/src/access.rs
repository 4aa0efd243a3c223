// SPDX-License-Identifier: MIT OR Apache-2.0
//! The permissions of a node.

use std::fmt;
use std::str;

/// What a domain may do with a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Nothing.
    None,
    /// Read it.
    Read,
    /// Write it.
    Write,
    /// Both.
    Both,
}

/// A domain, and what it may do with a node: `n0`, `r3`, `w3` or `b3`. In a node's list the first
/// domain is the owner, and its access applies to all domains that are not listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeAccess {
    /// The domain.
    pub domid: u16,
    /// What it may do.
    pub access: Access,
}

impl NodeAccess {
    /// Parses an entry of the list; `None` if the text is not one.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let (letter, domid) = text.split_first()?;
        let access = match letter {
            b'n' => Access::None,
            b'r' => Access::Read,
            b'w' => Access::Write,
            b'b' => Access::Both,
            _ => return None,
        };
        Some(Self { domid: number(domid)?, access })
    }
}

impl fmt::Display for NodeAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = match self.access {
            Access::None => 'n',
            Access::Read => 'r',
            Access::Write => 'w',
            Access::Both => 'b',
        };
        write!(f, "{letter}{}", self.domid)
    }
}

/// Parses a decimal number without a sign; `None` if the text is not one or does not fit the type.
pub(crate) fn number<T: str::FromStr>(text: &[u8]) -> Option<T> {
    let digits = text.iter().all(u8::is_ascii_digit);
    digits.then_some(text).and_then(|text| str::from_utf8(text).ok()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_access_is_a_letter_and_a_number() {
        for access in [Access::None, Access::Read, Access::Write, Access::Both] {
            let entry = NodeAccess { domid: 32752, access };
            assert_eq!(NodeAccess::parse(entry.to_string().as_bytes()), Some(entry));
        }
        for text in ["", "n", "x3", "n-1", "n+1", "n 1", "n65536", "nn1", "1"] {
            assert_eq!(NodeAccess::parse(text.as_bytes()), None, "{text:?}");
        }
    }
}
