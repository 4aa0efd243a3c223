//! Running the command and passing on what it says.

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

/// As a shell has it: the command was not found, or could not be run.
const NOT_FOUND: i32 = 127;
const NOT_RUN: i32 = 126;

/// Runs the command whose NUL-terminated arguments `file` holds, with its output going to the
/// host as it comes, and reports its exit status, or 128 and the signal's number.
pub(crate) fn run(file: &Path) -> Result<(), String> {
    let text = fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let mut words = text
        .split_inclusive(|&byte| byte == 0)
        .map(|word| OsStr::from_bytes(word.strip_suffix(b"\0").unwrap_or(word)));
    let program = words.next().ok_or_else(|| format!("{}: empty", file.display()))?;
    let [out_port, mut err_port, mut status_port] =
        crate::ports::open(["stdout", "stderr", "status"])?;

    let pipe = |_| io::pipe().map_err(|error| format!("pipe: {error}"));
    let (out, out_end) = pipe(())?;
    let (err, err_end) = pipe(())?;
    let (done, done_end) = pipe(())?;
    let child = Command::new(program)
        .args(words)
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
            // The host must learn this as the command's own message.
            let message = format!("{}: {error}\n", program.display());
            err_port.write_all(message.as_bytes()).map_err(|error| format!("stderr: {error}"))?;
            if error.kind() == ErrorKind::NotFound { NOT_FOUND } else { NOT_RUN }
        }
    };
    writeln!(status_port, "{status}").map_err(|error| format!("cannot report the status: {error}"))
}

/// Copies what comes through the pipes to their ports until the command has ended. What it left
/// running may still hold the pipes open: that gets no say any more.
fn forward(
    mut child: Child,
    done_end: io::PipeWriter,
    mut pipes: [(PipeReader, File); 2],
    done: &PipeReader,
) -> io::Result<i32> {
    // The thread's end of the pipe closes when the command has ended: one thing to wait for.
    let waiter = thread::spawn(move || {
        let status = child.wait();
        drop(done_end);
        status
    });
    for (pipe, _) in &pipes {
        let flags = OFlag::from_bits_truncate(fcntl(pipe, FcntlArg::F_GETFL)?);
        fcntl(pipe, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    }
    // A pipe whose writers are all gone stays readable for ever: it is no longer asked about.
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
            // The command has ended, so all it wrote is in the pipes.
            for (pipe, port) in &mut pipes {
                copy(pipe, port)?;
            }
            let status =
                waiter.join().map_err(|_| io::Error::other("the waiting thread failed"))?;
            return status.map(code);
        }
    }
}

/// Copies what is there now. False: the pipe's writers are gone.
fn copy(pipe: &mut PipeReader, port: &mut File) -> io::Result<bool> {
    // As much as a virtio port takes at once.
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

/// The number that a shell would have for this status.
fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}
