// SPDX-License-Identifier: GPL-3.0-or-later
//! Names of guests.

use thiserror::Error;

use crate::escape::{is_in, is_invisible};

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
    /// It begins with a character that has another meaning: `-` begins an option, `.` a hidden file, and
    /// `+5` is a number.
    #[error("must begin with a letter or a digit, not with {0:?}")]
    Begin(char),
    /// It contains a slash, or a character that is not seen or looks like a blank.
    #[error("must not contain {}", shown(*.0))]
    Character(char),
    /// It contains two blanks in a row, or a blank at its end.
    #[error("must have single blanks only, and none at its end")]
    Blanks,
    /// It would be read as a domid.
    #[error("must not be a number, because commands read a number as a domid")]
    Number,
    /// It would be taken for a domid, by people: it is a number with digits of other scripts.
    #[error("must not be a number with other digits than 0 to 9, because it looks like a domid")]
    LooksLikeNumber,
    /// It is the name of dom0.
    #[error("must not be {DOM0:?}, which is dom0's name")]
    Dom0,
}

/// The characters that look like a blank or like nothing, but are neither white space nor
/// [invisible](is_invisible): other texts need them. Variation selectors, the blanks of Braille, of
/// musical notes and of Egyptian hieroglyphs, the filler of Khitan, and the place of an object.
const BLANK: &[(char, char)] = &[
    ('\u{2800}', '\u{2800}'),
    ('\u{fe00}', '\u{fe0f}'),
    ('\u{fffc}', '\u{fffc}'),
    ('\u{13441}', '\u{13442}'),
    ('\u{16fe4}', '\u{16fe4}'),
    ('\u{1d159}', '\u{1d159}'),
];

/// The name of dom0 in xl.
pub(crate) const DOM0: &str = "Domain-0";

/// Checks the name of a guest.
///
/// xl forbids less. The other names would be ambiguous or harmful as an argument, as a file name or
/// on a terminal.
///
/// # Errors
/// The text cannot be a name.
pub fn check_name(name: &str) -> Result<(), NameError> {
    check_stored_name(name)?;
    // A single blank is the only white space.
    let bad = |c: &char| is_invisible(*c) || is_in(BLANK, *c) || (c.is_whitespace() && *c != ' ');
    match name.chars().next() {
        _ if name == DOM0 => Err(NameError::Dom0),
        Some(first) if !first.is_alphanumeric() => Err(NameError::Begin(first)),
        _ if name.parse::<u64>().is_ok() => Err(NameError::Number),
        _ if name.chars().all(char::is_numeric) => Err(NameError::LooksLikeNumber),
        _ if name.ends_with(' ') || name.contains("  ") => Err(NameError::Blanks),
        _ => name.chars().find(bad).map_or(Ok(()), |c| Err(NameError::Character(c))),
    }
}

/// Returns the character for a message, in which it must be seen.
fn shown(c: char) -> String {
    if c.is_ascii() { format!("{c:?}") } else { format!("'{}'", c.escape_unicode()) }
}

