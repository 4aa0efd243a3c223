// SPDX-License-Identifier: GPL-3.0-or-later
//! The modules in which `chaos` describes its arguments. They are part of the program `chaos`, whose
//! library parses no arguments, so they are compiled here once more.

#[path = "../../chaos/src/cli/args.rs"]
mod args;
#[path = "../../chaos/src/cli/commands.rs"]
mod commands;
#[path = "../../chaos/src/cli/grammar.rs"]
mod grammar;
#[path = "../../chaos/src/cli/guest_args.rs"]
mod guest_args;
#[path = "../../chaos/src/cli/guest_help.rs"]
mod guest_help;
#[path = "../../chaos/src/cli/help.rs"]
mod help;
#[path = "../../chaos/src/cli/host_args.rs"]
mod host_args;
#[path = "../../chaos/src/cli/host_help.rs"]
mod host_help;
#[path = "../../chaos/src/cli/xl_verbs.rs"]
mod xl_verbs;

/// Returns the command line of `chaos` with all commands.
pub(crate) fn chaos() -> clap::Command {
    grammar::whole()
}
