//! Where the C library enters the program.
//!
//! `unsafe`: the name `main` is given to the linker.
#![allow(unsafe_code)]

use std::fs::OpenOptions;
use std::os::fd::{BorrowedFd, IntoRawFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigHandler, Signal, signal};

use crate::cli;

/// Enters the program. Its arguments are where [`std::env::args`] finds them: the C library hands
/// them to Rust's library before.
// SAFETY: no other `main` is linked in: the crate is `no_main`, except where it is tested.
#[cfg_attr(not(test), unsafe(no_mangle))]
#[cfg_attr(test, expect(dead_code, reason = "a test has its own"))]
extern "C" fn main() -> i32 {
    open_standard_files();
    // A peer or a reader that is gone is an error of the write, not the end of this process.
    // SAFETY: ignoring a signal runs no handler.
    let ignored = unsafe { signal(Signal::SIGPIPE, SigHandler::SigIgn) };
    debug_assert!(ignored.is_ok(), "SIGPIPE can be ignored");
    cli::run().into()
}

/// Opens `/dev/null` for each of the standard files that is closed: a device that is opened later
/// must not get its number, or messages would go there.
fn open_standard_files() {
    // SAFETY: the borrows end with the call to `poll`, which says of a closed file that it is.
    let files = [0, 1, 2].map(|fd| unsafe { BorrowedFd::borrow_raw(fd) });
    let mut files = files.map(|file| PollFd::new(file, PollFlags::empty()));
    if poll(&mut files, PollTimeout::ZERO).is_err() {
        return;
    }
    let closed =
        |file: &PollFd<'_>| file.revents().is_some_and(|e| e.contains(PollFlags::POLLNVAL));
    for _ in files.iter().filter(|file| closed(file)) {
        // The lowest free number is given out first.
        if let Ok(null) = OpenOptions::new().read(true).write(true).open("/dev/null") {
            let _ = null.into_raw_fd();
        }
    }
}
