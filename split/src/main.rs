//! `chaosd`: see the library's text, and `chaosd --help`.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use chaosd::process::{self, Failure};
use chaosd::settings::{self, Settings};
use clap::Parser;
use daemon::chain::chain;

/// Keeps domain shells ready, so that `chaos create` costs almost nothing.
///
/// Runs in the foreground and logs to standard error. The socket is there when it is ready; under
/// systemd it also says so (Type=notify). SIGHUP reads the configuration again, SIGTERM ends it: the
/// shells go, the guests stay. It may be killed at any time: the next one clears away what is left.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Examples:
  chaosd                         serve, with the flavours of /etc/chaos/chaosd.toml
  chaosd --config my.toml        with those of another file
  chaosd --check                 only say whether the file is right
  chaos pool                     what is in the pool

Exit status: 1 if it cannot start or go on, 2 if the options or the configuration are wrong."
)]
struct Options {
    /// The configuration. Without a file there are no flavours: each shell is made on the spot.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Read the configuration, say what is wrong with it, and end.
    #[arg(long)]
    check: bool,

    /// Where to listen.
    #[arg(long, value_name = "PATH", default_value = chaos::clients::chaosd::SOCKET)]
    socket: PathBuf,

    /// Let this group connect, beside root. Without it: group chaos, if there is one.
    #[arg(long, value_name = "NAME")]
    group: Option<String>,

    /// What to log: off, error, warn, info, debug or trace.
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
            tracing::warn!("there is no {}: no shells are kept", path.display());
            Ok(Settings::none())
        }
        result => result,
    };
    if options.check {
        let settings = read()?;
        tracing::info!("{} flavours; all is right", settings.flavours.len());
        return Ok(());
    }
    process::run(&options.socket, options.group.as_deref(), read)
}
