// SPDX-License-Identifier: GPL-3.0-or-later
//! Splits a config into tokens.

use super::error::Fault;
use super::problem::ConfigProblem;
use super::source::SourceSpan;

/// A token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// A key.
    Ident(String),
    /// A number as written.
    Number(String),
    /// A string without quotes, with its escapes replaced.
    String {
        text: String,
        /// Whether it contains no escapes.
        verbatim: bool,
    },
    Comma,
    Open,
    Close,
    Assign,
    Add,
    Semicolon,
    Newline,
    End,
}

impl Token {
    /// Returns the token's name in messages.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Ident(name) => format!("'{name}'"),
            Self::Number(text) => format!("number {text}"),
            Self::String { .. } => "string".to_owned(),
            Self::Comma => "','".to_owned(),
            Self::Open => "'['".to_owned(),
            Self::Close => "']'".to_owned(),
            Self::Assign => "'='".to_owned(),
            Self::Add => "'+='".to_owned(),
            Self::Semicolon => "';'".to_owned(),
            Self::Newline => "end of the line".to_owned(),
            Self::End => "end of the text".to_owned(),
        }
    }
}

/// Splits a text into tokens.
#[derive(Debug)]
pub(super) struct Lexer<'a> {
    text: &'a str,
    source: usize,
    at: usize,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str, source: usize) -> Self {
        // Skip the byte order mark, which some editors write at the beginning.
        let at = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        Self { text, source, at }
    }

    /// Returns the next token and its span; after the last one always [`Token::End`].
    pub(super) fn next(&mut self) -> Result<(Token, SourceSpan), Fault> {
        self.skip_blanks();
        let start = self.at;
        let bytes = self.text.as_bytes();
        let Some(first) = bytes.get(start) else {
            return Ok((Token::End, self.span_from(start)));
        };
        let (token, length) = match (first, bytes.get(start + 1)) {
            (b'\r', Some(b'\n')) => (Token::Newline, 2),
            (b'\n', _) => (Token::Newline, 1),
            (b',', _) => (Token::Comma, 1),
            (b'[', _) => (Token::Open, 1),
            (b']', _) => (Token::Close, 1),
            (b'=', _) => (Token::Assign, 1),
            (b'+', Some(b'=')) => (Token::Add, 2),
            (b';', _) => (Token::Semicolon, 1),
            (b'a'..=b'z', _) => {
                let word = self.run(|c| matches!(c, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_'));
                (Token::Ident(word.to_owned()), word.len())
            }
            (b'0'..=b'9', _) => {
                let word = self.run(|c| is_of_number(c.into()));
                (Token::Number(word.to_owned()), word.len())
            }
            (b'"' | b'\'', _) => return self.string(*first),
            _ => return Err(self.unknown()),
        };
        self.at += length;
        Ok((token, self.span_from(start)))
    }

    /// Returns the rest of the line without blanks around it, unless a string, a list or a number begins
    /// there. A number is one only if nothing but a comment or another assignment follows.
    pub(super) fn word(&mut self) -> Option<(&'a str, SourceSpan)> {
        let rest = &self.text[self.at..];
        let line = rest.split('\n').next().unwrap_or_default();
        let word = line.trim_matches([' ', '\t', '\r']);
        if word.starts_with(['"', '\'', '[']) {
            return None;
        }
        let after = word.trim_start_matches(is_of_number);
        let is_number = word.starts_with(|c: char| c.is_ascii_digit());
        if is_number && (after.is_empty() || after.trim_start().starts_with(['#', ';'])) {
            return None;
        }
        let start = self.at + line.len() - line.trim_start_matches([' ', '\t', '\r']).len();
        self.at += line.len();
        Some((word, SourceSpan { source: self.source, start, end: start + word.len() }))
    }

    /// Goes to the next line that begins like an assignment, which the lines of a list do not, or
    /// to the end of the text. That may be the line of the fault at `at` if the faulty assignment
    /// began before it, at `began`.
    pub(super) fn skip_to_assignment(&mut self, began: usize, at: usize) {
        let line = self.text.as_bytes()[..at].iter().rposition(|byte| *byte == b'\n');
        let line = line.map_or(0, |newline| newline + 1);
        let mut start = if line > began { line } else { next_line(self.text, at) };
        while start < self.text.len() && !is_assignment(&self.text[start..]) {
            start = next_line(self.text, start);
        }
        self.at = start;
    }

    /// Skips blanks, comments, and a carriage return at the end of the text.
    fn skip_blanks(&mut self) {
        let bytes = self.text.as_bytes();
        while let Some(byte) = bytes.get(self.at) {
            match byte {
                b' ' | b'\t' => self.at += 1,
                b'\r' if self.at + 1 == bytes.len() => self.at += 1,
                b'#' => {
                    let rest = &bytes[self.at..];
                    self.at += rest.iter().position(|c| *c == b'\n').unwrap_or(rest.len());
                }
                _ => break,
            }
        }
    }

    /// Returns the longest run of accepted bytes at the current position.
    fn run(&self, accept: impl Fn(u8) -> bool) -> &'a str {
        let rest = &self.text[self.at..];
        let length = rest.bytes().position(|byte| !accept(byte)).unwrap_or(rest.len());
        &rest[..length]
    }

    fn span_from(&self, start: usize) -> SourceSpan {
        SourceSpan { source: self.source, start, end: self.at }
    }

    fn unknown(&self) -> Fault {
        let Some(c) = self.text[self.at..].chars().next() else {
            return Fault {
                span: self.span_from(self.at),
                problem: ConfigProblem::Character('\0'),
            };
        };
        let end = self.at + c.len_utf8();
        let span = SourceSpan { source: self.source, start: self.at, end };
        Fault { span, problem: ConfigProblem::Character(c) }
    }

    /// Reads a string. `self.at` must be at its opening quote.
    fn string(&mut self, quote: u8) -> Result<(Token, SourceSpan), Fault> {
        let start = self.at;
        let bytes = self.text.as_bytes();
        let mut text = Vec::new();
        let mut verbatim = true;
        self.at += 1;
        loop {
            match bytes.get(self.at) {
                None | Some(b'\n') => {
                    let problem = ConfigProblem::OpenString { quote: char::from(quote) };
                    return Err(Fault { span: self.span_from(start), problem });
                }
                Some(c) if *c == quote => break,
                Some(b'\\') => {
                    verbatim = false;
                    text.push(self.escape()?);
                }
                Some(c) => {
                    text.push(*c);
                    self.at += 1;
                }
            }
        }
        self.at += 1;
        let span = self.span_from(start);
        match String::from_utf8(text) {
            Ok(text) => Ok((Token::String { text, verbatim }, span)),
            Err(_) => Err(Fault { span, problem: ConfigProblem::StringNotUtf8 }),
        }
    }

    /// Reads one byte written as an escape. `self.at` must be at its backslash.
    fn escape(&mut self) -> Result<u8, Fault> {
        let start = self.at;
        let rest = &self.text.as_bytes()[start + 1..];
        let digits = |from: usize, most: usize, base: u32| {
            let count = rest[from..]
                .iter()
                .take(most)
                .take_while(|c| char::from(**c).is_digit(base))
                .count();
            (&self.text[start + 1 + from..start + 1 + from + count], count)
        };
        let (value, length) = match rest.first() {
            Some(c @ (b'\\' | b'"' | b'\'')) => (Some(*c), 1),
            Some(b'a') => (Some(0x07), 1),
            Some(b'b') => (Some(0x08), 1),
            Some(b'f') => (Some(0x0c), 1),
            Some(b'n') => (Some(b'\n'), 1),
            Some(b'r') => (Some(b'\r'), 1),
            Some(b't') => (Some(b'\t'), 1),
            Some(b'v') => (Some(0x0b), 1),
            Some(b'x') => {
                let (digits, count) = digits(1, 2, 16);
                (u8::from_str_radix(digits, 16).ok().filter(|_| count == 2), 1 + count)
            }
            Some(b'0'..=b'7') => {
                let (digits, count) = digits(0, 3, 8);
                (u8::from_str_radix(digits, 8).ok(), count)
            }
            _ => (None, 0),
        };
        self.at += 1 + length;
        match value {
            Some(0) => Err(Fault { span: self.span_from(start), problem: ConfigProblem::ZeroByte }),
            Some(value) => Ok(value),
            None => Err(Fault { span: self.span_from(start), problem: ConfigProblem::Escape }),
        }
    }
}

/// Returns whether a number may contain the character.
fn is_of_number(c: char) -> bool {
    matches!(c, '0'..='9' | 'a'..='f' | 'x')
}

/// Returns the offset of the line after the one at `at`, or of the end.
fn next_line(text: &str, at: usize) -> usize {
    let newline = text.as_bytes()[at..].iter().position(|byte| *byte == b'\n');
    newline.map_or(text.len(), |newline| at + newline + 1)
}

/// Returns whether a text begins with a key and `=` or `+=`. The key may be misspelt.
fn is_assignment(text: &str) -> bool {
    let text = text.trim_start_matches([' ', '\t']);
    let ends_key = |c: char| c.is_whitespace() || "=+'\"[],;#".contains(c);
    let key = text.split(ends_key).next().unwrap_or_default();
    let rest = text[key.len()..].trim_start_matches([' ', '\t']);
    !key.is_empty() && (rest.starts_with('=') || rest.starts_with("+="))
}
