//! Values of a config.

use std::fmt;

use super::source::SourceSpan;

/// A value with its place.
#[derive(Clone, Debug)]
pub(super) struct Value {
    pub(super) kind: Kind,
    pub(super) span: SourceSpan,
}

/// What a value is.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    /// A number or a string. Xl makes no difference between them once they are read.
    Atom(Atom),
    /// A list, whose members may be lists too.
    List(Vec<Value>),
}

/// A number or a string.
#[derive(Clone, Debug)]
pub(super) struct Atom {
    pub(super) text: String,
    /// Whether it stood without quotes: a number.
    pub(super) bare: bool,
    /// Whether its text is byte for byte what stands between the quotes, so that a part of it has
    /// a place of its own.
    pub(super) verbatim: bool,
}

impl Value {
    /// The kind's name in messages.
    pub(super) fn kind_name(&self) -> &'static str {
        match &self.kind {
            Kind::Atom(Atom { bare: true, .. }) => "a number",
            Kind::Atom(_) => "a string",
            Kind::List(_) => "a list",
        }
    }

    /// The place of a part of an atom's text; that of the whole value if the text was changed by
    /// escapes.
    pub(super) fn part(&self, start: usize, end: usize) -> SourceSpan {
        match &self.kind {
            Kind::Atom(atom) if atom.verbatim => {
                let first = self.span.start + usize::from(!atom.bare);
                SourceSpan { start: first + start, end: first + end, ..self.span }
            }
            _ => self.span,
        }
    }
}

/// Two values are equal if they mean the same, wherever they stand and however they are written.
impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (&self.kind, &other.kind) {
            (Kind::Atom(a), Kind::Atom(b)) => a.text == b.text,
            (Kind::List(a), Kind::List(b)) => a == b,
            _ => false,
        }
    }
}

/// Writes the value so that reading it gives it back.
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
            // Only ASCII has a form as one byte.
            c if c.is_ascii_control() => write!(f, "\\x{:02x}", u32::from(c))?,
            c => write!(f, "{c}")?,
        }
    }
    f.write_str("\"")
}
