// SPDX-License-Identifier: GPL-3.0-or-later
//! Removals that the removal thread carries out: of large guests, of those that programs of
//! dom0 work for, and of those that `rename-restart` has kept.

use std::time::Instant;

use chaos::guests::{self, EndedDomain, EndedGuest, Host, LifecycleError};
use chaos::records::{Record, Records};
use daemon::chain::chain;

use super::{MAX_COPIES, Supervisor, pending};
use crate::removal::{self, Done, LARGE, Removal};

impl Supervisor {
    /// Makes the restarts due whose guests the removal thread has removed, and removes guests that
    /// the thread cannot remove.
    pub fn collect(&mut self, host: &Host) {
        let renamed = self.collect_with(&host.records, |removal| removal::remove(host, removal));
        for (name, owner) in renamed {
            self.remove_old_copies(host, &name, owner);
        }
    }

    /// As [`collect`](Self::collect); `remove` removes a guest. Returns the names and the owners of guests
    /// that were renamed.
    pub(super) fn collect_with(
        &mut self,
        records: &Records,
        remove: impl Fn(&Removal) -> Result<(), LifecycleError>,
    ) -> Vec<(String, u32)> {
        let done: Vec<_> = self.removals.done().collect();
        let mut renamed = Vec::new();
        for Done { removal, result } in done {
            let result = result.unwrap_or_else(|| remove(&removal));
            if removal.renames && result.is_ok() {
                renamed.extend(removal.successor.clone().map(|name| (name, removal.owner)));
            }
            self.removed(records, removal, result, Instant::now());
        }
        renamed
    }

    /// Has the removal thread remove a guest, or removes it here if the thread is gone.
    pub(super) fn order_removal(&mut self, host: &Host, removal: Removal) {
        if let Some(removal) = self.removals.order(removal) {
            let result = removal::remove(host, &removal);
            self.removed(&host.records, removal, result, Instant::now());
        }
    }

    /// Makes the restart due for which a guest was removed. If it could not be removed, has its end
    /// handled again, or keeps it.
    pub(super) fn removed(
        &mut self,
        records: &Records,
        removal: Removal,
        result: Result<(), LifecycleError>,
        now: Instant,
    ) {
        let Removal { ended, owner, successor, renames, .. } = removal;
        let (domid, is_logged) = (ended.domid, self.lines.allows(owner));
        match result {
            Ok(()) => {
                if is_logged && !renames {
                    tracing::info!("domain {domid} is destroyed");
                }
                if let Some(name) = successor {
                    // A scan makes all pending restarts due, and no others.
                    self.pending_restart(&name, owner);
                    self.due.push_back(name);
                }
            }
            Err(error) => {
                if let Some(name) = &successor {
                    // The next attempt to handle the end writes it again.
                    pending::cancel(records, name);
                    self.pending.remove(name);
                    self.waiting.remove(name);
                    self.tally.cancelled(name);
                }
                if error.is_locked() {
                    self.kept.remove(&ended.identity());
                    self.try_later(ended, None, &error, now);
                } else if is_logged {
                    tracing::error!("domain {domid} is kept as it is: {}", chain(&error));
                }
            }
        }
    }

    /// Returns the removal of a guest, after which the restart that is pending under a name is due.
    pub(super) fn removal(&mut self, guest: &EndedGuest, successor: Option<String>) -> Removal {
        // Until it is removed, scans find it.
        self.keep(guest);
        let record = &guest.record;
        let ended =
            EndedDomain { domid: record.domid, handle: guest.handle(), state: guest.state() };
        let dumps_core = guest.action().dumps_core();
        Removal { ended, owner: record.owner, successor, dumps_core, renames: false }
    }

    /// Removes all but the newest of the owner's guests that were renamed so that a successor could have
    /// this name: each keeps its memory.
    pub(super) fn remove_old_copies(&mut self, host: &Host, name: &str, owner: u32) {
        match guests::old_copies(host, name, owner, MAX_COPIES) {
            Ok(copies) => {
                for ended in copies {
                    if self.lines.allows(owner) {
                        tracing::info!(
                            "domain {}, which was {name}, is being destroyed: {MAX_COPIES} newer \
                             ones are kept",
                            ended.domid
                        );
                    }
                    self.order_removal(
                        host,
                        Removal {
                            ended,
                            owner,
                            successor: None,
                            dumps_core: false,
                            renames: false,
                        },
                    );
                }
            }
            Err(error) => {
                tracing::error!("cannot look for older guests that were {name}: {}", chain(&error))
            }
        }
    }
}

/// Returns whether it takes long to destroy the guest: in Xen, or because programs of dom0 work for it.
pub(super) fn is_slow(record: &Record) -> bool {
    record.config.memory >= LARGE || record.config.needs_programs()
}
