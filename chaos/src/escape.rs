// SPDX-License-Identifier: GPL-3.0-or-later
//! Shows text of guests and of daemons on a terminal without obeying it.
//!
//! A terminal takes control characters for commands: they move the cursor over what was printed,
//! set the title, or make the terminal type. Format characters change the order of the text. All of
//! them are replaced by an escape that can be seen, such as `\x1b`.

use std::borrow::Cow;
use std::fmt::Write;

/// The characters that are not seen, but change what is, or hide a difference: Unicode 15.1's
/// format characters (`Cf`), its line and paragraph separator, and those that it lets programs
/// ignore but the variation selectors, which emoji need.
const INVISIBLE: &[(char, char)] = &[
    ('\u{ad}', '\u{ad}'),
    ('\u{34f}', '\u{34f}'),
    ('\u{600}', '\u{605}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{6dd}', '\u{6dd}'),
    ('\u{70f}', '\u{70f}'),
    ('\u{890}', '\u{891}'),
    ('\u{8e2}', '\u{8e2}'),
    ('\u{115f}', '\u{1160}'),
    ('\u{17b4}', '\u{17b5}'),
    ('\u{180b}', '\u{180f}'),
    ('\u{200b}', '\u{200f}'),
    ('\u{2028}', '\u{202e}'),
    ('\u{2060}', '\u{206f}'),
    ('\u{3164}', '\u{3164}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{ffa0}', '\u{ffa0}'),
    ('\u{fff0}', '\u{fffb}'),
    ('\u{110bd}', '\u{110bd}'),
    ('\u{110cd}', '\u{110cd}'),
    ('\u{13430}', '\u{1343f}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{e0000}', '\u{e0fff}'),
];

/// Returns whether a character is invisible: a control or format character, or one of those that
/// programs may ignore.
#[must_use]
pub fn is_invisible(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_control();
    }
    c.is_control() || is_in(INVISIBLE, c)
}

/// Returns whether a character is in one of the ranges, each with its first and last character.
pub(crate) fn is_in(ranges: &[(char, char)], c: char) -> bool {
    ranges.iter().any(|(first, last)| (*first..=*last).contains(&c))
}

/// Returns the text as one line: all invisible characters are replaced, also ends of lines.
#[must_use]
pub fn line(text: &str) -> Cow<'_, str> {
    replace(text, |_| false, escape)
}

/// Returns the text with its lines: all other invisible characters are replaced.
#[must_use]
pub fn lines(text: &str) -> Cow<'_, str> {
    replace(text, |c| c == '\n', escape)
}

/// Returns JSON that means the same: invisible characters in its strings are replaced by escapes
/// of JSON.
#[must_use]
pub fn json(text: &str) -> Cow<'_, str> {
    let escape = |out: &mut String, c: char| {
        for unit in c.encode_utf16(&mut [0; 2]) {
            // Writing to a string does not fail.
            let _ = write!(out, "\\u{unit:04x}");
        }
    };
    replace(text, |c| c == '\n', escape)
}

/// Returns the output of a guest with its lines and tabs. Other invisible characters are replaced,
/// and so are bytes that are not text.
#[must_use]
pub fn output(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        let mut chars = chunk.valid().chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '\n' | '\t' => out.push(c),
                // The end of a line on a console.
                '\r' if chars.peek() == Some(&'\n') => {}
                c if is_invisible(c) => escape(&mut out, c),
                c => out.push(c),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out
}

fn replace(
    text: &str,
    keep: impl Fn(char) -> bool,
    escape: impl Fn(&mut String, char),
) -> Cow<'_, str> {
    let replaced = |c: char| is_invisible(c) && !keep(c);
    if !text.contains(replaced) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if replaced(c) {
            escape(&mut out, c);
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

fn escape(out: &mut String, c: char) {
    let _ = match c {
        '\n' => out.write_str("\\n"),
        '\r' => out.write_str("\\r"),
        '\t' => out.write_str("\\t"),
        c if c.is_ascii() => write!(out, "\\x{:02x}", u32::from(c)),
        c => write!(out, "\\u{{{:x}}}", u32::from(c)),
    };
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_replaced() {
        for (text, shown) in [
            ("redis", "redis"),
            ("Gäste 1 ❤\u{fe0f}", "Gäste 1 ❤\u{fe0f}"),
            ("a\x1b[2Jb", "a\\x1b[2Jb"),
            ("a\u{9b}2Jb", "a\\u{9b}2Jb"),
            ("x\u{202e}fdp.exe", "x\\u{202e}fdp.exe"),
            ("a\u{200b}b\u{feff}", "a\\u{200b}b\\u{feff}"),
            ("a\r\tb\x7f", "a\\r\\tb\\x7f"),
        ] {
            assert_eq!(line(text), shown);
            assert_eq!(lines(text), shown);
        }
        assert_eq!(line("a\nb"), "a\\nb");
        assert_eq!(lines("a\nb\x07"), "a\nb\\x07");
    }

    #[test]
    fn the_output_of_a_guest_keeps_its_lines() {
        assert_eq!(output(b"a\r\n\tb\r\n"), "a\n\tb\n");
        assert_eq!(
            output(b"100%\rdone\x1b]0;title\x07\xff\xc3"),
            "100%\\rdone\\x1b]0;title\\x07\\xff\\xc3"
        );
        assert_eq!(output("ä\u{85}".as_bytes()), "ä\\u{85}");
    }

    proptest! {
        #[test]
        fn no_invisible_character_is_left(text in any::<String>(), bytes: Vec<u8>) {
            prop_assert!(!line(&text).contains(is_invisible));
            let kept = |c: char| is_invisible(c) && !matches!(c, '\n' | '\t');
            prop_assert!(!output(&bytes).contains(kept));
        }

        #[test]
        fn json_means_the_same(text in "[\\x00-\\u{2fff}\\u{e0000}-\\u{e00ff}]{0,20}") {
            let plain = serde_json::to_string(&text).unwrap();
            let escaped = json(&plain);
            prop_assert!(!escaped.contains(is_invisible), "{}", escaped);
            prop_assert_eq!(serde_json::from_str::<String>(&escaped).unwrap(), text);
        }
    }
}
