// SPDX-License-Identifier: GPL-3.0-or-later
//! Attaches a file to a loop device for a test.

use std::fs::File;
use std::os::fd::AsRawFd;

use crate::run::run;

// LOOP_SET_BLOCK_SIZE of linux/loop.h.
nix::ioctl_write_int_bad!(loop_set_block_size, 0x4c09);

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
        Self::with_options(&[], file)
    }

    /// Attaches a file to a free loop device that refuses writes.
    ///
    /// # Panics
    /// As [`of`](Self::of).
    #[track_caller]
    #[must_use]
    pub fn read_only(file: &str) -> Self {
        Self::with_options(&["-r"], file)
    }

    #[track_caller]
    fn with_options(options: &[&str], file: &str) -> Self {
        let path = run("losetup", &["-f"]).ok().trim().to_owned();
        run("losetup", &[options, &[&path, file]].concat()).ok();
        Self { path }
    }

    /// Sets the size of the sectors in bytes, which BusyBox' losetup cannot do.
    ///
    /// # Panics
    /// The kernel does not support the size.
    #[allow(unsafe_code)]
    #[track_caller]
    #[must_use]
    pub fn with_sectors(self, size: i32) -> Self {
        let device = File::open(&self.path).expect("the device can be opened");
        // SAFETY: the descriptor must be open, and the request must take no pointer. `device` is open,
        // and `LOOP_SET_BLOCK_SIZE` takes a number.
        unsafe { loop_set_block_size(device.as_raw_fd(), size) }.expect("the kernel supports it");
        self
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        run("losetup", &["-d", &self.path]).ok();
    }
}
