// SPDX-License-Identifier: MIT OR Apache-2.0
//! The log on standard error.

use std::io;

use tracing::level_filters::LevelFilter;

/// Starts to log messages of `level` and above to standard error. Call it once, before anything
/// else.
///
/// # Panics
/// If it was called before.
pub fn start(level: LevelFilter) {
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(io::stderr)
        .with_target(false)
        .with_ansi(false)
        // A closed standard error must not stop the daemon: reporting the failure would panic.
        .log_internal_errors(false)
        .init();
}
