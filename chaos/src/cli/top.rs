// SPDX-License-Identifier: GPL-3.0-or-later
//! `chaos top`: starts the program `chaos-top`, which is apart so that what draws on a terminal makes no
//! other command slower.

use std::env;
use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use super::args::TopArgs;
use super::failure::Failure;

/// The program's name.
const PROGRAM: &str = "chaos-top";

/// Replaces this process by `chaos-top`: the one beside this program, or the one that is in `PATH`.
pub(super) fn run(args: &TopArgs) -> Result<(), Failure> {
    let beside = env::current_exe().ok().map(|path| path.with_file_name(PROGRAM));
    let program = beside.filter(|path| path.exists()).unwrap_or_else(|| PathBuf::from(PROGRAM));
    Err(Failure::Top(start(program.into(), &args.arguments)))
}

fn start(program: OsString, arguments: &[OsString]) -> io::Error {
    Command::new(program).args(arguments).exec()
}
