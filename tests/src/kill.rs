//! Killing a process at an exact point: after so many of its system calls.

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
pub fn run_to_syscall(program: &str, args: &[&str], stop: usize) -> Ended {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let pid = start(&mut command);
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

/// A process whose system calls are counted, those of all its threads, and which is killed with
/// SIGKILL when there were so many.
#[derive(Debug)]
pub struct Doomed {
    /// Its number.
    pub pid: Pid,
    tracer: JoinHandle<Death>,
}

/// How a [`Doomed`] process has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// It was killed at the wanted point.
    AtStop {
        /// Whether that was in its first thread.
        first_thread: bool,
        /// The number of the system call it was about to make, or had just made.
        syscall: u64,
    },
    /// It ended before, after so many stops.
    Before {
        /// How many.
        stops: usize,
    },
}

impl Doomed {
    /// Starts a program and kills it at its `stop`-th stop, counted from 0 over all threads; each
    /// system call has two, its entry and its exit. `dead` is called when it has ended.
    ///
    /// # Panics
    /// The program cannot be started.
    #[must_use]
    pub fn start(mut command: Command, stop: usize, dead: impl FnOnce() + Send + 'static) -> Self {
        let (tell, told) = channel();
        // Only the thread that has started a process may trace it.
        let tracer = thread::spawn(move || {
            let pid = start(&mut command);
            tell.send(pid).expect("the other thread waits for this");
            let death = trace(pid, stop);
            dead();
            death
        });
        let pid = told.recv().expect("the program can be started and traced");
        Self { pid, tracer }
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// It could not be traced.
    #[must_use]
    pub fn join(self) -> Death {
        self.tracer.join().expect("the process can be traced")
    }
}

/// Lets a process that has stopped at its start run to the wanted stop.
fn trace(pid: Pid, stop: usize) -> Death {
    let options = ptrace::Options::PTRACE_O_TRACECLONE
        | ptrace::Options::PTRACE_O_TRACESYSGOOD
        | ptrace::Options::PTRACE_O_EXITKILL;
    ptrace::setoptions(pid, options).expect("the process can be traced");
    let go_on = |thread, signal| {
        // A thread that another one's end has taken along meanwhile cannot be continued.
        let _ = ptrace::syscall(thread, signal);
    };
    go_on(pid, None);
    let (mut stops, mut killed) = (0, None);
    loop {
        // Of this thread's children only: others start programs, too.
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
                go_on(thread, None);
            }
            // The first stop of a new thread, or of none.
            WaitStatus::Stopped(thread, Signal::SIGSTOP | Signal::SIGTRAP) => go_on(thread, None),
            WaitStatus::Stopped(thread, signal) => go_on(thread, Some(signal)),
            WaitStatus::PtraceSyscall(thread) | WaitStatus::PtraceEvent(thread, ..) => {
                go_on(thread, None);
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

/// Starts a program that stops before its first instruction.
// It is waited for by its number, which tells more than `Child::wait`.
#[allow(clippy::zombie_processes)]
fn start(command: &mut Command) -> Pid {
    let child = trace_me(command).spawn().expect("the program can be started");
    let pid = Pid::from_raw(child.id().cast_signed());
    // The first stop is the SIGTRAP of exec.
    wait(pid);
    pid
}

#[allow(unsafe_code)]
fn trace_me(command: &mut Command) -> &mut Command {
    let trace_me = || ptrace::traceme().map_err(std::io::Error::from);
    // SAFETY: between fork and exec only async-signal-safe calls are allowed; the closure makes
    // one, the system call ptrace, and touches no memory that another thread could hold locked.
    unsafe { command.pre_exec(trace_me) }
}
