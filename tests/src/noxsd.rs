//! `noxsd` in a test.

use std::fs;

use crate::run::run;

/// Kills `noxsd` with SIGKILL and starts it again; returns when it is ready.
///
/// # Panics
/// It does not come back.
#[track_caller]
pub fn restart_noxsd() {
    for entry in fs::read_dir("/proc").expect("/proc is there").flatten() {
        let comm = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        if let (Ok(pid), "noxsd") = (entry.file_name().to_string_lossy().parse::<i32>(), comm.trim())
        {
            nix::sys::signal::kill(
                nix::unistd::Pid::from_raw(pid),
                nix::sys::signal::Signal::SIGKILL,
            )
            .expect("noxsd can be killed");
        }
    }
    run("start-noxsd", &[]).ok();
}
