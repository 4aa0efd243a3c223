// SPDX-License-Identifier: GPL-3.0-or-later
//! Values of a config.

use std::fmt;

use super::source::SourceSpan;

/// A value with its span.
#[derive(Clone, Debug)]
pub(super) struct Value {
    pub(super) kind: Kind,
    pub(super) span: SourceSpan,
}

/// The kinds of values.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    /// A number or a string. xl treats them alike once they are parsed.
    Atom(Atom),
    /// A list. Its members may be lists.
    List(Vec<Value>),
}

/// A number or a string.
#[derive(Clone, Debug)]
pub(super) struct Atom {
    pub(super) text: String,
    /// Whether it is a number: without quotes, and not the word of an argument.
    pub(super) bare: bool,
    /// Whether the text is byte for byte as in the source, so that a part of it has a known
    /// span.
    pub(super) verbatim: bool,
}

impl Value {
    /// Returns the name of the kind in messages.
    pub(super) fn kind_name(&self) -> &'static str {
        match &self.kind {
            Kind::Atom(Atom { bare: true, .. }) => "a number",
            Kind::Atom(_) => "a string",
            Kind::List(_) => "a list",
        }
    }

    /// Returns the span of a part of an atom's text, or of the whole value if the text contains
    /// escapes.
    pub(super) fn part(&self, start: usize, end: usize) -> SourceSpan {
        match &self.kind {
            Kind::Atom(atom) if atom.verbatim => {
                // A quote on each side, or none.
                let quote = (self.span.end - self.span.start).saturating_sub(atom.text.len()) / 2;
                let first = self.span.start + quote;
                SourceSpan { start: first + start, end: first + end, ..self.span }
            }
            _ => self.span,
        }
    }
}

/// Compares what values mean; their spans and the way they are written do not matter.
impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (&self.kind, &other.kind) {
            (Kind::Atom(a), Kind::Atom(b)) => a.text == b.text,
            (Kind::List(a), Kind::List(b)) => a == b,
            _ => false,
        }
    }
}

/// Writes the value in the syntax of a config, so that parsing the text yields an equal value.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Atom(atom) if atom.bare => f.write_str(&atom.text),
            Kind::Atom(atom) => quote(&atom.text, f),
            Kind::List(values) => {
                f.write_str("[")?;
                for (index, value) in values.iter().enumerate() {
                    let comma = if index == 0 { "" } else { ", " };
                    write!(f, "{comma}{value}")?;
                }
                f.write_str("]")
            }
        }
    }
}

fn quote(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str("\"")?;
    for c in text.chars() {
        match c {
            '"' | '\\' => write!(f, "\\{c}")?,
            '\n' => f.write_str("\\n")?,
            // An escape stands for one byte, so only ASCII characters have one.
            c if c.is_ascii_control() => write!(f, "\\x{:02x}", u32::from(c))?,
            c => write!(f, "{c}")?,
        }
    }
    f.write_str("\"")
}
