// SPDX-License-Identifier: GPL-3.0-or-later
//! Waits until a word appears in a process's output, a console or a log.

use std::fs;
use std::io::Read;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use daemon::wait;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

/// How long to wait. An emulated Linux takes several seconds to boot.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Reads from a stream until its output contains the word, and returns the output.
///
/// # Errors
/// The stream ends first, or the word does not appear within [`PATIENCE`].
pub fn wait_for(from: &mut (impl Read + AsFd), word: &str) -> Result<String> {
    let deadline = Instant::now() + PATIENCE;
    let mut output = Vec::new();
    let mut piece = [0; 512];
    loop {
        let text_so_far = String::from_utf8_lossy(&output);
        if text_so_far.contains(word) {
            return Ok(text_so_far.into_owned());
        }
        ensure!(readable(from, deadline)?, "no {word:?} in time; the output is {}", text(&output));
        let length = from.read(&mut piece)?;
        ensure!(length > 0, "the output ended without {word:?}; it is {}", text(&output));
        output.extend_from_slice(&piece[..length]);
    }
}

/// Empties xenconsoled's log of a guest's console, and returns its path.
///
/// # Errors
/// There is no folder for the logs.
pub fn new_console_log(guest: &str) -> Result<PathBuf> {
    let log = PathBuf::from(format!("/var/log/xen/console/guest-{guest}.log"));
    fs::write(&log, "").context("xenconsoled must run with --log=guest")?;
    Ok(log)
}

/// Waits until an existing log file contains the word.
///
/// # Errors
/// The file does not exist, or the word does not appear within [`PATIENCE`].
pub fn wait_for_log(log: &Path, word: &str) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let changes = Inotify::init(InitFlags::IN_CLOEXEC)?;
    changes.add_watch(log, AddWatchFlags::IN_MODIFY)?;
    loop {
        let content = fs::read(log)?;
        if String::from_utf8_lossy(&content).contains(word) {
            return Ok(());
        }
        ensure!(
            readable(&changes, deadline)?,
            "no {word:?} in time; the log is {}",
            text(&content)
        );
        changes.read_events()?;
    }
}

/// Waits until something can be read. Returns false if nothing can be read by the deadline.
///
/// # Errors
/// The kernel refuses to wait.
pub fn readable(from: &impl AsFd, deadline: Instant) -> Result<bool> {
    Ok(wait::readable(from.as_fd(), deadline)?)
}

fn text(bytes: &[u8]) -> String {
    format!("{:?}", String::from_utf8_lossy(bytes))
}
