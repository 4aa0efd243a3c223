// SPDX-License-Identifier: GPL-3.0-or-later
//! Carries out what the config of a guest says about its end.

use std::time::Instant;

use chaos::config::Action;
use chaos::guests::{self, EndedGuest, Host};
use chaos::handle::DomainIdentity;
use daemon::chain::chain;

use super::limit::{MAX_RESTARTS, WINDOW};
use super::removing::is_slow;
use super::{RestartError, Successors, Supervisor, pending};
use crate::observe::Report;
use crate::removal::Removal;

impl Supervisor {
    /// Does what the guest's config says about its end. Returns the removal to order, if the guest is
    /// large.
    pub(super) fn handle_end(
        &mut self,
        host: &Host,
        guest: &EndedGuest,
        successors: &mut impl Successors,
        now: Instant,
    ) -> Result<Option<Removal>, RestartError> {
        let record = &guest.record;
        let (name, how) = (record.name(), guest.state().as_str());
        let is_logged = self.lines.allows(record.owner);
        // This guest supersedes a restart that is pending under its name, or is its result.
        self.creating.remove(name);
        if self.pending.remove(name).is_some() {
            successors.cancel(name);
            host.records.drop_restart(name)?;
        }
        let identity = DomainIdentity { domid: record.domid, handle: record.handle };
        let mut action = guest.action();
        if action.restarts() && !self.restarts.allow(name, identity, now) {
            if is_logged {
                let seconds = WINDOW.as_secs();
                tracing::error!(
                    "{name} {how}; it was restarted {MAX_RESTARTS} times in {seconds} s and is kept \
                     now"
                );
            }
            action = Action::Preserve;
        }
        let how_ended = guest.state();
        self.reporter.send(|| Report::Ended {
            name: name.to_owned(),
            identity,
            how: how_ended,
            action,
        });
        if action.restarts() {
            self.tally.begins(name, how_ended.name());
        }
        match action {
            Action::Preserve => {
                if is_logged {
                    tracing::info!("{name} {how} and is kept");
                }
                self.keep(guest);
            }
            Action::Destroy | Action::CoredumpDestroy if action.dumps_core() || is_slow(record) => {
                if is_logged {
                    tracing::info!("{name} {how} and is being destroyed");
                }
                return Ok(Some(self.removal(guest, None)));
            }
            Action::Destroy | Action::CoredumpDestroy => {
                guests::remove_ended(host, guest)?;
                if is_logged {
                    tracing::info!("{name} {how} and is destroyed");
                }
            }
            Action::Restart | Action::CoredumpRestart => {
                pending::write(host, &guest.successor, successors)?;
                if action.dumps_core() || is_slow(record) {
                    self.waiting.insert(name.to_owned(), format!("{name} {how} and"));
                    if is_logged {
                        tracing::info!("{name} {how} and is restarted when its memory is free");
                    }
                    return Ok(Some(self.removal(guest, Some(name.to_owned()))));
                }
                guests::remove_ended(host, guest)
                    .inspect_err(|_| pending::cancel(&host.records, name))?;
                self.restart(host, &guest.successor, successors, format!("{name} {how} and"));
            }
            Action::RenameRestart => {
                pending::write(host, &guest.successor, successors)?;
                if record.config.needs_programs() {
                    self.waiting.insert(name.to_owned(), format!("{name} {how}, is kept, and"));
                    let removal = self.removal(guest, Some(name.to_owned()));
                    return Ok(Some(Removal { renames: true, ..removal }));
                }
                let kept = guests::rename_ended(host, guest)
                    .inspect_err(|_| pending::cancel(&host.records, name))?
                    .name;
                self.keep(guest);
                self.remove_old_copies(host, name, record.owner);
                let what = format!("{name} {how}, is kept as {kept}, and");
                self.restart(host, &guest.successor, successors, what);
            }
        }
        Ok(None)
    }

    /// Keeps a guest that cannot be dealt with as it is. Destroys it if its owner's files are gone:
    /// the owner could neither remove it nor create another one.
    pub(super) fn give_up(&mut self, host: &Host, guest: &EndedGuest, error: &RestartError) {
        let name = guest.record.name();
        let is_destroyed = matches!(error, RestartError::NoFiles { .. })
            && guests::remove_ended(host, guest).is_ok();
        if !is_destroyed {
            self.keep(guest);
        }
        if self.lines.allows(guest.record.owner) {
            let what = if is_destroyed { "destroyed" } else { "kept as it is" };
            tracing::error!("{name} is {what}: {}", chain(error));
        }
    }

    /// Notes that a guest that has ended needs nothing more.
    pub(super) fn keep(&mut self, guest: &EndedGuest) {
        self.kept.insert(guest.identity(), guest.state());
    }
}
