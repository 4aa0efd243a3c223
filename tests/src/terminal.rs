// SPDX-License-Identifier: GPL-3.0-or-later
//! A program on a pseudo-terminal.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{Termios, tcgetattr};
use nix::unistd::{Pid, write};

use crate::watch::PATIENCE;

/// A program on a pseudo-terminal of its own, which is its controlling terminal.
#[derive(Debug)]
pub struct OnTerminal {
    program: Child,
    /// The end of the terminal that a person has.
    screen: File,
    /// The end of the program. As long as it is open, the terminal exists.
    line: OwnedFd,
    /// The terminal's modes before the program has started.
    modes: Termios,
    shown: Vec<u8>,
}

impl OnTerminal {
    /// Starts a program on a terminal of this size.
    ///
    /// # Panics
    /// There is no terminal, or the program cannot be started.
    #[must_use]
    pub fn start(command: &[&str], columns: u16, rows: u16) -> Self {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let pair = openpty(Some(&size), None).expect("the kernel has pseudo-terminals");
        let modes = tcgetattr(&pair.slave).expect("a terminal has modes");
        let end = || Stdio::from(pair.slave.try_clone().expect("a descriptor can be copied"));
        // The terminal must be the controlling one, or the program learns of no new size.
        let program = Command::new("setsid")
            .arg("-c")
            .args(command)
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .expect("setsid can be started");
        let (screen, shown) = (File::from(pair.master), Vec::new());
        Self { program, screen, line: pair.slave, modes, shown }
    }

    /// Waits until the program has shown some text, and returns what it has shown from the end of the text of
    /// the last call to the end of this one, with its commands for the terminal.
    ///
    /// # Panics
    /// It does not show the text in time (two minutes).
    #[track_caller]
    pub fn wait_for(&mut self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = self.shown.windows(text.len()).position(|part| part == text.as_bytes());
            if let Some(at) = found {
                let rest = self.shown.split_off(at + text.len());
                let shown = std::mem::replace(&mut self.shown, rest);
                return String::from_utf8_lossy(&shown).into_owned();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let shown = String::from_utf8_lossy(&self.shown);
            assert!(!left.is_zero(), "{text:?} is not shown in time: {shown:?}");
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            let mut ready = [PollFd::new(self.screen.as_fd(), PollFlags::POLLIN)];
            if poll(&mut ready, timeout).expect("a terminal can be polled") > 0 {
                let mut bytes = [0; 4096];
                let count = self.screen.read(&mut bytes).expect("its other end is open");
                self.shown.extend_from_slice(&bytes[..count]);
            }
        }
    }

    /// Types keys.
    ///
    /// # Panics
    /// The terminal takes no keys.
    pub fn type_keys(&self, keys: &[u8]) {
        assert_eq!(write(&self.screen, keys).expect("a terminal takes keys"), keys.len());
    }

    /// Changes the terminal's size.
    ///
    /// # Panics
    /// `stty` fails.
    pub fn resize(&self, columns: u16, rows: u16) {
        let status = Command::new("stty")
            .args(["cols", &columns.to_string(), "rows", &rows.to_string()])
            .stdin(self.line.try_clone().expect("a descriptor can be copied"))
            .status();
        assert!(status.expect("stty can be started").success(), "stty failed");
    }

    /// Sends the program a signal.
    ///
    /// # Panics
    /// The program has exited.
    pub fn kill(&self, signal: Signal) {
        let pid = i32::try_from(self.program.id()).expect("a process id");
        kill(Pid::from_raw(pid), signal).expect("it runs");
    }

    /// Returns whether the terminal has the modes that it had before the program has started.
    ///
    /// # Panics
    /// They cannot be read.
    #[must_use]
    pub fn has_its_modes(&self) -> bool {
        tcgetattr(&self.line).expect("a terminal has modes") == self.modes
    }

    /// Waits for the program's exit. Returns its exit code, and the signal that has ended it.
    ///
    /// # Panics
    /// It cannot be waited for.
    pub fn exit(&mut self) -> (Option<i32>, Option<i32>) {
        let status = self.program.wait().expect("it is a child");
        (status.code(), status.signal())
    }
}

impl Drop for OnTerminal {
    fn drop(&mut self) {
        // A test that failed may have left it.
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}
