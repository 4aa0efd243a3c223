// SPDX-License-Identifier: GPL-3.0-or-later
//! Turns the bytes of a config into text.

/// What a character is in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum LexState {
    /// Outside of strings and comments.
    Code,
    /// In a string with this quote.
    Quoted(char),
    /// After a backslash in a string with this quote.
    Escaped(char),
    /// In a comment.
    Comment,
}

/// Returns the bytes as text. In comments, bytes that are not UTF-8 become replacement characters: many
/// old configs have comments in other encodings, which mean nothing to xl either.
///
/// # Errors
/// The line of the first other byte that is not UTF-8, counted from 1.
pub(super) fn decode(bytes: Vec<u8>) -> Result<String, usize> {
    String::from_utf8(bytes).or_else(|error| decode_comments(error.as_bytes()))
}

#[cold]
fn decode_comments(bytes: &[u8]) -> Result<String, usize> {
    let mut text = String::with_capacity(bytes.len());
    let mut state = LexState::Code;
    for chunk in bytes.utf8_chunks() {
        state = chunk.valid().chars().fold(state, LexState::after);
        text.push_str(chunk.valid());
        if !chunk.invalid().is_empty() {
            if state != LexState::Comment {
                return Err(text.matches('\n').count() + 1);
            }
            text.push(char::REPLACEMENT_CHARACTER);
        }
    }
    Ok(text)
}

impl LexState {
    /// Returns the state behind a character.
    fn after(self, c: char) -> Self {
        match (self, c) {
            // A string ends with its line, with an error.
            (_, '\n') => Self::Code,
            (Self::Code, '#') => Self::Comment,
            (Self::Code, '"' | '\'') => Self::Quoted(c),
            (Self::Quoted(quote), '\\') => Self::Escaped(quote),
            (Self::Quoted(quote), _) if c == quote => Self::Code,
            (Self::Escaped(quote), _) => Self::Quoted(quote),
            (state, _) => state,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_may_be_in_any_encoding() {
        for (bytes, text) in [
            (&b"# Gr\xf6\xdfe\nmemory=1\n"[..], "# Gr\u{fffd}\u{fffd}e\nmemory=1\n"),
            (b"a='#' # \xff", "a='#' # \u{fffd}"),
            (b"a='\\'' # \xe4\nb=\"ok\"", "a='\\'' # \u{fffd}\nb=\"ok\""),
            (b"a=\"'\" # \xe4", "a=\"'\" # \u{fffd}"),
            (b"vif=[ # \xe4\n '' ]", "vif=[ # \u{fffd}\n '' ]"),
            ("a='\u{e4}'".as_bytes(), "a='\u{e4}'"),
        ] {
            assert_eq!(decode(bytes.to_vec()).as_deref(), Ok(text));
        }
    }

    #[test]
    fn other_bytes_must_be_text() {
        for (bytes, line) in [
            (&b"a='\xff'"[..], 1),
            (b"# \xff\na='# \xff'\n", 2),
            (b"a='\\'# \xff'", 1),
            (b"\n\n\xff", 3),
            (b"a='#'\n\xe4 = 1", 2),
        ] {
            assert_eq!(decode(bytes.to_vec()), Err(line), "{bytes:?}");
        }
    }
}
