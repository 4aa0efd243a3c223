// SPDX-License-Identifier: MIT OR Apache-2.0
//! Times a command.

use std::ffi::{OsStr, OsString};
use std::process::{Command, Stdio};
use std::time::Instant;

/// Runs a command and prints the milliseconds from its start to its exit. Drops the command's
/// standard output.
///
/// # Errors
/// The command cannot be started, or fails.
pub(crate) fn run(program: &OsStr, arguments: &[OsString]) -> Result<(), String> {
    let name = program.display();
    let start = Instant::now();
    let status = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .map_err(|error| format!("cannot run {name}: {error}"))?;
    let elapsed = start.elapsed();
    if !status.success() {
        return Err(format!("{name} failed: {status}"));
    }
    println!("{:.2}", elapsed.as_secs_f64() * 1e3);
    Ok(())
}
