// SPDX-License-Identifier: GPL-3.0-or-later
//! The program `chaosd`: see the library's documentation and `chaosd --help`.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use chaosd::options::Options;
use chaosd::process::{self, Failure};
use chaosd::settings::{self, Settings};
use clap::Parser;
use daemon::chain::chain;

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
