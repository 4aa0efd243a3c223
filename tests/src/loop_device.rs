// SPDX-License-Identifier: GPL-3.0-or-later
//! Attaches a file to a loop device for a test.

use crate::run::run;

/// A loop device, which is detached when dropped.
#[derive(Debug)]
pub struct LoopDevice {
    /// Its path.
    pub path: String,
}

impl LoopDevice {
    /// Attaches a file to a free loop device.
    ///
    /// # Panics
    /// There is none, or the file does not exist.
    #[track_caller]
    #[must_use]
    pub fn of(file: &str) -> Self {
        let path = run("losetup", &["-f"]).ok().trim().to_owned();
        run("losetup", &[&path, file]).ok();
        Self { path }
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        run("losetup", &["-d", &self.path]).ok();
    }
}
