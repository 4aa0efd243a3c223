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

/// Returns a message, whose last byte ends the line, without other ends of lines.
fn one_line(message: &[u8]) -> Cow<'_, [u8]> {
    let (text, end) = message.split_at(message.len().saturating_sub(1));
    if !text.iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
        return message.into();
    }
    let mut line = Vec::with_capacity(message.len() + 2);
    for byte in text {
        match byte {
            b'\n' => line.extend(b"\\n"),
            b'\r' => line.extend(b"\\r"),
            other => line.push(*other),
        }
    }
    line.extend(end);
    line.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_cannot_add_lines_to_the_log() {
        assert_eq!(&*one_line(b"INFO a guest\n"), b"INFO a guest\n");
        assert_eq!(&*one_line(b"INFO /k\nERROR forged\r\n"), b"INFO /k\\nERROR forged\\r\n");
        assert_eq!(&*one_line(b""), b"");
    }
}
