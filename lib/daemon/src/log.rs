// SPDX-License-Identifier: MIT OR Apache-2.0
//! The log on standard error.

use std::borrow::Cow;
use std::io::{self, Write};

use tracing::level_filters::LevelFilter;

/// Starts to log messages of `level` and above to standard error. Call it once, before anything
/// else.
///
/// # Panics
/// If it was called before.
pub fn start(level: LevelFilter) {
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(|| OneLine)
        .with_target(false)
        .with_ansi(false)
        // A closed standard error must not stop the daemon: reporting the failure would panic.
        .log_internal_errors(false)
        .init();
}

/// Standard error, to which each message is one line, whatever it quotes: a message is written in one
/// piece.
struct OneLine;

impl Write for OneLine {
    fn write(&mut self, message: &[u8]) -> io::Result<usize> {
        io::stderr().lock().write_all(&one_line(message))?;
        Ok(message.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// Returns a message, whose last byte ends the line, without other ends of lines, and without what a
/// terminal obeys or shows in another order. The formatter replaces most of that, but not all.
fn one_line(message: &[u8]) -> Cow<'_, [u8]> {
    let (text, end) = message.split_at(message.len().saturating_sub(1));
    let text = String::from_utf8_lossy(text);
    if !text.contains(is_replaced) {
        return message.into();
    }
    let mut line = String::with_capacity(message.len() + 16);
    for c in text.chars() {
        if is_replaced(c) {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
    let mut line = line.into_bytes();
    line.extend(end);
    line.into()
}

/// Returns whether a character is replaced: a control character, or one of Unicode's that end lines,
/// are not seen, or change the order of text.
fn is_replaced(c: char) -> bool {
    let is_format = matches!(
        c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e0fff}'
    );
    is_format || (c.is_control() && c != '\t')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_cannot_add_lines_to_the_log() {
        assert_eq!(&*one_line(b"INFO a guest\n"), b"INFO a guest\n");
        assert_eq!(&*one_line(b"INFO /k\nERROR forged\r\n"), b"INFO /k\\nERROR forged\\r\n");
        assert_eq!(&*one_line(b""), b"");
        let forged = "INFO a\u{b}b\u{c}c\u{2028}d\u{202e}e\u{200b}f\u{9b}g\n".as_bytes();
        let line = br"INFO a\u{b}b\u{c}c\u{2028}d\u{202e}e\u{200b}f\u{9b}g";
        assert_eq!(&*one_line(forged), [&line[..], b"\n"].concat());
        assert_eq!(&*one_line("INFO grün\t☃\n".as_bytes()), "INFO grün\t☃\n".as_bytes());
    }
}
