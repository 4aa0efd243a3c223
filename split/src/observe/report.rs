// SPDX-License-Identifier: GPL-3.0-or-later
//! What the main thread reports. It never waits for the thread that serves the reports: if that is
//! behind by too many, further ones are only counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use chaos::clients::chaosd::protocol::Origin;
use chaos::config::Action;
use chaos::guests::GuestState;
use chaos::handle::DomainIdentity;
use mio::Waker;

/// The most reports that wait.
const MAX_WAITING: usize = 4096;

/// A report. `name` is that of the guest.
#[derive(Clone, Debug)]
pub enum Report {
    /// A guest was created.
    Created {
        /// The guest.
        name: String,
        /// Its domain.
        identity: DomainIdentity,
        /// The origin of its shell.
        origin: Origin,
    },
    /// A guest has ended.
    Ended {
        /// The guest.
        name: String,
        /// Its domain.
        identity: DomainIdentity,
        /// How it has ended.
        how: GuestState,
        /// What is done with it.
        action: Action,
    },
    /// A guest was created again.
    Restarted {
        /// The guest.
        name: String,
        /// Its new domid.
        domid: u16,
    },
}

/// What both threads share.
#[derive(Debug, Default)]
struct Shared {
    /// Whether anyone wants reports.
    is_wanted: AtomicBool,
    /// Number of reports that were dropped.
    missed: AtomicU64,
}

/// Sends reports. Without a thread that serves them, it drops them.
#[derive(Clone, Debug, Default)]
pub struct Reporter(Option<(SyncSender<Report>, Arc<Shared>, Arc<Waker>)>);

/// Takes reports.
#[derive(Debug)]
pub(super) struct Reports {
    reports: Receiver<Report>,
    shared: Arc<Shared>,
}

/// Returns the two ends. `waker` wakes the thread that takes the reports.
pub(super) fn reports(waker: Arc<Waker>) -> (Reporter, Reports) {
    let (sender, reports) = sync_channel(MAX_WAITING);
    let shared = Arc::new(Shared::default());
    (Reporter(Some((sender, Arc::clone(&shared), waker))), Reports { reports, shared })
}

impl Reporter {
    /// Sends a report, if anyone wants one.
    pub fn send(&self, report: impl FnOnce() -> Report) {
        let Some((sender, shared, waker)) = &self.0 else { return };
        if !shared.is_wanted.load(Ordering::Relaxed) {
            return;
        }
        match sender.try_send(report()) {
            Ok(()) => {
                // If it fails, the report is taken when something else wakes the thread.
                let _ = waker.wake();
            }
            Err(TrySendError::Full(_)) => {
                shared.missed.fetch_add(1, Ordering::Relaxed);
            }
            // The thread has panicked, which the log says.
            Err(TrySendError::Disconnected(_)) => {}
        }
    }
}

impl Reports {
    /// Says whether reports are wanted. Those that wait are dropped when they no longer are.
    pub(super) fn want(&self, is_wanted: bool) {
        self.shared.is_wanted.store(is_wanted, Ordering::Relaxed);
        if !is_wanted {
            self.reports.try_iter().for_each(drop);
            self.take_missed();
        }
    }

    /// Takes the next report.
    pub(super) fn take(&self) -> Option<Report> {
        self.reports.try_recv().ok()
    }

    /// Returns how many reports were dropped since the last call.
    pub(super) fn take_missed(&self) -> u64 {
        self.shared.missed.swap(0, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use mio::{Poll, Token};

    use super::*;

    fn restarted(domid: u16) -> Report {
        Report::Restarted { name: "a".to_owned(), domid }
    }

    #[test]
    fn reports_are_dropped_unless_wanted_and_counted_if_too_many_wait() {
        let poll = Poll::new().unwrap();
        let waker = Arc::new(Waker::new(poll.registry(), Token(0)).unwrap());
        Reporter::default().send(|| unreachable!("no thread takes it"));
        let (reporter, reports) = reports(waker);
        reporter.send(|| unreachable!("it is not wanted"));
        reports.want(true);
        for domid in 0..u16::try_from(MAX_WAITING).unwrap() + 3 {
            reporter.send(|| restarted(domid));
        }
        assert!(matches!(reports.take(), Some(Report::Restarted { domid: 0, .. })));
        assert_eq!((reports.take_missed(), reports.take_missed()), (3, 0));
        reports.want(false);
        assert!(reports.take().is_none());
    }
}
