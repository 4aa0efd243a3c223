// SPDX-License-Identifier: MIT OR Apache-2.0
//! Runs the command, and passes its output and exit status on to the host.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, ErrorKind, PipeReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// The exit statuses that a shell has if a command was not found, or could not be run.
const NOT_FOUND: i32 = 127;
const NOT_RUN: i32 = 126;

/// Runs the command whose NUL-terminated arguments are in `file`. Passes its output on to the host
/// as it arrives, and then reports its exit status, or 128 plus the number of the signal that
/// killed it.
pub(crate) fn run(file: &Path) -> Result<(), String> {
    let text = fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let mut arguments = text
        .split_inclusive(|&byte| byte == 0)
        .map(|argument| OsStr::from_bytes(argument.strip_suffix(b"\0").unwrap_or(argument)));
    let program =
        arguments.next().ok_or_else(|| format!("{}: the file is empty", file.display()))?;
    let [out_port, mut err_port, mut status_port] =
        crate::ports::open(["stdout", "stderr", "status"])?;

    let pipe = |_| io::pipe().map_err(|error| format!("pipe: {error}"));
    let (out, out_end) = pipe(())?;
    let (err, err_end) = pipe(())?;
    let (done, done_end) = pipe(())?;
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(out_end)
        .stderr(err_end)
        .spawn();
    let status = match child {
        Ok(child) => {
            let error = |error| format!("cannot report the command's output: {error}");
            forward(child, done_end, [(out, out_port), (err, err_port)], &done).map_err(error)?
        }
        Err(error) => {
            // Report this on the command's standard error, as a shell does.
            let message = format!("{}: {error}\n", program.display());
            err_port.write_all(message.as_bytes()).map_err(|error| format!("stderr: {error}"))?;
            if error.kind() == ErrorKind::NotFound { NOT_FOUND } else { NOT_RUN }
        }
    };
    writeln!(status_port, "{status}").map_err(|error| format!("cannot report the status: {error}"))
}

/// Copies the output from the pipes to their ports until the command has exited. Does not wait for
/// processes that the command leaves running, though they may still hold the pipes open.
fn forward(
    mut child: Child,
    done_end: io::PipeWriter,
    mut pipes: [(PipeReader, File); 2],
    done: &PipeReader,
) -> io::Result<i32> {
    // A thread waits for the command, and closes its end of a pipe then, which `poll` can wait for.
    let waiter = thread::spawn(move || {
        let status = child.wait();
        drop(done_end);
        status
    });
    for (pipe, _) in &pipes {
        let flags = OFlag::from_bits_truncate(fcntl(pipe, FcntlArg::F_GETFL)?);
        fcntl(pipe, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    }
    // A pipe without writers stays readable forever, so `poll` must not wait for it any longer.
    let mut open = [true; 2];
    loop {
        let wanted = |open| if open { PollFlags::POLLIN } else { PollFlags::empty() };
        let mut waiting = vec![PollFd::new(done.as_fd(), PollFlags::POLLIN)];
        let asked: Vec<usize> = (0..2).filter(|&i| open[i]).collect();
        waiting.extend(asked.iter().map(|&i| PollFd::new(pipes[i].0.as_fd(), wanted(open[i]))));
        poll(&mut waiting, PollTimeout::NONE)?;
        let ready: Vec<bool> = waiting.iter().map(|fd| fd.any() != Some(false)).collect();
        for (&i, _) in asked.iter().zip(&ready[1..]).filter(|&(_, &ready)| ready) {
            let (pipe, port) = &mut pipes[i];
            open[i] = copy(pipe, port)?;
        }
        if ready[0] {
            // The command has exited, so all its output is in the pipes.
            for (pipe, port) in &mut pipes {
                copy(pipe, port)?;
            }
            let status =
                waiter.join().map_err(|_| io::Error::other("the waiting thread failed"))?;
            return status.map(code);
        }
    }
}

/// Copies what is in the pipe now. Returns false if the pipe has no writers any longer.
fn copy(pipe: &mut PipeReader, port: &mut File) -> io::Result<bool> {
    // A virtio port takes as much at once.
    let mut buffer = [0; 32 * 1024];
    loop {
        match pipe.read(&mut buffer) {
            Ok(0) => return Ok(false),
            Ok(n) => port.write_all(&buffer[..n])?,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Returns the number that a shell has for this status.
fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}
