// SPDX-License-Identifier: GPL-3.0-or-later
//! Carries out pending restarts.

use std::time::Instant;

use chaos::guests::{self, Host};
use chaos::records::Record;
use daemon::chain::chain;
use xen::units::DomId;

use super::attempts::Attempts;
use super::pending::Pending;
use super::{RestartError, Successors, Supervisor, pending};
use crate::observe::Report;

impl Supervisor {
    /// Tries a restart that is pending.
    pub(super) fn retry(
        &mut self,
        host: &Host,
        name: &str,
        successors: &mut impl Successors,
        now: Instant,
    ) {
        if self.creating.contains_key(name) {
            return;
        }
        match pending::read(host, name) {
            Ok(Pending::Guest(record)) => {
                let what = self.waiting.remove(name);
                let what = what.unwrap_or_else(|| format!("{name}, which had ended,"));
                self.restart(host, &record, successors, what);
            }
            Ok(Pending::Cancelled) => {
                successors.cancel(name);
                if self.forget(name) {
                    tracing::info!("{name} is not restarted: it was destroyed");
                }
            }
            Ok(Pending::NameTaken) => {
                successors.cancel(name);
                pending::cancel(&host.records, name);
                if self.forget(name) {
                    tracing::info!("{name} is not restarted: another guest has its name");
                }
            }
            Err(error) => self.failed(name, &error, now),
        }
    }

    /// Creates a guest whose restart is pending. `what` is the log line without its end.
    pub(super) fn restart(
        &mut self,
        host: &Host,
        record: &Record,
        successors: &mut impl Successors,
        what: String,
    ) {
        if let Some((domid, what)) = self.create(record, successors, what) {
            self.restarted(host, record, domid, &what);
        }
    }

    /// Creates a guest whose restart is pending, and returns its domid and the log line. Returns `None` if
    /// it failed, or something must be waited for.
    pub(super) fn create(
        &mut self,
        record: &Record,
        successors: &mut impl Successors,
        what: String,
    ) -> Option<(u16, String)> {
        let error = match successors.create(record) {
            Ok(domid) => return Some((domid, what)),
            Err(error) => error,
        };
        let name = record.name();
        let attempts = self.pending_restart(name, record.owner);
        match error {
            RestartError::Reading | RestartError::Booting => {}
            RestartError::Resting { until } => attempts.wait_until(until),
            RestartError::InThread => {
                self.creating.insert(name.to_owned(), record.clone());
            }
            error => {
                self.failed(name, &error, Instant::now());
                return None;
            }
        }
        self.waiting.insert(name.to_owned(), what);
        None
    }

    /// Ends the restart of a guest that a thread has created, or could not.
    pub fn finish_restart(
        &mut self,
        host: &Host,
        name: &str,
        result: Result<u16, RestartError>,
        successors: &mut impl Successors,
    ) {
        // Otherwise the guest has ended already, which was handled.
        let Some(record) = self.creating.remove(name) else { return };
        match result {
            Ok(domid) => {
                let what = self.waiting.remove(name);
                let what = what.unwrap_or_else(|| format!("{name}, which had ended,"));
                self.restarted(host, &record, domid, &what);
            }
            Err(RestartError::Guest(error)) if error.is_name_in_use() => {
                self.retry(host, name, successors, Instant::now());
            }
            Err(error) => self.failed(name, &error, Instant::now()),
        }
    }

    /// Notes that the successor of the guest with this record was created. `what` is the log line
    /// without its end.
    fn restarted(&mut self, host: &Host, record: &Record, domid: u16, what: &str) {
        let name = record.name();
        self.restarts.created(name, DomId(domid));
        self.tally.restarted(name, || {
            let names = host.records.names().unwrap_or_default();
            names.into_iter().map(|(name, _)| name).collect()
        });
        self.reporter.send(|| Report::Restarted { name: name.to_owned(), domid });
        self.pending.remove(name);
        match host.records.drop_restart(name) {
            Ok(true) => {
                if self.lines.allows(record.owner) {
                    tracing::info!("{what} is domain {domid} now");
                }
            }
            Ok(false) => {
                if self.lines.allows(record.owner) {
                    tracing::info!("{name} was destroyed while it was restarted");
                }
                if let Err(error) = guests::destroy(host, name) {
                    tracing::error!("cannot destroy {name}: {}", chain(&error));
                }
            }
            // It cannot be restarted twice: another attempt finds that the name is taken.
            Err(error) => tracing::error!("{}", chain(&error)),
        }
    }

    /// Returns the attempts of a pending restart of a guest of this owner.
    pub(super) fn pending_restart(&mut self, name: &str, owner: u32) -> &mut Attempts {
        let attempts = self.pending.entry(name.to_owned()).or_default();
        attempts.owner = Some(owner);
        attempts
    }

    /// Forgets a pending restart. Returns whether to log it.
    pub(super) fn forget(&mut self, name: &str) -> bool {
        let owner = self.pending.remove(name).and_then(|attempts| attempts.owner);
        self.waiting.remove(name);
        self.tally.cancelled(name);
        owner.is_none_or(|owner| self.lines.allows(owner))
    }

    pub(super) fn failed(&mut self, name: &str, error: &RestartError, now: Instant) {
        let attempts = self.pending.entry(name.to_owned()).or_default();
        attempts.failed(name, error, now, &self.lines);
    }
}
