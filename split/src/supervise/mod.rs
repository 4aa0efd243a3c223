// SPDX-License-Identifier: GPL-3.0-or-later
//! What happens when a guest exits: it is destroyed, restarted or kept, as its config says.
//!
//! `noxsd` reports that some domain has ended (`VIRQ_DOM_EXC`), not which one, so the supervisor
//! scans Xen's list of domains. The scan also finds guests that ended while no `chaosd` ran, and
//! guests that other processes created. Where xenstored runs, it reports the ends of its own
//! domains only, so the supervisor also scans once a second there
//! ([`scan_regularly`](Supervisor::scan_regularly)).
//!
//! Before the supervisor removes a guest that is to be restarted, it writes a pending restart
//! ([`Records::record_restart`]). So the guest comes back even if this process is killed in
//! between, or if there is not enough memory now. A restart that failed is retried when something
//! has changed: a domain has ended (but only so often, because a failed restart may end one, too),
//! or the configuration was read again. It is also retried a few times by a timer, because some
//! changes are not reported, such as a missing file that was put back.
//!
//! [`Records::record_restart`]: chaos::records::Records::record_restart

mod attempts;
mod census;
mod ended;
mod error;
mod limit;
mod pending;
mod removing;
mod restarting;
mod scan;
mod watch;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Instant;

use chaos::guests::{self, EndedDomain, GuestState, Host};
use chaos::handle::DomainIdentity;
use chaos::records::Record;
use daemon::chain::chain;

use crate::dumps;
use crate::line_limit::LineLimit;
use crate::observe::{Reporter, RestartTally};
use crate::pace::ScanPace;
use crate::removal::Removals;
use attempts::Attempts;
use census::Census;
use limit::RestartLimit;

pub use attempts::{MAX_RETRIES, RETRY};
pub use error::{Obstacle, RestartError};
pub use limit::{MAX_RESTARTS, WINDOW};
pub use watch::RenewedWatch;

/// The most guests of a name that `rename-restart` keeps.
pub const MAX_COPIES: usize = 2;

/// Creates the successors of guests that have ended.
pub trait Successors {
    /// Checks that the files exist from which a guest is created again, so that a guest which cannot
    /// come back is not removed.
    ///
    /// # Errors
    /// A file is missing, or its storage does not answer.
    fn check(&mut self, record: &Record) -> Result<(), RestartError>;

    /// Creates the successor of the guest with this record, and returns its domid.
    ///
    /// # Errors
    /// It cannot be created, or its owner may not have it.
    fn create(&mut self, record: &Record) -> Result<u16, RestartError>;

    /// Ends what was begun for the successor of the guest with this name, which is not created.
    fn cancel(&mut self, name: &str);
}

/// Guests that have ended, and pending restarts.
#[derive(Debug)]
pub struct Supervisor {
    restarts: RestartLimit,
    /// Domains that have ended and need nothing more, by domain, and how they have ended.
    kept: HashMap<DomainIdentity, GuestState>,
    /// Guests that a thread creates, because their vifs have scripts, by name.
    creating: HashMap<String, Record>,
    /// Domains whose end has not been handled yet.
    ended: VecDeque<EndedDomain>,
    /// Domains whose end could not be handled yet, by domain, and the failed attempts.
    postponed: HashMap<DomainIdentity, (EndedDomain, Attempts)>,
    /// The thread that removes large guests.
    removals: Removals,
    /// Pending restarts, by the guest's name.
    pending: BTreeMap<String, Attempts>,
    /// The lines for the log of restarts that wait for a thread, without their ends.
    waiting: BTreeMap<String, String>,
    /// Pending restarts to try now.
    due: VecDeque<String>,
    /// When to scan the domains.
    pace: ScanPace,
    /// The domains of the last scan, if scans are made regularly.
    census: Census,
    /// Whether all domains were looked at once.
    has_scanned: bool,
    /// Limits the lines about guests of users other than root: a guest can end at once.
    lines: LineLimit,
    /// How often guests were restarted.
    tally: RestartTally,
    reporter: Reporter,
}

impl Supervisor {
    /// Returns a supervisor that has not looked at any guest yet.
    #[must_use]
    pub(crate) fn new(removals: Removals, lines: LineLimit) -> Self {
        Self {
            restarts: RestartLimit::default(),
            kept: HashMap::new(),
            creating: HashMap::new(),
            ended: VecDeque::new(),
            postponed: HashMap::new(),
            removals,
            pending: BTreeMap::new(),
            waiting: BTreeMap::new(),
            due: VecDeque::new(),
            pace: ScanPace::default(),
            census: Census::default(),
            has_scanned: false,
            lines,
            tally: RestartTally::default(),
            reporter: Reporter::default(),
        }
    }

    /// Has ends and restarts reported.
    pub(crate) fn report_to(&mut self, reporter: Reporter) {
        self.reporter = reporter;
    }

    /// Returns how often guests were restarted.
    pub(crate) fn restart_tally(&self) -> &RestartTally {
        &self.tally
    }

    /// Returns how many restarts are pending.
    pub(crate) fn pending_restarts(&self) -> usize {
        self.pending.len()
    }

    /// Takes over the restarts that an earlier `chaosd` left pending.
    pub fn take_over(&mut self, host: &Host) {
        dumps::clear_unfinished();
        match host.records.restarts() {
            Ok(names) => {
                self.pending = names.into_iter().map(|name| (name, Attempts::default())).collect();
            }
            Err(error) => {
                tracing::error!("cannot read the pending restarts: {}", chain(&error));
            }
        }
    }

