// SPDX-License-Identifier: GPL-3.0-or-later
//! Runs a program with a breakpoint at each of its functions.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

/// The instruction `int3`, which stops the program.
const BREAKPOINT: u8 = 0xcc;

/// Runs a command that is linked at fixed addresses, and returns those of these addresses that it
/// reaches, in the order in which it first does. Each must be that of an instruction.
///
/// `unsafe` registers a closure that runs in the child before its `execve`.
///
/// # Errors
/// The command cannot be traced, or fails.
#[allow(unsafe_code)]
pub(crate) fn reached(addresses: &[u64], program: &Path, args: &[OsString]) -> Result<Vec<u64>> {
    let mut command = Command::new(program);
    // What it prints must not mix with what the caller prints.
    command.args(args).stdout(Stdio::null());
    // SAFETY: between fork and exec only async-signal-safe operations are allowed. The closure
    // makes one system call, ptrace, and converts its error; it neither allocates nor takes a lock.
    unsafe { command.pre_exec(|| ptrace::traceme().map_err(Into::into)) };
    let child = Pid::from_raw(command.spawn()?.id().cast_signed());
    let stopped = waitpid(child, None)?;
    ensure!(matches!(stopped, WaitStatus::Stopped(..)), "{}: {stopped:?}", program.display());
    let memory = OpenOptions::new().read(true).write(true).open(format!("/proc/{child}/mem"))?;
    let mut breakpoints = set_breakpoints(&memory, addresses)?;
    let (mut order, mut pending) = (Vec::new(), None);
    loop {
        ptrace::cont(child, pending.take())?;
        match waitpid(child, None)? {
            WaitStatus::Stopped(_, Signal::SIGTRAP) => {
                let mut registers = ptrace::getregs(child)?;
                // The program has executed the breakpoint. Let it execute what was there.
                registers.rip -= 1;
                let address = registers.rip;
                let Some(original) = breakpoints.remove(&address) else {
                    bail!("{} stopped at {address:#x}: not a breakpoint", program.display());
                };
                memory.write_all_at(&[original], address)?;
                ptrace::setregs(child, registers)?;
                order.push(address);
            }
            WaitStatus::Stopped(_, signal) => pending = Some(signal),
            WaitStatus::Exited(_, 0) => return Ok(order),
            other => bail!("{} failed: {other:?}", program.display()),
        }
    }
}

/// Sets breakpoints, and returns the bytes that were there.
fn set_breakpoints(memory: &File, addresses: &[u64]) -> Result<HashMap<u64, u8>> {
    let mut originals = HashMap::new();
    for &address in addresses {
        let failed = || format!("cannot set a breakpoint at {address:#x}");
        let Entry::Vacant(entry) = originals.entry(address) else { continue };
        let mut original = [0];
        memory.read_exact_at(&mut original, address).with_context(failed)?;
        memory.write_all_at(&[BREAKPOINT], address).with_context(failed)?;
        entry.insert(original[0]);
    }
    Ok(originals)
}
