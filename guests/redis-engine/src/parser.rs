// SPDX-License-Identifier: MIT OR Apache-2.0
//! Parses requests from the wire, in whatever pieces they arrive. Each byte is parsed only once.

use alloc::vec::Vec;

use crate::args::Args;
use crate::memory::{Memory, fits_in_transit, room};

/// The longest line in bytes, its end included: a length, or a whole inline command
/// (`PROTO_INLINE_MAX_SIZE`).
const MAX_LINE: usize = 64 * 1024;

/// The most arguments of a command, its name included (as in Redis: 1024 * 1024).
const MAX_ARGUMENTS: i64 = 1024 * 1024;

/// The longest argument in bytes (`proto-max-bulk-len`).
const MAX_ARGUMENT: i64 = 512 * 1024 * 1024;

/// What the parser waits for.
#[derive(Debug, Default, PartialEq, Eq)]
enum State {
    /// The first byte of a command.
    #[default]
    Start,
    /// The rest of a line, either an inline command or a line of a multi-bulk command.
    Line { inline: bool },
    /// The rest of a line that contains a NUL, of which `length` bytes have arrived. Redis finds no
    /// line end behind a NUL, so such a line only becomes too long.
    Endless { inline: bool, length: usize },
    /// `left` more bytes of an argument, then its line end.
    Argument { left: usize },
    /// `left` more bytes of an argument's line end.
    ArgumentEnd { left: usize },
}

/// What was found in the input.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Nothing yet: all input is used up.
    Nothing,
    /// A command; its arguments are in [`Parser::args`].
    Command,
    /// A command for which there was no memory. Its bytes have been skipped.
    TooLarge,
    /// The peer violates the protocol.
    Error(&'static str),
    /// The peer sent this byte instead of the `$` of an argument.
    NoArgument(u8),
}

/// Parses commands.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    state: State,
    line: Vec<u8>,
    /// How many arguments of the command are still to come.
    arguments_left: i64,
    /// Whether the command is being skipped for lack of memory.
    skipping: bool,
    pub(crate) args: Args,
}

impl Parser {
    /// Parses until a command is complete or the input is used up. Returns the number of bytes
    /// used, and what was found.
    pub(crate) fn read(&mut self, memory: &dyn Memory, input: &[u8]) -> (usize, Found) {
        let mut used = 0;
        while used < input.len() {
            let rest = &input[used..];
            let (step, found) = match self.state {
                State::Start => self.start(rest[0]),
                State::Line { inline } => self.line(memory, rest, inline),
                State::Endless { inline, length } => self.endless(rest, inline, length),
                State::Argument { left } => self.argument(rest, left),
                State::ArgumentEnd { left } => self.argument_end(rest, left),
            };
            used += step;
            if found != Found::Nothing {
                return (used, found);
            }
        }
        (used, Found::Nothing)
    }

    fn start(&mut self, first: u8) -> (usize, Found) {
        self.args.clear();
        self.line.clear();
        self.skipping = false;
        self.state = State::Line { inline: first != b'*' };
        (0, Found::Nothing)
    }

    /// Returns the bytes of memory that an incomplete command holds.
    pub(crate) fn held(&self) -> usize {
        if self.is_between_commands() { 0 } else { self.line.capacity() + self.args.held() }
    }

    /// Returns whether nothing of a command has arrived that is not complete.
    pub(crate) fn is_between_commands(&self) -> bool {
        self.state == State::Start
    }

    /// Returns the length of the part of `rest` that completes the line, if it is there. An inline
    /// command ends with a line feed, other lines with a carriage return and any byte.
    fn line_end(&self, rest: &[u8], inline: bool) -> Option<usize> {
        if inline {
            return rest.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
        }
        if self.line.last() == Some(&b'\r') {
            return Some(1);
        }
        let end = rest.iter().position(|byte| *byte == b'\r')? + 2;
        (end <= rest.len()).then_some(end)
    }