    /// Notes that some guest may have ended. [`run_timers`](Self::run_timers) finds out which.
    pub fn note_end(&mut self) {
        self.pace.note_end();
    }

    /// Has scans made once a second, too, if domains may end without a report.
    pub fn scan_regularly(&mut self, is_regular: bool) {
        self.pace.scan_regularly(is_regular);
        if !is_regular {
            self.census.clear();
        }
    }

    /// Scans for guests that have ended, and makes all pending restarts due: they may succeed now.
    pub fn scan(&mut self, host: &Host) {
        self.scan_ended(host);
        self.ended.extend(self.postponed.values().map(|(one, _)| *one));
        self.due = self.pending.keys().cloned().collect();
    }

    /// Returns when to call [`run_timers`](Self::run_timers).
    #[must_use]
    pub fn next_timer(&self, now: Instant) -> Option<Instant> {
        let postponed = self.postponed.values().map(|(_, attempts)| attempts);
        let pending = self.pending.values().chain(postponed).filter_map(Attempts::next);
        pending.chain(self.pace.next(now)).min()
    }

    /// Scans for guests that have ended, and makes pending restarts due, if it is time for that.
    pub fn run_timers(&mut self, host: &Host, now: Instant) {
        if self.pace.is_due(now) && self.scan_ended(host) {
            self.bring_forward(now);
        }
        self.take_due(now);
    }

    /// Brings pending restarts and postponed ends forward, because a domain has ended.
    fn bring_forward(&mut self, now: Instant) {
        let postponed = self.postponed.values_mut().map(|(_, attempts)| attempts);
        for attempts in self.pending.values_mut().chain(postponed) {
            attempts.bring_forward(now);
        }
    }

    /// Makes the pending restarts and postponed ends due whose timers have expired.
    fn take_due(&mut self, now: Instant) {
        for (one, attempts) in self.postponed.values_mut() {
            if attempts.take_due(now) && !self.ended.contains(one) {
                self.ended.push_back(*one);
            }
        }
        for (name, attempts) in &mut self.pending {
            if attempts.take_due(now) && !self.due.contains(name) {
                self.due.push_back(name.clone());
            }
        }
    }

    /// Returns whether [`turn`](Self::turn) has something to do.
    #[must_use]
    pub fn has_turns(&self) -> bool {
        !self.ended.is_empty() || !self.due.is_empty()
    }

    /// Handles one guest that has ended, or tries one pending restart.
    pub fn turn(&mut self, host: &Host, successors: &mut impl Successors) {
        let now = Instant::now();
        if let Some(one) = self.ended.pop_front() {
            let postponed = self.postponed.remove(&one.identity()).map(|(_, attempts)| attempts);
            match guests::ended_guest(host, one.domid) {
                Ok(Some(guest)) if guest.record.handle == one.handle => {
                    match self.handle_end(host, &guest, successors, now) {
                        Ok(None) => {}
                        Ok(Some(removal)) => {
                            // The thread locks the guest's devices itself.
                            drop(guest);
                            self.order_removal(host, removal);
                        }
                        Err(error) if error.is_locked() => {
                            self.try_later(one, postponed, &error, now);
                        }
                        Err(error) if error.may_pass() => {
                            let name = guest.record.name();
                            let mut attempts = postponed.unwrap_or_default();
                            attempts.owner = Some(guest.record.owner);
                            self.postpone(one, attempts, name, &error, now);
                        }
                        Err(error) => self.give_up(host, &guest, &error),
                    }
                }
                // It was removed in the meantime, is another toolstack's, or is suspended: the toolstack
                // that suspends a guest resumes or destroys it.
                Ok(_) => {
                    if one.state == GuestState::Suspended {
                        tracing::info!("domain {} is suspended and is kept", one.domid);
                    }
                    self.kept.insert(one.identity(), one.state);
                }
                Err(error) if error.is_locked() => self.try_later(one, postponed, &error, now),
                Err(error) => {
                    tracing::error!(
                        "cannot read how domain {} ended: {}",
                        one.domid,
                        chain(&error)
                    );
                }
            }
        } else if let Some(name) = self.due.pop_front() {
            self.retry(host, &name, successors, now);
        }
    }

    /// Tries a pending restart whose kernel was read meanwhile.
    pub fn retry_now(&mut self, host: &Host, name: &str, successors: &mut impl Successors) {
        self.retry(host, name, successors, Instant::now());
    }

    /// Has the end of a guest handled again soon, because a command is changing the guest.
    fn try_later(
        &mut self,
        one: EndedDomain,
        attempts: Option<Attempts>,
        error: &(dyn std::error::Error + 'static),
        now: Instant,
    ) {
        tracing::info!("{}; chaosd tries again", chain(error));
        let mut attempts = attempts.unwrap_or_default();
        attempts.wait_until(now + RETRY);
        self.postponed.insert(one.identity(), (one, attempts));
    }

    /// Has the end of a guest handled again as a pending restart is tried again.
    fn postpone(
        &mut self,
        one: EndedDomain,
        mut attempts: Attempts,
        name: &str,
        error: &RestartError,
        now: Instant,
    ) {
        attempts.failed(name, error, now, &self.lines);
        self.postponed.insert(one.identity(), (one, attempts));
    }
}

#[cfg(test)]
mod tests;
