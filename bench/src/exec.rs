//! The time of a whole process, from its `execve` to its end.
//!
//! `unsafe`: what makes a process is left out of the time, so the child tells when it calls
//! `execve`, from memory that it shares with this process.
#![allow(unsafe_code)]

use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use nix::sched::{CloneFlags, clone};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::execv;

/// Enough for one call to `execve`.
const STACK_SIZE: usize = 64 << 10;

/// Runs a program and gives the time from its `execve` until this process knows of its end, in
/// nanoseconds.
///
/// # Errors
/// There is no such program, or it fails.
pub fn run(program: &str, args: &[&str]) -> Result<u64> {
    let path = CString::new(find(program)?.as_os_str().as_bytes())?;
    let words: Vec<CString> =
        [program].iter().chain(args).map(|word| CString::new(*word)).collect::<Result<_, _>>()?;
    let mut stack = vec![0; STACK_SIZE];
    let mut started = Instant::now();
    let child = Box::new(|| {
        started = Instant::now();
        // Comes back only if it failed.
        let _ = execv(&path, &words);
        127
    });
    let flags = CloneFlags::CLONE_VM | CloneFlags::CLONE_VFORK;
    // SAFETY: the child runs on a stack of its own and shares this process's memory, but this
    // thread, the only one of the process, does not go on before the child has called `execve` or
    // ended (CLONE_VFORK): so nothing is used by both at once. The child allocates nothing that it
    // would have to free: `execv` does, and what it has allocated is lost, some bytes each time.
    let child = unsafe { clone(child, &mut stack, flags, Some(Signal::SIGCHLD as i32)) }?;
    let status = waitpid(child, None)?;
    let ns = u64::try_from(started.elapsed().as_nanos())?;
    ensure!(
        matches!(status, WaitStatus::Exited(_, 0)),
        "{program} {} failed: {status:?}",
        args.join(" ")
    );
    Ok(ns)
}

/// Where a program is, as the shell would find it.
fn find(program: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join(OsStr::new(program)))
        .find(|path| path.is_file())
        .with_context(|| format!("there is no program {program}"))
}
