// SPDX-License-Identifier: GPL-3.0-or-later
//! Processes that are recognized even if their number is reused.

use std::fmt;
use std::str::FromStr;
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::os::fd::AsFd;

use crate::handle;

/// A process: its number, and when it started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Process {
    pid: u32,
    /// In clock ticks after boot.
    started: u64,
}

impl Process {
    /// Returns the process with this number, if it runs.
    pub(super) fn running(pid: u32) -> Option<Self> {
        Some(Self { pid, started: handle::started(pid).ok()? })
    }

    /// Returns a process that had this number and runs no more.
    pub(super) fn exited(pid: u32) -> Self {
        Self { pid, started: u64::MAX }
    }

    /// Returns whether it runs.
    pub(super) fn runs(self) -> bool {
        Self::running(self.pid) == Some(self)
    }

    /// Waits until it has exited. Returns `false` if it has not by then.
    pub(super) fn wait(self, deadline: Instant) -> bool {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        // Open first: then the number is that of this process if it still runs.
        let Some(fd) = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()) else {
            return true;
        };
        if !self.runs() {
            return true;
        }
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            match poll(&mut [PollFd::new(fd.as_fd(), PollFlags::POLLIN)], timeout) {
                Err(Errno::EINTR) => {}
                result => return result.is_ok_and(|ready| ready > 0),
            }
        }
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.pid, self.started)
    }
}

impl FromStr for Process {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (pid, started) = text.split_once('@').ok_or(())?;
        let (Ok(pid), Ok(started)) = (pid.parse(), started.parse()) else { return Err(()) };
        Ok(Self { pid, started })
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_process_is_waited_for_and_not_another_one_with_its_number() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let process = Process::running(child.id()).unwrap();
        assert!(process.runs());
        assert_eq!(process.to_string().parse(), Ok(process));
        assert!(!process.wait(Instant::now()));
        let earlier = Process { started: process.started - 1, ..process };
        assert!(!earlier.runs() && earlier.wait(Instant::now()));
        drop(child.stdin.take());
        // It is a zombie until this process reaps it.
        assert!(process.wait(Instant::now() + Duration::from_secs(60)));
        child.wait().unwrap();
        assert!(!process.runs());
        for text in ["", "1", "@", "1@", "@1", "x@1", "1@x", "1@2@3"] {
            assert_eq!(text.parse::<Process>(), Err(()), "{text}");
        }
    }
}
