// SPDX-License-Identifier: GPL-3.0-or-later
//! Waits until a file has the expected content, or a condition is true.

use std::fs;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

/// The timeout of every wait. It is long because emulated machines are slow.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Waits until a file's content is as wanted, and returns it. `what` says in the panic's message
/// what is wanted.
///
/// # Panics
/// The content is not as wanted in time, or the file does not exist.
#[track_caller]
pub fn wait_for_file(path: &str, what: &str, mut wanted: impl FnMut(&str) -> bool) -> String {
    let inotify =
        Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).expect("inotify can be used");
    inotify.add_watch(path, AddWatchFlags::IN_MODIFY).expect("the file exists");
    let deadline = Instant::now() + PATIENCE;
    loop {
        let content = fs::read(path).expect("the file can be read");
        let content = String::from_utf8_lossy(&content).into_owned();
        if wanted(&content) {
            return content;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        assert!(!left.is_zero(), "{path} does not contain {what:?} in time:\n{content}");
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let fd = PollFd::new(inotify.as_fd(), PollFlags::POLLIN);
        poll(&mut [fd], timeout).expect("inotify can be polled");
        // The events themselves do not matter, because the whole file is read again.
        let _ = inotify.read_events();
    }
}

/// How often a condition is checked that no file shows.
const INTERVAL: Duration = Duration::from_millis(100);

/// Waits until a condition is true, which is checked whenever one of the files changes, and from
/// time to time. `what` says in the panic's message what is wanted.
///
/// # Panics
/// It does not become true in time, or a file does not exist.
#[track_caller]
pub fn wait_for_change(paths: &[&str], what: &str, mut condition: impl FnMut() -> bool) {
    let inotify =
        Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).expect("inotify can be used");
    for path in paths {
        inotify.add_watch(*path, AddWatchFlags::IN_MODIFY).expect("the file exists");
    }
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}: not in time");
        let fd = PollFd::new(inotify.as_fd(), PollFlags::POLLIN);
        let interval = PollTimeout::try_from(INTERVAL).unwrap_or(PollTimeout::MAX);
        poll(&mut [fd], interval).expect("inotify can be polled");
        let _ = inotify.read_events();
    }
}
