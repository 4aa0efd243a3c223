// SPDX-License-Identifier: GPL-3.0-or-later
//! The command lines of the programs.

use clap::{Command, CommandFactory};

use crate::described;

/// A program with a man page.
pub(crate) struct Program {
    /// Its command line.
    pub(crate) command: Command,
    /// Section of its man page.
    pub(crate) section: &'static str,
}

/// Returns all programs.
pub(crate) fn all() -> Vec<Program> {
    vec![
        Program { command: described::chaos(), section: "1" },
        Program { command: chaosd::options::Options::command(), section: "8" },
        Program { command: noxsd::process::arguments::Arguments::command(), section: "8" },
    ]
}
