//! Finds and restarts `noxsd` in a test.

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
    fs::read_dir("/proc")
        .expect("/proc is mounted")
        .flatten()
        .find(|entry| {
            fs::read_to_string(entry.path().join("comm")).is_ok_and(|comm| comm.trim() == "noxsd")
        })
        .and_then(|entry| entry.file_name().to_string_lossy().parse().ok())
        .expect("noxsd is running")
}

/// Kills `noxsd` with SIGKILL, restarts it, and returns when it is ready.
///
/// # Panics
/// `noxsd` is not running, or cannot be restarted.
#[track_caller]
pub fn restart_noxsd() {
    kill(Pid::from_raw(noxsd_pid()), Signal::SIGKILL).expect("noxsd can be killed");
    run("start-noxsd", &[]).ok();
}
