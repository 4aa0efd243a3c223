// SPDX-License-Identifier: MIT OR Apache-2.0
//! Valid paths.

use std::fmt;

use xen_abi::io::xs_wire::{XENSTORE_ABS_PATH_MAX, XENSTORE_REL_PATH_MAX};

/// The longest absolute path in bytes (`XENSTORE_ABS_PATH_MAX`).
pub const MAX_ABSOLUTE: usize = XENSTORE_ABS_PATH_MAX;

/// The longest path relative to a domain's own nodes, in bytes (`XENSTORE_REL_PATH_MAX`).
pub const MAX_RELATIVE: usize = XENSTORE_REL_PATH_MAX;

/// A path in a client's request: absolute, relative to its domain's own nodes, or one of the events
/// that begin with `@`. Its characters and its length are valid; whether the node exists is for the
/// store to check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Path<'a>(&'a str);

impl<'a> Path<'a> {
    /// Checks a text; `None` if it is not a path.
    #[must_use]
    pub fn new(text: &'a [u8]) -> Option<Self> {
        let is_allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-/_@".contains(byte);
        let text = str::from_utf8(text).ok()?;
        let max = if text.starts_with('/') { MAX_ABSOLUTE } else { MAX_RELATIVE };
        let is_path = !text.is_empty()
            && text.len() <= max
            && text.bytes().all(|byte| is_allowed(&byte))
            && !text.contains("//")
            && (text == "/" || !text.ends_with('/'));
        is_path.then_some(Self(text))
    }

    /// Returns the text.
    #[must_use]
    pub fn as_str(self) -> &'a str {
        self.0
    }

    /// Returns whether it is relative to the domain's own nodes.
    #[must_use]
    pub fn is_relative(self) -> bool {
        !self.0.starts_with(['/', '@'])
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_told_from_other_texts() {
        for text in ["/", "/a", "/local/domain/0/x-y_z", "device/vif/0", "@releaseDomain"] {
            assert_eq!(Path::new(text.as_bytes()).map(Path::as_str), Some(text));
        }
        for text in ["", "//", "/a//b", "/a/", "a b", "/\u{e4}", "/a\0", "/a.b"] {
            assert_eq!(Path::new(text.as_bytes()), None, "{text:?}");
        }
        assert!(Path::new(b"a").is_some_and(Path::is_relative));
        assert!(!Path::new(b"/a").is_some_and(Path::is_relative));
    }

    #[test]
    fn the_longest_paths_are_paths() {
        for (start, max) in [("/", MAX_ABSOLUTE), ("a", MAX_RELATIVE)] {
            let text = format!("{start}{}", "x".repeat(max - 1));
            assert!(Path::new(text.as_bytes()).is_some());
            assert!(Path::new(format!("{text}x").as_bytes()).is_none());
        }
    }
}
