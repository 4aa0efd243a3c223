//! A whole process, timed from its `execve`: until it says something, until it ends.
//!
//! `unsafe`: what makes a process is left out of the time, so the child tells when it calls
//! `execve`, from memory that it shares with this process.
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

/// A process that runs.
#[derive(Debug)]
pub struct Process {
    /// When it called `execve`.
    pub started: Instant,
    pid: Pid,
    /// What it was run as, for errors.
    line: String,
    output: Option<File>,
}

/// Runs a program and gives the time from its `execve` until this process knows of its end, in
/// nanoseconds.
///
/// # Errors
/// There is no such program, or it fails.
pub fn run(program: &str, args: &[&str]) -> Result<u64> {
    Process::start(program, args)?.end()
}

impl Process {
    /// Runs a program.
    ///
    /// # Errors
    /// There is no such program.
    pub fn start(program: &str, args: &[&str]) -> Result<Self> {
        Self::with_output(program, args, None)
    }

    /// Runs a program whose standard output this process listens to.
    ///
    /// # Errors
    /// There is no such program.
    pub fn listen(program: &str, args: &[&str]) -> Result<Self> {
        let (output, end) = pipe2(OFlag::O_CLOEXEC)?;
        let mut process = Self::with_output(program, args, Some(&end))?;
        process.output = Some(File::from(output));
        Ok(process)
    }

    fn with_output(program: &str, args: &[&str], output: Option<&OwnedFd>) -> Result<Self> {
        let path = CString::new(find(program)?.as_os_str().as_bytes())?;
        let words: Vec<CString> = [program]
            .iter()
            .chain(args)
            .map(|word| CString::new(*word))
            .collect::<Result<_, _>>()?;
        let output = output.map(AsRawFd::as_raw_fd);
        let mut stack = vec![0; STACK_SIZE];
        let mut started = Instant::now();
        let child = Box::new(|| {
            if let Some(output) = output {
                // SAFETY: the child has a table of descriptors of its own (no CLONE_FILES), in
                // which nothing owns number 1 that would close it.
                unsafe { libc::dup2(output, libc::STDOUT_FILENO) };
            }
            started = Instant::now();
            // Comes back only if it failed.
            let _ = execv(&path, &words);
            127
        });
        let flags = CloneFlags::CLONE_VM | CloneFlags::CLONE_VFORK;
        // SAFETY: the child runs on a stack of its own and shares this process's memory, but this
        // thread, the only one of the process, does not go on before the child has called `execve`
        // or ended (CLONE_VFORK): so nothing is used by both at once. The child allocates nothing
        // that it would have to free: `execv` does, and what it has allocated is lost, some bytes
        // each time.
        let pid = unsafe { clone(child, &mut stack, flags, Some(Signal::SIGCHLD as i32)) }?;
        let line = format!("{program} {}", args.join(" "));
        Ok(Self { started, pid, line, output: None })
    }

    /// Waits until a process that is listened to has said this word, and gives the time since its
    /// `execve`, in nanoseconds.
    ///
    /// # Errors
    /// It ends, or is silent for too long. Then it is ended.
    pub fn until_it_says(&mut self, word: &str) -> Result<u64> {
        let output = self.output.as_mut().context("nobody listens to it")?;
        match words::wait_for(output, word).with_context(|| self.line.clone()) {
            Ok(()) => nanoseconds(self.started),
            Err(error) => {
                // It may have ended by itself.
                let _ = kill(self.pid, Signal::SIGKILL);
                waitpid(self.pid, None)?;
                Err(error)
            }
        }
    }

    /// Linux's number of it.
    #[must_use]
    pub fn id(&self) -> i32 {
        self.pid.as_raw()
    }

    /// Waits for its end and gives the time since its `execve`, in nanoseconds.
    ///
    /// # Errors
    /// It fails.
    pub fn end(self) -> Result<u64> {
        let status = waitpid(self.pid, None)?;
        let ns = nanoseconds(self.started)?;
        ensure!(matches!(status, WaitStatus::Exited(_, 0)), "{} failed: {status:?}", self.line);
        Ok(ns)
    }

    /// Ends it with a signal.
    ///
    /// # Errors
    /// The system refuses.
    pub fn stop(self) -> Result<()> {
        kill(self.pid, Signal::SIGTERM)?;
        waitpid(self.pid, None)?;
        Ok(())
    }
}

/// Whether the shell would find a program of this name.
#[must_use]
pub fn is_there(program: &str) -> bool {
    find(program).is_ok()
}

/// Where a program is, as the shell would find it.
///
/// # Errors
/// There is none.
pub fn find(program: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join(OsStr::new(program)))
        .find(|path| path.is_file())
        .with_context(|| format!("there is no program {program}"))
}

/// What loads a program's libraries on x86-64.
pub const LOADER: &str = "/lib64/ld-linux-x86-64.so.2";

/// The libraries that a program loads.
///
/// # Errors
/// It cannot be loaded.
pub fn libraries(program: &Path) -> Result<Vec<String>> {
    let told = Command::new(LOADER).arg("--list").arg(program).output()?;
    let text = String::from_utf8(told.stdout)?;
    ensure!(told.status.success(), "{LOADER} cannot load {}: {text}", program.display());
    Ok(text.split_whitespace().filter(|word| word.starts_with('/')).map(str::to_owned).collect())
}
