// SPDX-License-Identifier: GPL-3.0-or-later
//! Signals that end the program: the terminal gets its modes and its contents back first.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::{fs, io, thread};

use nix::sys::signal::{SigSet, Signal, raise};

/// The signals whose default is to end the program at once.
const SIGNALS: [Signal; 3] = [Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM];

/// The right to draw on the terminal.
#[derive(Debug, Default)]
pub(crate) struct Terminal(Arc<Mutex<()>>);

impl Terminal {
    /// Has a thread restore the terminal when a signal arrives, before the signal ends the program. Call
    /// this before other threads exist: they would get the signal instead.
    ///
    /// # Errors
    /// The signals cannot be blocked, or there is no other thread.
    pub(crate) fn watch() -> io::Result<Self> {
        let mut set = SigSet::empty();
        // `nohup` has the program ignore SIGHUP. Blocked, it would arrive here.
        let ignored = ignored();
        let ends = |signal: &Signal| ignored & 1 << (*signal as u32 - 1) == 0;
        SIGNALS.into_iter().filter(ends).for_each(|signal| set.add(signal));
        set.thread_block()?;
        let terminal = Self::default();
        let of_thread = Arc::clone(&terminal.0);
        thread::Builder::new().name("signals".into()).spawn(move || {
            let Ok(signal) = set.wait() else { return };
            // Nothing is drawn afterwards, because the program ends before this is released.
            let _drawing = lock(&of_thread);
            // The terminal may be gone.
            let _ = ratatui::try_restore();
            // The parent learns from the exit status which signal has ended it.
            let _ = set.thread_unblock().and_then(|()| raise(signal));
        })?;
        Ok(terminal)
    }

    /// Returns the right to draw.
    pub(crate) fn drawing(&self) -> MutexGuard<'_, ()> {
        lock(&self.0)
    }
}

/// Returns the signals that this process ignores, as the bits of their numbers less 1 (proc(5)).
fn ignored() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default()
}

fn lock(mutex: &Mutex<()>) -> MutexGuard<'_, ()> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signals_that_are_ignored_are_known() {
        // The standard library has programs ignore SIGPIPE.
        let bit = |signal: Signal| ignored() >> (signal as u32 - 1) & 1;
        assert_eq!((bit(Signal::SIGPIPE), bit(Signal::SIGTERM)), (1, 0));
    }
}
