// SPDX-License-Identifier: GPL-3.0-or-later
//! Programs that stand for a newer release: the same code with a newer version of the protocols.

use std::env;
use std::process::Command;

use crate::noxsd::{kill_noxsd, start_noxsd};
use crate::run::{Ran, run, run_command};

/// The folder to which `scripts/test` copies them.
const FOLDER: &str = "/usr/local/lib/chaos-newer";

/// A newer `noxsd` in place of the usual one. Dropping it restarts the usual one.
#[derive(Debug)]
pub struct NewerNoxsd(());

impl NewerNoxsd {
    /// Kills `noxsd` with SIGKILL, starts the newer one, and returns when it is ready.
    ///
    /// # Panics
    /// The newer one does not start.
    #[track_caller]
    #[must_use]
    pub fn replace() -> Self {
        kill_noxsd();
        let path = env::var("PATH").unwrap_or_default();
        // Create the guard first: the usual one must be restarted even if the newer one fails.
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

/// Returns the path of a newer program.
///
/// # Panics
/// The program does not exist.
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
