// SPDX-License-Identifier: GPL-3.0-or-later
//! Finds and restarts `noxsd`.

use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::run::run;

/// Returns the process ID of `noxsd`.
///
/// # Panics
/// `noxsd` is not running.
#[track_caller]
#[must_use]
pub fn noxsd_pid() -> i32 {
    find().expect("noxsd is running")
}

fn find() -> Option<i32> {
    fs::read_dir("/proc")
        .expect("/proc is mounted")
        .flatten()
        .find(|entry| {
            fs::read_to_string(entry.path().join("comm")).is_ok_and(|comm| comm.trim() == "noxsd")
        })
        .and_then(|entry| entry.file_name().to_string_lossy().parse().ok())
}

/// Kills `noxsd` with SIGKILL, if it runs, starts it again, and returns when it is ready.
///
/// # Panics
/// `noxsd` cannot be started.
#[track_caller]
pub fn restart_noxsd() {
    kill_noxsd();
    start_noxsd();
}

/// Kills `noxsd` with SIGKILL, if it runs.
///
/// # Panics
/// It cannot be killed.
pub fn kill_noxsd() {
    if let Some(pid) = find() {
        kill(Pid::from_raw(pid), Signal::SIGKILL).expect("noxsd can be killed");
    }
}

/// Starts `noxsd` and returns when it is ready.
#[track_caller]
pub(crate) fn start_noxsd() {
    run("start-noxsd", &[]).ok();
}
