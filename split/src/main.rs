// SPDX-License-Identifier: GPL-3.0-or-later
//! The program `chaosd`: see the library's documentation and `chaosd --help`.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use chaosd::process::{self, Failure};
use chaosd::settings::{self, Settings};
use clap::Parser;
use daemon::chain::chain;

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
struct Options {
    /// Configuration file; without one, chaosd keeps the shells that are asked for
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Check the configuration, report errors, and exit
    #[arg(long)]
    check: bool,

    /// Socket to listen on
    #[arg(long, value_name = "PATH", default_value = chaos::clients::chaosd::SOCKET)]
    socket: PathBuf,

    /// Group that may connect, besides root [default: chaos, if it exists]
    #[arg(long, value_name = "NAME")]
    group: Option<String>,

    /// Log level: off, error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log: tracing::level_filters::LevelFilter,
}

fn main() -> ExitCode {
    let options = Options::parse();
    daemon::log::start(options.log);
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            tracing::error!("{}", chain(&failure));
            match failure {
                Failure::Settings(_) => ExitCode::from(2),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

fn run(options: &Options) -> Result<(), Failure> {
    let path = options.config.clone().unwrap_or_else(|| PathBuf::from(settings::PATH));
    let optional = options.config.is_none();
    let read = move || match Settings::read(&path) {
        Err(settings::SettingsError::Read { source, .. })
            if optional && source.kind() == io::ErrorKind::NotFound =>
        {
            tracing::info!(
                "{} does not exist: keeping the shells that are asked for",
                path.display()
            );
            Ok(Settings::none())
        }
        result => result,
    };
    if options.check {
        let settings = read()?;
        tracing::info!("the configuration is valid; flavours: {}", settings.flavours.len());
        return Ok(());
    }
    process::run(&options.socket, options.group.as_deref(), read)
}
