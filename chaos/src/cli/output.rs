// SPDX-License-Identifier: GPL-3.0-or-later
//! Prints results to stdout, warnings and errors to stderr.

use std::fmt::Display;
use std::io::{self, ErrorKind, IsTerminal, Write};

use chaos::escape;
use serde::Serialize;

use super::failure::Failure;

/// The output of a command. The first failure to print is kept, and [`Output::finish`] returns it.
#[derive(Debug, Default)]
pub(crate) struct Output {
    failed: Option<io::Error>,
}

impl Output {
    /// Prints text to stdout.
    pub(crate) fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    /// Prints a value as JSON to stdout.
    pub(crate) fn json(&mut self, value: &impl Serialize) {
        match serde_json::to_string_pretty(value) {
            Ok(text) => self.text(&(escape::json(&text).into_owned() + "\n")),
            Err(error) => self.keep(Err(error.into())),
        }
    }

    /// Prints the output of a guest to stdout: as it is to a file or a pipe, but without commands
    /// for the terminal to a terminal.
    pub(crate) fn of_guest(&mut self, bytes: &[u8]) {
        if io::stdout().is_terminal() {
            self.text(&escape::output(bytes));
        } else {
            self.bytes(bytes);
        }
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.keep(io::stdout().lock().write_all(bytes));
    }

    /// Prints a warning to stderr, as one line.
    pub(crate) fn warning(&mut self, warning: &impl Display) {
        to_stderr(&format!("chaos: warning: {}\n", escape::line(&warning.to_string())));
    }

    /// Prints to stderr, as one line, what is not a failure.
    pub(crate) fn note(&mut self, text: &str) {
        to_stderr(&format!("chaos: {}\n", escape::line(text)));
    }

    /// Flushes stdout.
    pub(crate) fn flush(&mut self) {
        self.keep(io::stdout().lock().flush());
    }

    /// Returns whether something could not be printed.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed.is_some()
    }

    /// Flushes stdout.
    ///
    /// # Errors
    /// Something could not be printed. A closed pipe is not an error: the reader has seen enough.
    pub(crate) fn finish(mut self) -> Result<(), Failure> {
        self.flush();
        match self.failed {
            Some(error) if error.kind() != ErrorKind::BrokenPipe => Err(Failure::Output(error)),
            _ => Ok(()),
        }
    }

    fn keep(&mut self, result: io::Result<()>) {
        if let (None, Err(error)) = (&self.failed, result) {
            self.failed = Some(error);
        }
    }
}

/// Prints an error to stderr, as one line. Parts of it may come from a daemon or a guest.
pub(crate) fn error(text: &str) {
    to_stderr(&format!("chaos: {}\n", escape::line(text)));
}

/// Prints an error to stderr, with the lines that show where in a config it is.
pub(crate) fn error_with_lines(text: &str) {
    to_stderr(&format!("chaos: {}\n", escape::lines(text)));
}

fn to_stderr(text: &str) {
    // If stderr is closed, this cannot be reported anywhere.
    let _ = io::stderr().lock().write_all(text.as_bytes());
}
