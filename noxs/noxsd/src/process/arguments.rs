// SPDX-License-Identifier: GPL-3.0-or-later
//! The arguments of the program, from which its help and its man page are generated. Doc comments
//! are help texts.

use clap::Parser;

use super::start::Options;

/// Serves the consoles, network interfaces and disks of noxs guests, and the switch between them.
///
/// Runs in the foreground, logs to standard error, and gives up root once its devices are open.
/// Its socket exists as soon as it is ready; under systemd it also sends a notification
/// (Type=notify). It may be killed at any time: the next noxsd finds the guests in the records and
/// continues to serve them.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Examples:
  noxsd --bridge xenbr0                  serve, with a switch that reaches bridge xenbr0
  noxsd --bridge xenbr0 --bridge xenbr1  two switches
  noxsd --log debug                      log more

Exit status: 1 if it cannot start or continue, 2 if the options are wrong."
)]
pub struct Arguments {
    // No doc comment: it would replace the description of the program.
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment would be part of the help")]
    pub options: Options,

    /// Log messages of this level and above: off, error, warn, info, debug or trace.
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub log: tracing::level_filters::LevelFilter,
}
