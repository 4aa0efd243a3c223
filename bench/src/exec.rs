// SPDX-License-Identifier: GPL-3.0-or-later
//! Runs a program and times it from its `execve`: until it prints something, or until it exits.
//!
//! The creation of the process does not count. So the child itself takes the time right before its
//! `execve`, and stores it in memory that it shares with this process, which needs `unsafe`.
#![allow(unsafe_code)]

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use nix::fcntl::OFlag;
use nix::libc;
use nix::sched::{CloneFlags, clone};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Pid, execv, pipe2};

use crate::guest::nanoseconds;
use crate::words;

/// Enough for two system calls.
const STACK_SIZE: usize = 64 << 10;

/// A running process.
#[derive(Debug)]
pub struct Process {
    /// When it called `execve`.
    pub started: Instant,
    pid: Pid,
    /// The command line, for error messages.
    line: String,
    output: Option<File>,
}

/// Runs a program until it exits, and returns the time in nanoseconds from its `execve` until
/// `waitpid` reports the exit.
///
/// # Errors
/// The program does not exist, or fails.
pub fn run(program: &str, args: &[&str]) -> Result<u64> {
    Process::start(program, args)?.wait()
}

impl Process {
    /// Starts a program.
    ///
    /// # Errors
    /// The program does not exist, or cannot be started.
    pub fn start(program: &str, args: &[&str]) -> Result<Self> {
        Self::with_output(program, args, None)
    }

    /// Starts a program whose standard output is read by
    /// [`wait_for_output`](Self::wait_for_output).
    ///
    /// # Errors
    /// The program does not exist, or cannot be started.
    pub fn listen(program: &str, args: &[&str]) -> Result<Self> {
        let (output, end) = pipe2(OFlag::O_CLOEXEC)?;
        let mut process = Self::with_output(program, args, Some(&end))?;
        process.output = Some(File::from(output));
        Ok(process)
    }

    fn with_output(program: &str, args: &[&str], output: Option<&OwnedFd>) -> Result<Self> {
        let path = CString::new(find(program)?.as_os_str().as_bytes())?;
        let line = format!("{program} {}", args.join(" "));
        let args: Vec<CString> = [program]
            .iter()
            .chain(args)
            .map(|argument| CString::new(*argument))
            .collect::<Result<_, _>>()?;
        let output = output.map(AsRawFd::as_raw_fd);
        let mut stack = vec![0; STACK_SIZE];
        let mut started = Instant::now();
        let child = Box::new(|| {
            if let Some(output) = output {
                // SAFETY: dup2 accesses no memory. It closes descriptor 1 only in the child, which
                // has its own descriptor table (no CLONE_FILES), and no value that the child drops
                // owns that descriptor.
                unsafe { libc::dup2(output, libc::STDOUT_FILENO) };
            }
            started = Instant::now();
            // Returns only on failure.
            let _ = execv(&path, &args);
            127
        });
        let flags = CloneFlags::CLONE_VM | CloneFlags::CLONE_VFORK;
        // SAFETY:
        // - The child's stack, `stack`, is not used by this process and outlives the child's use
        //   of it: the child uses it only until `execve`.
        // - The child shares this process's memory (CLONE_VM), but both never run at the same
        //   time: with CLONE_VFORK this thread is suspended until the child has called `execve` or
        //   exited, and the process has no other thread.
        // - The child leaves the shared heap consistent. `execv` allocates a few bytes, which are
        //   leaked because a successful `execve` does not return.
        let pid = unsafe { clone(child, &mut stack, flags, Some(Signal::SIGCHLD as i32)) }?;
        Ok(Self { started, pid, line, output: None })
    }

    /// Waits until the output of a process started with [`listen`](Self::listen) contains `word`,
    /// and returns the time since its `execve` in nanoseconds.
    ///
    /// # Errors
    /// The process exits first, or does not print the word in time. It is killed in both cases.
    pub fn wait_for_output(&mut self, word: &str) -> Result<u64> {
        let output = self.output.as_mut().context("the process was started without listening")?;
        match words::wait_for(output, word).with_context(|| self.line.clone()) {
            Ok(_) => nanoseconds(self.started),
            Err(error) => {
                // Fails if the process has exited already.
                let _ = kill(self.pid, Signal::SIGKILL);
                waitpid(self.pid, None)?;
                Err(error)
            }
        }
    }

    /// Returns its process ID.
    #[must_use]
    pub fn id(&self) -> i32 {
        self.pid.as_raw()
    }

    /// Waits until it exits and returns the time since its `execve` in nanoseconds.
    ///
    /// # Errors
    /// It exits with a failure, or is killed by a signal.
    pub fn wait(self) -> Result<u64> {
        let status = waitpid(self.pid, None)?;
        let ns = nanoseconds(self.started)?;
        ensure!(matches!(status, WaitStatus::Exited(_, 0)), "{} failed: {status:?}", self.line);
        Ok(ns)
    }

    /// Terminates it with SIGTERM and waits for its exit.
    ///
    /// # Errors
    /// It cannot be signalled or waited for.
    pub fn stop(self) -> Result<()> {
        kill(self.pid, Signal::SIGTERM)?;
        waitpid(self.pid, None)?;
        Ok(())
    }
}

/// Returns whether a program of this name is in `PATH`.
#[must_use]
pub fn is_installed(program: &str) -> bool {
    find(program).is_ok()
}

/// Returns the path of a program, looked up in `PATH` as a shell does.
///
/// # Errors
/// No folder of `PATH` has such a file.
pub fn find(program: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join(OsStr::new(program)))
        .find(|path| path.is_file())
        .with_context(|| format!("there is no program {program} in PATH"))
}

/// The dynamic linker of x86-64.
pub const LOADER: &str = "/lib64/ld-linux-x86-64.so.2";

/// Returns the paths of the libraries that a program loads.
///
/// # Errors
/// The dynamic linker cannot load the program.
pub fn libraries(program: &Path) -> Result<Vec<String>> {
    let listed = Command::new(LOADER).arg("--list").arg(program).output()?;
    let text = String::from_utf8(listed.stdout)?;
    ensure!(listed.status.success(), "{LOADER} cannot load {}: {text}", program.display());
    Ok(text.split_whitespace().filter(|word| word.starts_with('/')).map(str::to_owned).collect())
}
