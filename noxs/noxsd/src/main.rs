// SPDX-License-Identifier: GPL-3.0-or-later
//! The program noxsd: see the library's documentation, and `noxsd --help`.

use std::process::ExitCode;

use clap::Parser;
use daemon::chain::chain;
use noxsd::process::arguments::Arguments;
use noxsd::process::start;

fn main() -> ExitCode {
    let Arguments { options, log } = Arguments::parse();
    daemon::log::start(log);
    match start::run(&options) {
        Ok(never) => match never {},
        Err(error) => {
            tracing::error!("{}", chain(&error));
            ExitCode::FAILURE
        }
    }
}
