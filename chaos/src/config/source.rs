// SPDX-License-Identifier: GPL-3.0-or-later
//! Positions in the texts that are parsed.

use std::fmt;

use crate::escape::is_invisible;

/// A text to parse, with its name in messages.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source<'a> {
    pub(super) name: &'a str,
    pub(super) text: &'a str,
    /// Whether it is an argument of the command, in which a string needs no quotes: a shell has removed
    /// them.
    pub(super) is_argument: bool,
}

/// A run of bytes in one of several sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SourceSpan {
    /// Index of the source.
    pub(super) source: usize,
    /// First byte.
    pub(super) start: usize,
    /// First byte after it.
    pub(super) end: usize,
}

impl SourceSpan {
    /// Returns the span from the beginning of this one to the end of the other.
    pub(super) fn to(self, other: Self) -> Self {
        if self.source == other.source { Self { end: other.end, ..self } } else { self }
    }
}

/// A position in a config, for messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourcePosition {
    /// The file's name as it was given, or `<command line>`.
    pub file: String,
    /// Line, counted from 1.
    pub line: usize,
    /// Column in characters, counted from 1.
    pub column: usize,
    /// The text of the line.
    text: String,
    /// How many characters to mark, at least 1.
    width: usize,
}

impl SourcePosition {
    pub(super) fn new(sources: &[Source<'_>], span: SourceSpan) -> Self {
        let Some(Source { name, text, .. }) = sources.get(span.source).copied() else {
            return Self { file: String::new(), line: 1, column: 1, text: String::new(), width: 1 };
        };
        let start = floor_boundary(text, span.start);
        let line_start = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |newline| start + newline);
        let line = &text[line_start..line_end];
        let marked = &text[start..floor_boundary(text, span.end.clamp(start, line_end))];
        Self {
            file: name.to_owned(),
            line: text[..start].bytes().filter(|byte| *byte == b'\n').count() + 1,
            column: text[line_start..start].chars().count() + 1,
            text: line.trim_end_matches('\r').to_owned(),
            width: marked.trim_end_matches('\r').chars().count().max(1),
        }
    }

    /// Returns the line with a mark below the span.
    pub(super) fn excerpt(&self) -> Excerpt<'_> {
        Excerpt(self)
    }
}

impl fmt::Display for SourcePosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// Longest part of a line that is shown, in characters.
const SHOWN: usize = 120;

/// Characters shown before the span if the line is longer than [`SHOWN`].
const BEFORE: usize = 40;

/// A line of the config, and below it a line with a mark.
pub(super) struct Excerpt<'a>(&'a SourcePosition);

impl fmt::Display for Excerpt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SourcePosition { line, column, text, width, .. } = self.0;
        let skip = if column - 1 > SHOWN - BEFORE { column - 1 - BEFORE } else { 0 };
        // Control and format characters become blanks, so that the mark stays below its character,
        // and the file cannot send commands to the terminal.
        let shown: String = text
            .chars()
            .skip(skip)
            .take(SHOWN)
            .map(|c| if is_invisible(c) { ' ' } else { c })
            .collect();
        let number = line.to_string();
        let mark = "^".repeat((*width).min(SHOWN));
        writeln!(f, " {number} | {shown}")?;
        write!(f, " {:1$} | ", "", number.len())?;
        write!(f, "{:1$}{mark}", "", column - 1 - skip)
    }
}

/// Returns the last character boundary at or before `at`.
fn floor_boundary(text: &str, at: usize) -> usize {
    let at = at.min(text.len());
    (0..=at).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(text: &str, start: usize, end: usize) -> SourcePosition {
        SourcePosition::new(
            &[Source { name: "x.cfg", text, is_argument: false }],
            SourceSpan { source: 0, start, end },
        )
    }

    #[test]
    fn a_position_counts_lines_and_characters() {
        let position = position("a=1\nä=2\r\n", 7, 8);
        assert_eq!((position.line, position.column), (2, 3));
        assert_eq!(position.to_string(), "x.cfg:2:3");
        assert_eq!(position.excerpt().to_string(), " 2 | ä=2\n   |   ^");
    }

    #[test]
    fn the_end_of_the_text_has_a_position() {
        assert_eq!(position("", 0, 0).to_string(), "x.cfg:1:1");
        assert_eq!(position("a\n", 2, 2).to_string(), "x.cfg:2:1");
        assert_eq!(position("a", 9, 12).to_string(), "x.cfg:1:2");
    }

    #[test]
    fn a_long_line_is_shown_around_the_mark() {
        let text = format!("{}!{}", "a".repeat(500), "b".repeat(500));
        let excerpt = position(&text, 500, 501).excerpt().to_string();
        let (line, mark) = excerpt.split_once('\n').unwrap();
        assert_eq!(line.find('!'), mark.find('^'));
        assert!(line.len() < 140, "{line}");
    }
}
