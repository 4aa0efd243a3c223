// SPDX-License-Identifier: GPL-3.0-or-later
//! Connects the terminal to a guest's console.

use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use nix::unistd::{read, write};

use super::failure::Failure;
use super::output::Output;

/// Ctrl-], which detaches, as in `xl console` and telnet.
const DETACH: u8 = 0x1d;

/// Copies between the terminal and the console until the user detaches or the guest is destroyed.
/// At the end of standard input, such as that of a pipe, output is still copied.
///
/// # Errors
/// The terminal or the console cannot be read or written.
pub(crate) fn run(connection: &OwnedFd) -> Result<(), Failure> {
    let stdin = io::stdin();
    let _raw = RawTerminal::enter()?;
    let mut buffer = [0; 4096];
    let mut input_open = true;
    loop {
        let mut fds = vec![PollFd::new(connection.as_fd(), PollFlags::POLLIN)];
        if input_open {
            fds.push(PollFd::new(stdin.as_fd(), PollFlags::POLLIN));
        }
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(Failure::Console(errno)),
        }
        let ready = |fd: &PollFd<'_>| fd.any().unwrap_or(false);
        let (output_ready, input_ready) = (ready(&fds[0]), fds.get(1).is_some_and(ready));
        if output_ready {
            match read(connection, &mut buffer) {
                // EIO: the other end of the terminal is closed.
                Ok(0) | Err(Errno::ECONNRESET | Errno::EIO) => return Ok(()),
                Ok(length) => print(&buffer[..length])?,
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(Failure::Console(errno)),
            }
        }
        if input_ready {
            match read(stdin.as_fd(), &mut buffer) {
                Ok(0) => input_open = false,
                Ok(length) => {
                    let typed = &buffer[..length];
                    let end = typed.iter().position(|byte| *byte == DETACH);
                    let sent = &typed[..end.unwrap_or(length)];
                    if !sent.is_empty() {
                        write(connection, sent).map_err(Failure::Console)?;
                    }
                    if end.is_some() {
                        return Ok(());
                    }
                }
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(Failure::Console(errno)),
            }
        }
    }
}

/// Prints a console's output until the guest is destroyed, or standard output is closed.
///
/// # Errors
/// The console cannot be read, or standard output cannot be written.
pub(crate) fn follow(connection: &OwnedFd, output: &mut Output) -> Result<(), Failure> {
    let mut buffer = [0; 4096];
    while !output.has_failed() {
        match read(connection, &mut buffer) {
            Ok(0) | Err(Errno::ECONNRESET) => break,
            Ok(length) => {
                output.of_guest(&buffer[..length]);
                output.flush();
            }
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(Failure::Console(errno)),
        }
    }
    Ok(())
}

fn print(mut bytes: &[u8]) -> Result<(), Failure> {
    while !bytes.is_empty() {
        match write(io::stdout().as_fd(), bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(Failure::Console(errno)),
        }
    }
    Ok(())
}

/// Raw mode of the terminal, in which each key is read as it is typed. Dropping this restores the
/// former settings.
struct RawTerminal {
    /// `None` if standard input is not a terminal.
    before: Option<Termios>,
}

impl RawTerminal {
    fn enter() -> Result<Self, Failure> {
        let stdin = io::stdin();
        if !stdin.is_terminal() {
            return Ok(Self { before: None });
        }
        let before = tcgetattr(&stdin).map_err(Failure::Console)?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        tcsetattr(&stdin, SetArg::TCSANOW, &raw).map_err(Failure::Console)?;
        Ok(Self { before: Some(before) })
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            // If this fails, the terminal is gone, and so are its settings.
            let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, before);
        }
    }
}