    /// Collects a line, and parses it when it is complete.
    fn line(&mut self, memory: &dyn Memory, rest: &[u8], inline: bool) -> (usize, Found) {
        let end = self.line_end(rest, inline);
        let taken = end.unwrap_or(rest.len());
        if self.line.len() + taken > MAX_LINE {
            return (taken, self.too_long(inline));
        }
        if self.line.is_empty() && end.is_some() {
            // The line is complete in this input, so there is no need to collect it.
            return (taken, self.whole_line(memory, &rest[..taken], inline));
        }
        if !room(&mut self.line, taken, |bytes| fits_in_transit(memory, bytes)) {
            return (taken, Found::Error("ERR out of memory for a line of the request"));
        }
        self.line.extend_from_slice(&rest[..taken]);
        if end.is_none() {
            return (taken, Found::Nothing);
        }
        let mut line = core::mem::take(&mut self.line);
        let found = self.whole_line(memory, &line, inline);
        line.clear();
        line.shrink_to(256);
        self.line = line;
        (taken, found)
    }

    /// Takes more bytes of a line that has no end.
    #[cold]
    fn endless(&mut self, rest: &[u8], inline: bool, length: usize) -> (usize, Found) {
        let length = length.saturating_add(rest.len());
        self.state = State::Endless { inline, length };
        let found = if length > MAX_LINE { self.too_long(inline) } else { Found::Nothing };
        (rest.len(), found)
    }

    #[cold]
    fn too_long(&self, inline: bool) -> Found {
        Found::Error(match (inline, self.arguments_left) {
            (true, _) => "ERR Protocol error: too big inline request",
            (false, 0) => "ERR Protocol error: too big mbulk count string",
            (false, _) => "ERR Protocol error: too big bulk count string",
        })
    }

    fn whole_line(&mut self, memory: &dyn Memory, line: &[u8], inline: bool) -> Found {
        // A carriage return is optional in an inline command.
        let end = if inline && !line.ends_with(b"\r\n") { 1 } else { 2 };
        let text = &line[..line.len() - end];
        // No number contains a NUL, so in other lines it is looked for only if they are wrong.
        if inline && text.contains(&0) {
            return self.line_without_end(line, inline);
        }
        let found = match (inline, self.arguments_left) {
            (true, _) => self.inline(memory, text),
            (false, 0) => self.argument_count(&text[1..]),
            (false, _) => self.argument_length(memory, text),
        };
        match found {
            Found::Error(_) | Found::NoArgument(_) if !inline && text.contains(&0) => {
                self.line_without_end(line, inline)
            }
            found => found,
        }
    }

    #[cold]
    fn line_without_end(&mut self, line: &[u8], inline: bool) -> Found {
        self.state = State::Endless { inline, length: line.len() };
        Found::Nothing
    }

    /// Parses `*N`, which starts a command of N arguments.
    fn argument_count(&mut self, text: &[u8]) -> Found {
        match length(text) {
            Some(count) if count <= MAX_ARGUMENTS => {
                self.arguments_left = count.max(0);
                self.state = if count > 0 { State::Line { inline: false } } else { State::Start };
                Found::Nothing
            }
            _ => Found::Error("ERR Protocol error: invalid multibulk length"),
        }
    }

    /// Parses `$N`, which starts an argument of N bytes.
    fn argument_length(&mut self, memory: &dyn Memory, text: &[u8]) -> Found {
        let Some(text) = text.strip_prefix(b"$") else {
            return Found::NoArgument(text.first().copied().unwrap_or(b' '));
        };
        let left = match length(text) {
            Some(left) if (0..=MAX_ARGUMENT).contains(&left) => usize::try_from(left).unwrap_or(0),
            _ => return Found::Error("ERR Protocol error: invalid bulk length"),
        };
        if !self.skipping && !self.args.reserve(memory, left) {
            self.skipping = true;
            self.args.clear();
        }
        self.state = State::Argument { left };
        self.skip_empty(left)
    }

    fn skip_empty(&mut self, left: usize) -> Found {
        if left == 0 {
            self.state = State::ArgumentEnd { left: 2 };
        }
        Found::Nothing
    }

