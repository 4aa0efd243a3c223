// SPDX-License-Identifier: GPL-3.0-or-later
//! The entry of the program: `main`, as the C library calls it.
//!
//! `unsafe` is needed to export the symbol `main`, to ignore a signal, to borrow descriptors, and to
//! exit.
#![allow(unsafe_code)]

#[cfg(not(test))]
mod replaced;

use std::fs::OpenOptions;
use std::os::fd::{BorrowedFd, IntoRawFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigHandler, Signal, signal};

use crate::cli;

/// Runs the program and exits with its exit code. It needs no arguments: the C library passes `argc`
/// and `argv` to Rust's standard library before, so that [`std::env::args`] works.
// SAFETY: The symbol must be unique in the program. It is, because the crate is `no_main`, so that
// Rust does not generate a `main`. In tests, where Rust does, this one is not exported.
#[cfg_attr(not(test), unsafe(no_mangle))]
#[cfg_attr(test, expect(dead_code, reason = "a test has a main of its own"))]
extern "C" fn main() -> ! {
    open_standard_files();
    // Writing to a closed pipe or socket fails with EPIPE instead of killing the process.
    // SAFETY: A handler must be safe to run at any point. `SIG_IGN` runs no handler.
    let ignored = unsafe { signal(Signal::SIGPIPE, SigHandler::SigIgn) };
    debug_assert!(ignored.is_ok(), "SIGPIPE cannot be ignored");
    let status = cli::run().into();
    // Not `exit`, which would also flush the streams of C, which nothing has used: two page faults
    // for a create. `cli` has flushed what it has printed.
    // SAFETY: `_exit` has no preconditions. No destructor is skipped that matters to others than
    // this process: `run` has returned, so all its values are dropped.
    unsafe { libc::_exit(status) }
}

/// Opens `/dev/null` in place of each closed standard descriptor. Otherwise a device that is opened
/// later would get its number, and messages would be written to the device.
fn open_standard_files() {
    // SAFETY: The number must not be -1: it is 0, 1 or 2. The descriptor must stay open while it is
    // borrowed, so that the borrow never refers to another file. A closed one, which this function
    // looks for, is only passed to `poll`, which reports it as `POLLNVAL`; no other thread runs yet
    // that could open a file with its number.
    let files = [0, 1, 2].map(|fd| unsafe { BorrowedFd::borrow_raw(fd) });
    let mut files = files.map(|file| PollFd::new(file, PollFlags::empty()));
    if poll(&mut files, PollTimeout::ZERO).is_err() {
        return;
    }
    let closed =
        |file: &PollFd<'_>| file.revents().is_some_and(|e| e.contains(PollFlags::POLLNVAL));
    for _ in files.iter().filter(|file| closed(file)) {
        // `open` returns the lowest free number.
        if let Ok(null) = OpenOptions::new().read(true).write(true).open("/dev/null") {
            let _ = null.into_raw_fd();
        }
    }
}
