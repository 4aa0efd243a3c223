// SPDX-License-Identifier: GPL-3.0-or-later
//! Kills a process at an exact point: at the entry to or the exit from a given system call.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::thread::{self, JoinHandle};

use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// How a traced process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was killed at the wanted stop.
    Killed,
    /// It exited before that stop, with this exit code.
    Exited(i32),
}

/// Runs a command and kills it with SIGKILL at its `stop`-th stop, counted from 0. Each system call
/// has two stops, its entry and its exit.
///
/// # Panics
/// The process cannot be traced.
#[must_use]
pub fn run_to_syscall(program: &str, args: &[&str], stop: usize) -> Ended {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let pid = start(&mut command);
    for _ in 0..stop {
        ptrace::syscall(pid, None).expect("the process can be continued");
        match wait(pid) {
            WaitStatus::Exited(_, code) => return Ended::Exited(code),
            WaitStatus::Signaled(_, signal, _) => panic!("{program} was killed by {signal}"),
            _ => {}
        }
    }
    nix::sys::signal::kill(pid, Signal::SIGKILL).expect("the process can be killed");
    while !matches!(wait(pid), WaitStatus::Signaled(..) | WaitStatus::Exited(..)) {}
    Ended::Killed
}

/// A process that is killed with SIGKILL at a given stop. The stops of all its threads count.
#[derive(Debug)]
pub struct Doomed {
    /// Its process ID.
    pub pid: Pid,
    tracer: JoinHandle<Death>,
}

/// How a [`Doomed`] process died.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// It was killed at the wanted stop.
    AtStop {
        /// Whether the stop was in its first thread.
        first_thread: bool,
        /// The number of the system call that the thread was about to enter or had just left.
        syscall: u64,
    },
    /// It exited before that stop.
    Before {
        /// The number of stops until then.
        stops: usize,
    },
}

impl Doomed {
    /// Starts a program and kills it at its `stop`-th stop, counted from 0 over all threads. Each
    /// system call has two stops, its entry and its exit. Calls `dead` when the process is dead,
    /// killed or not.
    ///
    /// # Panics
    /// The program cannot be started.
    #[must_use]
    pub fn start(mut command: Command, stop: usize, dead: impl FnOnce() + Send + 'static) -> Self {
        let (sender, receiver) = channel();
        // Only the thread that has started a process may trace it.
        let tracer = thread::spawn(move || {
            let pid = start(&mut command);
            sender.send(pid).expect("the other thread waits for this");
            let death = trace(pid, stop);
            dead();
            death
        });
        let pid = receiver.recv().expect("the program can be started and traced");
        Self { pid, tracer }
    }

    /// Waits until the process is dead, and returns how it died.
    ///
    /// # Panics
    /// It could not be traced.
    #[must_use]
    pub fn join(self) -> Death {
        self.tracer.join().expect("the process can be traced")
    }
}

/// Resumes a process that has stopped at its start, and kills it at the wanted stop. Returns when
/// it is dead.
fn trace(pid: Pid, stop: usize) -> Death {
    let options = ptrace::Options::PTRACE_O_TRACECLONE
        | ptrace::Options::PTRACE_O_TRACESYSGOOD
        | ptrace::Options::PTRACE_O_EXITKILL;
    ptrace::setoptions(pid, options).expect("the process can be traced");
    let resume = |thread, signal| {
        // Fails if the thread is dead because another one has exited the whole process.
        let _ = ptrace::syscall(thread, signal);
    };
    resume(pid, None);
    let (mut stops, mut killed) = (0, None);
    loop {
        // Wait only for children of this thread, because other threads start programs too.
        let all = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
        let status = waitpid(Pid::from_raw(-1), Some(all)).expect("the process can be waited for");
        match status {
            WaitStatus::PtraceSyscall(thread) if killed.is_none() => {
                if stops == stop {
                    let registers = ptrace::getregs(thread).expect("a stopped thread can be read");
                    let first_thread = thread == pid;
                    killed = Some(Death::AtStop { first_thread, syscall: registers.orig_rax });
                    nix::sys::signal::kill(pid, Signal::SIGKILL)
                        .expect("the process can be killed");
                    continue;
                }
                stops += 1;
                resume(thread, None);
            }
            // Stops that ptrace itself causes, such as a new thread's first one. Resume without
            // delivering the signal.
            WaitStatus::Stopped(thread, Signal::SIGSTOP | Signal::SIGTRAP) => resume(thread, None),
            WaitStatus::Stopped(thread, signal) => resume(thread, Some(signal)),
            WaitStatus::PtraceSyscall(thread) | WaitStatus::PtraceEvent(thread, ..) => {
                resume(thread, None);
            }
            WaitStatus::Exited(thread, _) | WaitStatus::Signaled(thread, ..) if thread == pid => {
                return killed.unwrap_or(Death::Before { stops });
            }
            _ => {}
        }
    }
}

fn wait(pid: Pid) -> WaitStatus {
    waitpid(pid, None).expect("the process can be waited for")
}

/// Starts a program under ptrace, and returns when it has stopped before its first instruction.
// `waitpid` waits for the child by its ID, because it reports more than `Child::wait`.
#[allow(clippy::zombie_processes)]
fn start(command: &mut Command) -> Pid {
    let child = trace_me(command).spawn().expect("the program can be started");
    let pid = Pid::from_raw(child.id().cast_signed());
    // The first stop is the SIGTRAP that `execve` causes.
    wait(pid);
    pid
}

#[allow(unsafe_code)]
fn trace_me(command: &mut Command) -> &mut Command {
    let trace_me = || ptrace::traceme().map_err(std::io::Error::from);
    // SAFETY: between fork and exec only async-signal-safe operations are allowed. The closure
    // makes one system call, ptrace, and converts its error; it neither allocates nor takes a lock.
    unsafe { command.pre_exec(trace_me) }
}
