// SPDX-License-Identifier: GPL-3.0-or-later
//! Runs a program of dom0 for a limited time, and keeps the end of what it prints.

use std::ffi::{CString, OsStr, OsString};
use std::io::{self, ErrorKind, PipeReader};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};
use std::{env, fmt, iter};

use daemon::wait::{any_readable, readable};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawn};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::stat::Mode;
use nix::unistd::Pid;

use crate::child::{GroupLeader, Tail, pipe};
use crate::escape;

/// The most bytes that are kept of what a program prints.
const KEPT: usize = 2048;

/// The most characters of a line in a message.
const SHOWN: usize = 300;

/// The most bytes that are read between two looks at the deadline.
const AT_ONCE: usize = 64 << 10;

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It exited with this status.
    Exited(i32),
    /// This signal ended it.
    Signalled(Signal),
    /// It was killed with its process group, because it took too long.
    TimedOut,
}

/// The end of what a program printed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Printed(Tail<KEPT>);

/// Runs a program in a process group of its own, with these arguments and with these variables in
/// addition to those of this process. Waits until it exits; its children may stay. Standard input is
/// empty.
///
/// # Errors
/// It cannot be started, or not be waited for; then it is killed.
pub(super) fn run(
    args: &[&str],
    variables: &[(&str, &str)],
    timeout: Duration,
) -> io::Result<(End, Printed)> {
    let deadline = Instant::now() + timeout;
    let (reader, writer) = pipe()?;
    let mut files = PosixSpawnFileActions::init()?;
    files.add_open(0, "/dev/null", OFlag::O_RDONLY, Mode::empty())?;
    files.add_dup2(writer.as_raw_fd(), 1)?;
    files.add_dup2(writer.as_raw_fd(), 2)?;
    let mut attributes = PosixSpawnAttr::init()?;
    // Daemons block signals and ignore SIGPIPE, which programs would inherit: the standard library leaves
    // the blocked ones.
    attributes.set_flags(
        PosixSpawnFlags::POSIX_SPAWN_SETPGROUP
            | PosixSpawnFlags::POSIX_SPAWN_SETSIGMASK
            | PosixSpawnFlags::POSIX_SPAWN_SETSIGDEF,
    )?;
    attributes.set_pgroup(Pid::from_raw(0))?;
    attributes.set_sigmask(&SigSet::empty())?;
    attributes.set_sigdefault(&iter::once(Signal::SIGPIPE).collect())?;
    let text = |bytes: &OsStr| CString::new(bytes.as_bytes());
    let args = args.iter().map(|arg| text(arg.as_ref())).collect::<Result<Vec<_>, _>>()?;
    let environment = environment(env::vars_os(), variables);
    let environment =
        environment.iter().map(|variable| text(variable)).collect::<Result<Vec<_>, _>>()?;
    let path = args.first().ok_or(ErrorKind::InvalidInput)?;
    let pid = posix_spawn(path.as_c_str(), &files, &attributes, &args, &environment)?;
    let pid = rustix::process::Pid::from_raw(pid.as_raw()).ok_or(ErrorKind::NotFound)?;
    let mut running = GroupLeader::new(pid);
    drop(writer);
    let mut printed = Printed::default();
    if !printed.read_until(running.end()?.as_fd(), reader, deadline)? {
        return Ok((End::TimedOut, printed));
    }
    let status = running.wait()?;
    let signal = status.signal().map(Signal::try_from).transpose()?;
    match (status.code(), signal) {
        (Some(code), _) => Ok((End::Exited(code), printed)),
        (None, Some(signal)) => Ok((End::Signalled(signal), printed)),
        (None, None) => Err(Errno::ECHILD.into()),
    }
}

/// Returns an environment with these variables, each as `NAME=VALUE`.
fn environment(
    inherited: impl Iterator<Item = (OsString, OsString)>,
    variables: &[(&str, &str)],
) -> Vec<OsString> {
    let is_kept = |name: &OsStr| variables.iter().all(|(other, _)| name != *other);
    let joined = |name: &OsStr, value: &OsStr| {
        let mut variable = name.to_owned();
        variable.push("=");
        variable.push(value);
        variable
    };
    let kept = inherited.filter(|(name, _)| is_kept(name));
    let mut all: Vec<_> = kept.map(|(name, value)| joined(&name, &value)).collect();
    all.extend(variables.iter().map(|(name, value)| joined(name.as_ref(), value.as_ref())));
    all
}

