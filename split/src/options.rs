// SPDX-License-Identifier: GPL-3.0-or-later
//! The options of the program, from which its help and its man page are generated. Doc comments are
//! help texts.

use std::path::PathBuf;

use clap::Parser;

/// Keep domain shells ready for chaos create, and restart guests as their configs say
///
/// Runs in the foreground and logs to standard error. When it is ready, its socket exists; under
/// systemd it also notifies the service manager (Type=notify). SIGHUP reads the configuration
/// again. SIGTERM destroys the shells and exits; guests keep running. chaosd may be killed at any
/// time: the next one removes the shells that are left.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Examples:
  chaosd                     use the flavours in /etc/chaos/chaosd.toml, if it exists
  chaosd --config my.toml    use another file
  chaosd --check             check the file and exit
  chaos pool                 show the pool

Exit status:
  0  stopped by SIGTERM or SIGINT
  1  cannot start, or cannot wait for events
  2  invalid options or configuration"
)]
pub struct Options {
    /// Configuration file; without one, chaosd keeps the shells that are asked for
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Check the configuration, report errors, and exit
    #[arg(long)]
    pub check: bool,

    /// Socket to listen on
    #[arg(long, value_name = "PATH", default_value = chaos::clients::chaosd::SOCKET)]
    pub socket: PathBuf,

    /// Group that may connect, besides root [default: chaos, if it exists]
    #[arg(long, value_name = "NAME")]
    pub group: Option<String>,

    /// Log level: off, error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub log: tracing::level_filters::LevelFilter,
}
