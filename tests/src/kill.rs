//! Killing a process at an exact point: after so many of its system calls.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

/// How a traced process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was killed at the wanted point.
    Killed,
    /// It ended by itself before, with this exit code.
    ByItself(i32),
}

/// Runs a command and kills it with SIGKILL at its `stop`-th stop, counted from 0; each system
/// call has two, its entry and its exit.
///
/// # Panics
/// The process cannot be traced.
#[must_use]
// It is waited for by its number, which tells more than `Child::wait`.
#[allow(clippy::zombie_processes)]
pub fn run_to_syscall(program: &str, args: &[&str], stop: usize) -> Ended {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let child = trace_me(&mut command).spawn().expect("the program can be started");
    let pid = Pid::from_raw(child.id().cast_signed());
    // The first stop is the SIGTRAP of exec.
    wait(pid);
    for _ in 0..stop {
        ptrace::syscall(pid, None).expect("the process can be continued");
        match wait(pid) {
            WaitStatus::Exited(_, code) => return Ended::ByItself(code),
            WaitStatus::Signaled(_, signal, _) => panic!("{program} died of {signal}"),
            _ => {}
        }
    }
    nix::sys::signal::kill(pid, Signal::SIGKILL).expect("the process can be killed");
    while !matches!(wait(pid), WaitStatus::Signaled(..) | WaitStatus::Exited(..)) {}
    Ended::Killed
}

fn wait(pid: Pid) -> WaitStatus {
    waitpid(pid, None).expect("the process can be waited for")
}

#[allow(unsafe_code)]
fn trace_me(command: &mut Command) -> &mut Command {
    let trace_me = || ptrace::traceme().map_err(std::io::Error::from);
    // SAFETY: between fork and exec only async-signal-safe calls are allowed; the closure makes
    // one, the system call ptrace, and touches no memory that another thread could hold locked.
    unsafe { command.pre_exec(trace_me) }
}