impl Printed {
    /// Reads what a process prints until it has ended. Returns whether it did so before the deadline.
    fn read_until(
        &mut self,
        ended: BorrowedFd<'_>,
        reader: PipeReader,
        deadline: Instant,
    ) -> io::Result<bool> {
        let mut reader = Some(reader);
        loop {
            let fds: Vec<_> = iter::once(ended).chain(reader.as_ref().map(AsFd::as_fd)).collect();
            if !any_readable(&fds, deadline)? {
                return Ok(false);
            }
            // Before the read, which then gets all that the process has printed.
            let has_ended = readable(ended, Instant::now())?;
            if let Some(open) = &mut reader
                && !self.0.read(open, AT_ONCE / KEPT)?
            {
                reader = None;
            }
            if has_ended || Instant::now() >= deadline {
                return Ok(has_ended);
            }
        }
    }

    /// Returns the last line that is not empty, such that a terminal does not obey it.
    pub(super) fn last_line(&self) -> Option<String> {
        self.0.lines().last().map(|line| shown(line))
    }
}

/// Returns a text as one line of a message, without its end if it is long.
pub(super) fn shown(text: &str) -> String {
    let short: String = text.chars().take(SHOWN).collect();
    let dots = if short.len() < text.len() { "…" } else { "" };
    format!("{}{dots}", escape::line(&short))
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(status) => write!(f, "failed with exit status {status}"),
            Self::Signalled(signal) => write!(f, "was ended by {signal}"),
            Self::TimedOut => f.write_str("took too long and was killed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rustix::process::{PidfdFlags, pidfd_open};

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn sh(script: &str, timeout: Duration) -> (End, Printed) {
        run(&["/bin/sh", "-c", script, "sh"], &[("OWN", "a b"), ("HOME", "/none")], timeout)
            .unwrap()
    }

    #[test]
    fn the_end_of_a_program_and_its_last_words_are_returned() {
        let (end, printed) = sh("echo first; echo \"last $OWN $HOME\" >&2; echo; exit 3", LONG);
        assert_eq!(end, End::Exited(3));
        assert_eq!(printed.last_line().as_deref(), Some("last a b /none"));
        let (end, printed) = sh("cat; kill -TERM $$", LONG);
        assert_eq!((end, printed.last_line()), (End::Signalled(Signal::SIGTERM), None));
        let (_, printed) = sh("printf 'x\\033]0;y\\n'", LONG);
        assert_eq!(printed.last_line().as_deref(), Some("x\\x1b]0;y"));
        let missing = run(&["/no/such/script"], &[], LONG).unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound);
    }

    #[test]
    fn a_program_that_hangs_is_killed_with_its_children() {
        let folder = tempfile::tempdir().unwrap();
        let pids = folder.path().join("pids");
        // The child keeps the pipe open, too.
        let script =
            format!("sleep 1000 & echo $$ $! >{0}.new; mv {0}.new {0}; wait", pids.display());
        let started = Instant::now();
        let (end, _) = sh(&script, Duration::from_secs(4));
        assert_eq!(end, End::TimedOut);
        assert!(started.elapsed() >= Duration::from_secs(4) && started.elapsed() < LONG);
        let pids = fs::read_to_string(pids).unwrap();
        for pid in pids.split_whitespace() {
            // Its end is reported also while it is a zombie of its new parent.
            let pid = rustix::process::Pid::from_raw(pid.parse().unwrap()).unwrap();
            if let Ok(ended) = pidfd_open(pid, PidfdFlags::empty()) {
                assert!(readable(ended.as_fd(), Instant::now() + LONG).unwrap(), "{pid:?} is left");
            }
        }
    }

    #[test]
    fn a_child_that_stays_and_a_flood_of_output_delay_nothing() {
        let started = Instant::now();
        let (end, printed) = sh("sleep 30 & echo ready", LONG);
        assert_eq!((end, printed.last_line().as_deref()), (End::Exited(0), Some("ready")));
        assert!(started.elapsed() < Duration::from_secs(20));
        let (end, printed) = sh("while :; do echo again; done", Duration::from_millis(300));
        assert_eq!(end, End::TimedOut);
        assert!(printed.0.len() <= KEPT && printed.last_line().is_some());
    }

    #[test]
    fn signals_are_as_in_a_shell() {
        let blocked = SigSet::from_iter([Signal::SIGTERM, Signal::SIGHUP]);
        blocked.thread_block().unwrap();
        let (end, _) = sh("kill -TERM $$; exit 0", LONG);
        blocked.thread_unblock().unwrap();
        assert_eq!(end, End::Signalled(Signal::SIGTERM));
        let (_, printed) = sh("grep SigIgn /proc/$$/status | cut -f2", LONG);
        let ignored = printed.last_line().unwrap();
        let ignored = u64::from_str_radix(&ignored, 16);
        let pipe = 1 << (Signal::SIGPIPE as u64 - 1);
        assert!(ignored.is_ok_and(|ignored| ignored & pipe == 0), "{printed:?}");
    }

    #[test]
    fn long_words_are_cut() {
        assert_eq!(shown(&"é".repeat(SHOWN)).chars().count(), SHOWN);
        assert_eq!(shown(&"é".repeat(SHOWN + 1)).chars().count(), SHOWN + 1);
    }
}
