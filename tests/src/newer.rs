//! The programs of a newer release: the same, but for a newer version of the sockets' messages.

use std::env;
use std::process::Command;

use crate::noxsd::{kill_noxsd, start_noxsd};
use crate::run::{Ran, run, run_command};

/// Where `scripts/test` has put them.
const FOLDER: &str = "/usr/local/lib/chaos-newer";

/// A newer `noxsd` in place of the usual one, which comes back when this is dropped.
#[derive(Debug)]
pub struct NewerNoxsd(());

impl NewerNoxsd {
    /// Kills `noxsd` with SIGKILL and starts the newer one; returns when it is ready.
    ///
    /// # Panics
    /// `noxsd` does not run, or the newer one does not start.
    #[track_caller]
    #[must_use]
    pub fn replace() -> Self {
        kill_noxsd();
        let path = env::var("PATH").unwrap_or_default();
        // From here on the usual one is to come back, also if this one does not start.
        let newer = Self(());
        let mut start = Command::new("start-noxsd");
        run_command(start.env("PATH", format!("{FOLDER}:{path}"))).ok();
        newer
    }
}

impl Drop for NewerNoxsd {
    fn drop(&mut self) {
        kill_noxsd();
        start_noxsd();
    }
}

/// The path of a newer program.
///
/// # Panics
/// It is not there.
#[track_caller]
#[must_use]
pub fn newer(program: &str) -> String {
    let path = format!("{FOLDER}/{program}");
    assert!(std::fs::exists(&path).is_ok_and(|is| is), "{path} is missing; use scripts/test");
    path
}

/// Runs the newer `chaos`.
///
/// # Panics
/// It cannot be started.
#[track_caller]
#[must_use]
pub fn newer_chaos(args: &[&str]) -> Ran {
    run(&newer("chaos"), args)
}