/// Checks a name in a record. Guests that an older version has created may have names that
/// [`check_name`] refuses, and must stay manageable.
///
/// # Errors
/// The text cannot be a file name, or would be read as a domid.
pub(crate) fn check_stored_name(name: &str) -> Result<(), NameError> {
    let bad = |c: &char| *c == '/' || c.is_control();
    match name.chars().next() {
        None => Err(NameError::Empty),
        _ if name.len() > MAX_NAME => Err(NameError::TooLong { length: name.len() }),
        Some('.') => Err(NameError::Begin('.')),
        _ if name.bytes().all(|byte| byte.is_ascii_digit()) => Err(NameError::Number),
        _ => name.chars().find(bad).map_or(Ok(()), |c| Err(NameError::Character(c))),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_safe_as_file_names_and_arguments() {
        for good in [
            "redis",
            "redis-1",
            "1a",
            "a.b",
            "Guest of Ä",
            "0x10",
            "a-",
            "domain-0",
            "a\u{ff15}",
            "m\u{b2}",
            "\u{e9}te\u{301}",
        ] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        assert_eq!(check_name(&"a".repeat(200)), Ok(()));
        for (bad, why) in [
            ("", NameError::Empty),
            (".a", NameError::Begin('.')),
            ("..", NameError::Begin('.')),
            ("a/b", NameError::Character('/')),
            ("a\nb", NameError::Character('\n')),
            ("12", NameError::Number),
            ("99999999999999999999", NameError::Number),
            ("+5", NameError::Begin('+')),
            ("-5", NameError::Begin('-')),
            ("--help", NameError::Begin('-')),
            (" a", NameError::Begin(' ')),
            ("a ", NameError::Blanks),
            ("a  5  8192  1  running", NameError::Blanks),
            ("a\u{a0}b", NameError::Character('\u{a0}')),
            ("a\u{3000}b", NameError::Character('\u{3000}')),
            ("a\u{202e}b", NameError::Character('\u{202e}')),
            ("a\u{200b}", NameError::Character('\u{200b}')),
            ("\u{3164}", NameError::Character('\u{3164}')),
            ("a\u{fe0f}", NameError::Character('\u{fe0f}')),
            ("a\u{fe00}b", NameError::Character('\u{fe00}')),
            ("a\u{e0100}b", NameError::Character('\u{e0100}')),
            ("a\u{2800}b", NameError::Character('\u{2800}')),
            ("a\u{fffc}", NameError::Character('\u{fffc}')),
            ("a\u{16fe4}", NameError::Character('\u{16fe4}')),
            ("a\u{13441}", NameError::Character('\u{13441}')),
            ("a\u{1d159}", NameError::Character('\u{1d159}')),
            ("\u{ff15}", NameError::LooksLikeNumber),
            ("\u{665}", NameError::LooksLikeNumber),
            ("1\u{ff15}", NameError::LooksLikeNumber),
            ("\u{b2}", NameError::LooksLikeNumber),
            ("\u{1d7d3}", NameError::LooksLikeNumber),
            ("\u{ff15}\u{fe0f}", NameError::Character('\u{fe0f}')),
            ("a\u{9b}b", NameError::Character('\u{9b}')),
            ("Domain-0", NameError::Dom0),
            (&"a".repeat(201), NameError::TooLong { length: 201 }),
        ] {
            assert_eq!(check_name(bad), Err(why), "{bad}");
        }
    }

    #[test]
    fn the_message_shows_what_cannot_be_seen() {
        let message = |name| check_name(name).unwrap_err().to_string();
        assert_eq!(message("a\u{202e}b"), "must not contain '\\u{202e}'");
        assert_eq!(message("a\u{2800}b"), "must not contain '\\u{2800}'");
        assert_eq!(message("a/b"), "must not contain '/'");
        assert_eq!(message("-h"), "must begin with a letter or a digit, not with '-'");
    }

    #[test]
    fn names_of_older_versions_can_still_be_read() {
        for old in ["+5", "-h", "a  b", "a\u{202e}b", "a\u{2800}", "\u{ff15}", "Domain-0"] {
            assert_eq!(check_stored_name(old), Ok(()), "{old}");
        }
        assert_eq!(check_stored_name("a/b"), Err(NameError::Character('/')));
        assert_eq!(check_stored_name("7"), Err(NameError::Number));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        /// Each name means only itself: as an argument, as a file and in a row of `chaos list`.
        #[test]
        fn any_text_is_an_unambiguous_name_or_an_error(
            text in prop_oneof!["[-+.0-9a-z /_]{0,8}", "[0-9]{1,20}", "[a-z0-9 .\u{7f}-\u{a0}\u{2000}-\u{206f}]{0,6}", "[0-9\u{660}-\u{669}\u{ff10}-\u{ff19}\u{fe00}-\u{fe0f}\u{2800}]{0,4}"],
        ) {
            if check_name(&text).is_ok() {
                prop_assert!(text.parse::<i128>().is_err() && text.parse::<u64>().is_err());
                prop_assert!(text.starts_with(char::is_alphanumeric));
                prop_assert!(!text.chars().all(char::is_numeric));
                prop_assert!(!text.chars().any(|c| is_in(BLANK, c)));
                prop_assert_eq!(Path::new(&text).file_name().and_then(|name| name.to_str()), Some(&*text));
                prop_assert!(text.split(' ').all(|word| !word.is_empty()));
                prop_assert!(!text.chars().any(|c| c.is_control() || is_invisible(c)));
                prop_assert_eq!(check_stored_name(&text), Ok(()));
            }
        }
    }
}
