// SPDX-License-Identifier: GPL-3.0-or-later
//! Names of guests.

use thiserror::Error;

/// Longest name in bytes. Names become file names, and renaming a guest to keep it appends some
/// bytes.
pub const MAX_NAME: usize = 200;

/// Why a text cannot be the name of a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NameError {
    /// It is empty.
    #[error("must not be empty")]
    Empty,
    /// It is too long.
    #[error("must be at most {MAX_NAME} bytes long, not {length}")]
    TooLong {
        /// Its length in bytes.
        length: usize,
    },
    /// It contains a slash or a control character.
    #[error("must not contain {0:?}")]
    Character(char),
    /// It would be a hidden file.
    #[error("must not begin with '.'")]
    Dot,
    /// It would be read as a domid.
    #[error("must not be a number, because commands read a number as a domid")]
    Number,
}

/// Checks the name of a guest.
///
/// xl forbids less. The other names would be ambiguous or harmful as an argument, as a file name or
/// on a terminal.
///
/// # Errors
/// The text cannot be a name.
pub fn check_name(name: &str) -> Result<(), NameError> {
    let bad = |c: char| c == '/' || c.is_control();
    match name.chars().next() {
        None => Err(NameError::Empty),
        _ if name.len() > MAX_NAME => Err(NameError::TooLong { length: name.len() }),
        Some('.') => Err(NameError::Dot),
        _ if name.bytes().all(|byte| byte.is_ascii_digit()) => Err(NameError::Number),
        _ => name.chars().find(|c| bad(*c)).map_or(Ok(()), |c| Err(NameError::Character(c))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_safe_as_file_names_and_arguments() {
        for good in ["redis", "redis-1", "1a", "a.b", "Guest of Ä", "-"] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        assert_eq!(check_name(&"a".repeat(200)), Ok(()));
        for (bad, why) in [
            ("", NameError::Empty),
            (".a", NameError::Dot),
            ("..", NameError::Dot),
            ("a/b", NameError::Character('/')),
            ("a\nb", NameError::Character('\n')),
            ("12", NameError::Number),
            (&"a".repeat(201), NameError::TooLong { length: 201 }),
        ] {
            assert_eq!(check_name(bad), Err(why), "{bad}");
        }
    }
}