    fn argument(&mut self, rest: &[u8], left: usize) -> (usize, Found) {
        let taken = left.min(rest.len());
        if !self.skipping {
            self.args.extend(&rest[..taken]);
        }
        let left = left - taken;
        self.state = State::Argument { left };
        (taken, self.skip_empty(left))
    }

    fn argument_end(&mut self, rest: &[u8], left: usize) -> (usize, Found) {
        let taken = left.min(rest.len());
        if taken < left {
            self.state = State::ArgumentEnd { left: left - taken };
            return (taken, Found::Nothing);
        }
        if !self.skipping {
            self.args.end_argument();
        }
        self.arguments_left -= 1;
        self.state = State::Line { inline: false };
        if self.arguments_left > 0 {
            return (taken, Found::Nothing);
        }
        self.state = State::Start;
        (taken, if self.skipping { Found::TooLarge } else { Found::Command })
    }

    /// Parses an inline command: arguments separated by spaces, which may be quoted.
    fn inline(&mut self, memory: &dyn Memory, text: &[u8]) -> Found {
        self.state = State::Start;
        match split(memory, text, &mut self.args) {
            Split::Whole if self.args.len() == 0 => Found::Nothing,
            Split::Whole => Found::Command,
            Split::TooLarge => Found::TooLarge,
            Split::Unbalanced => Found::Error("ERR Protocol error: unbalanced quotes in request"),
        }
    }
}

/// Parses a decimal length, which may be `-1`.
fn length(text: &[u8]) -> Option<i64> {
    crate::number::integer(text).ok()
}

/// The result of splitting a line.
enum Split {
    Whole,
    TooLarge,
    /// A quote is not closed.
    Unbalanced,
}

/// Returns whether C's `isspace` accepts a byte.
fn is_space(byte: &u8) -> bool {
    byte.is_ascii_whitespace() || *byte == 0x0b
}

/// Returns whether a byte ends an argument without quotes. Other white space does not.
fn ends_argument(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// Splits a line as Redis's `sdssplitargs` does.
fn split(memory: &dyn Memory, text: &[u8], args: &mut Args) -> Split {
    let mut at = 0;
    loop {
        while text.get(at).is_some_and(is_space) {
            at += 1;
        }
        if at == text.len() {
            return Split::Whole;
        }
        if !args.reserve(memory, text.len() - at) {
            return Split::TooLarge;
        }
        while let Some(byte) = text.get(at).filter(|byte| !ends_argument(**byte)) {
            match byte {
                quote @ (b'"' | b'\'') => match quoted(text, at + 1, *quote, args) {
                    Some(next) => {
                        at = next;
                        break;
                    }
                    None => return Split::Unbalanced,
                },
                byte => {
                    args.extend(&[*byte]);
                    at += 1;
                }
            }
        }
        args.end_argument();
    }
}

/// Reads up to the closing quote, and returns the position after it. `None` if the quote is not
/// closed, or is not followed by a space or the end.
fn quoted(text: &[u8], mut at: usize, quote: u8, args: &mut Args) -> Option<usize> {
    loop {
        let byte = *text.get(at)?;
        at += 1;
        match byte {
            b'\\' if quote == b'"' => {
                let hex = |at: usize| char::from(*text.get(at)?).to_digit(16);
                let escaped = *text.get(at)?;
                if let (b'x', Some(high), Some(low)) = (escaped, hex(at + 1), hex(at + 2)) {
                    args.extend(&[u8::try_from(high << 4 | low).unwrap_or(0)]);
                    at += 3;
                    continue;
                }
                args.extend(&[match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 8,
                    b'a' => 7,
                    other => other,
                }]);
                at += 1;
            }
            b'\\' if text.get(at) == Some(&b'\'') => {
                args.extend(b"'");
                at += 1;
            }
            byte if byte == quote => {
                let closed = text.get(at).is_none_or(is_space);
                return closed.then_some(at);
            }
            byte => args.extend(&[byte]),
        }
    }
}
