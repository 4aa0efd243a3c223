//! `chaos`, the command on dom0.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
