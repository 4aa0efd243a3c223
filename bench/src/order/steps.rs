//! Running a program one instruction at a time.

use std::collections::HashSet;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};
use nix::sys::ptrace;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

/// Code is told apart by pieces of so many bytes: no function begins within one.
const PIECE: u64 = 16;

/// Where the pieces of code begin that a command runs, in the order in which it first runs them.
///
/// `unsafe`: the child asks to be traced before it becomes the program.
#[allow(unsafe_code)]
pub(crate) fn addresses(program: &Path, args: &[OsString]) -> Result<Vec<u64>> {
    let mut command = Command::new(program);
    command.args(args);
    // SAFETY: the closure makes one system call and allocates nothing.
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
            other => bail!("{} ended with {other:?}", program.display()),
        }
    }
}
