// SPDX-License-Identifier: GPL-3.0-or-later
//! Programs of dom0 that run for a limited time: their process group, and the end of what they print.

use std::io::{self, PipeReader, PipeWriter, Read};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use rustix::io::{Errno, retry_on_intr};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, kill_process_group, pidfd_open, waitpid,
};

/// A child that leads a process group. When this is dropped, all of the group is killed, unless the child
/// was waited for.
pub(crate) struct GroupLeader {
    pid: Pid,
    is_over: bool,
}

impl GroupLeader {
    /// Takes care of a child that leads its group, and that nothing else waits for.
    pub(crate) fn new(pid: Pid) -> Self {
        Self { pid, is_over: false }
    }

    /// Returns a descriptor that can be read when the child has ended.
    ///
    /// # Errors
    /// The kernel refuses.
    pub(crate) fn end(&self) -> io::Result<OwnedFd> {
        Ok(pidfd_open(self.pid, PidfdFlags::empty())?)
    }

    /// Waits for the child. The rest of its group may stay.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub(crate) fn wait(&mut self) -> io::Result<ExitStatus> {
        let waited = retry_on_intr(|| waitpid(Some(self.pid), WaitOptions::empty()))?;
        self.is_over = true;
        let (_, status) = waited.ok_or(Errno::CHILD)?;
        Ok(ExitStatus::from_raw(status.as_raw()))
    }
}

impl Drop for GroupLeader {
    fn drop(&mut self) {
        if !self.is_over {
            // It may have ended meanwhile. Its group keeps its number until it is waited for.
            let _ = kill_process_group(self.pid, Signal::KILL);
            let _ = self.wait();
        }
    }
}

/// Returns a pipe for what a program prints. Reading from it does not block.
///
/// # Errors
/// The kernel refuses.
pub(crate) fn pipe() -> io::Result<(PipeReader, PipeWriter)> {
    let (reader, writer) = io::pipe()?;
    fcntl(&reader, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok((reader, writer))
}

/// The end of what a program printed: at most the last `KEPT` bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tail<const KEPT: usize>(Vec<u8>);

impl<const KEPT: usize> Tail<KEPT> {
    /// Reads what there is in a [`pipe`], up to so many pieces of `KEPT` bytes. Returns `false` at the end.
    ///
    /// # Errors
    /// The kernel refuses.
    pub(crate) fn read(&mut self, reader: &mut PipeReader, pieces: usize) -> io::Result<bool> {
        let mut piece = [0; KEPT];
        for _ in 0..pieces {
            match reader.read(&mut piece) {
                Ok(0) => return Ok(false),
                Ok(length) => {
                    self.0.extend(&piece[..length]);
                    self.0.drain(..self.0.len().saturating_sub(KEPT));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns the lines that are not empty, without blanks around them.
    pub(crate) fn lines(&self) -> Vec<String> {
        let text = String::from_utf8_lossy(&self.0);
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        lines.map(str::to_owned).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn the_end_of_what_is_printed_is_kept() {
        let (mut reader, mut writer) = pipe().unwrap();
        let mut tail = Tail::<8>::default();
        assert!(tail.read(&mut reader, 9).unwrap(), "nothing yet");
        writer.write_all(b"first\n\n last \n").unwrap();
        assert!(tail.read(&mut reader, 1).unwrap());
        assert_eq!(tail.lines(), ["first"]);
        assert!(tail.read(&mut reader, 9).unwrap());
        assert_eq!((tail.lines(), tail.len()), (vec!["last".to_owned()], 8));
        drop(writer);
        assert!(!tail.read(&mut reader, 9).unwrap());
    }
}
