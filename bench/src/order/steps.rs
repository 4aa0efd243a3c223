// SPDX-License-Identifier: GPL-3.0-or-later
//! Runs a program one instruction at a time.

use std::collections::HashSet;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};
use nix::sys::ptrace;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

/// Addresses are rounded down to this many bytes: functions are aligned to it.
const PIECE: u64 = 16;

/// Runs a command, and returns the address of each piece of code that it runs, in the order in
/// which it first runs them.
///
/// `unsafe` registers a closure that runs in the child before its `execve`.
///
/// # Errors
/// The command cannot be traced, or fails.
#[allow(unsafe_code)]
pub(crate) fn addresses(program: &Path, args: &[OsString]) -> Result<Vec<u64>> {
    let mut command = Command::new(program);
    command.args(args);
    // SAFETY: between fork and exec only async-signal-safe operations are allowed. The closure
    // makes one system call, ptrace, and converts its error; it neither allocates nor takes a lock.
    unsafe { command.pre_exec(|| ptrace::traceme().map_err(Into::into)) };
    let child = Pid::from_raw(command.spawn()?.id().cast_signed());
    let (mut seen, mut order) = (HashSet::new(), Vec::new());
    loop {
        match waitpid(child, None)? {
            WaitStatus::Stopped(..) => {
                let piece = ptrace::getregs(child)?.rip & !(PIECE - 1);
                if seen.insert(piece) {
                    order.push(piece);
                }
                ptrace::step(child, None)?;
            }
            WaitStatus::Exited(_, 0) => return Ok(order),
            other => bail!("{} failed: {other:?}", program.display()),
        }
    }
}
