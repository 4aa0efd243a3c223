// SPDX-License-Identifier: GPL-3.0-or-later
//! Finds the guests that have ended: by a look at all domains, or at those that Xen names.

use std::time::Instant;

use chaos::guests::{DomainScan, EndedDomain, Host};
use chaos::handle::DomainIdentity;
use daemon::chain::chain;

use super::Supervisor;

impl Supervisor {
    /// Scans for guests that have ended. Returns whether any domain may have ended since the last
    /// scan.
    pub(super) fn scan_ended(&mut self, host: &Host) -> bool {
        if let Some(has_end) = self.look_at_changed(host) {
            return has_end;
        }
        let (began, has_noted) = (Instant::now(), self.pace.has_noted());
        let scan = DomainScan::new(host);
        let has_end = match &scan {
            Ok(scan) if self.pace.is_regular() => self.census.note(scan.stages()),
            _ => false,
        };
        self.pace.scanned(began, Instant::now());
        let ended = match scan {
            Ok(scan) => {
                self.has_scanned = true;
                scan.ended()
            }
            Err(error) => {
                tracing::error!("cannot list the guests that have ended: {}", chain(&error));
                return has_noted;
            }
        };
        let is_kept = |one: &EndedDomain| self.kept.get(&one.identity()) == Some(&one.state);
        let (kept, ended): (Vec<_>, Vec<_>) = ended.into_iter().partition(is_kept);
        // Forget those that were destroyed in the meantime.
        self.kept = kept.iter().map(|one| (one.identity(), one.state)).collect();
        self.postponed.retain(|id, _| ended.iter().any(|one| one.identity() == *id));
        // The others are tried again when it is their time.
        let is_new = |one: &EndedDomain| !self.postponed.contains_key(&one.identity());
        self.ended = ended.into_iter().filter(is_new).collect();
        has_noted || has_end
    }

    /// Looks only at the domains that have changed, where Xen names them. Returns whether any domain
    /// has ended, or `None` if all must be looked at: at first, and where domains end without a report,
    /// because another process, xenstored, takes the names.
    fn look_at_changed(&mut self, host: &Host) -> Option<bool> {
        if !self.has_scanned || self.pace.is_regular() {
            return None;
        }
        let began = Instant::now();
        let (changed, scan) = match DomainScan::of_changed(host) {
            Ok(changed) => changed?,
            Err(error) => {
                tracing::debug!("Xen does not say which domains have ended: {}", chain(&error));
                return None;
            }
        };
        self.pace.scanned(began, Instant::now());
        let is_left = |id: &DomainIdentity| !changed.contains(&id.domid);
        let ended = scan.ended();
        let is_ended = |id: &DomainIdentity| ended.iter().any(|one| one.identity() == *id);
        // As after a scan of all: those that were destroyed in the meantime are forgotten.
        self.kept.retain(|id, _| is_left(id) || is_ended(id));
        self.postponed.retain(|id, _| is_left(id) || is_ended(id));
        let already: Vec<_> = self.ended.iter().copied().collect();
        let is_new = |one: &EndedDomain| {
            self.kept.get(&one.identity()) != Some(&one.state)
                && !self.postponed.contains_key(&one.identity())
                && !already.contains(one)
        };
        self.ended.extend(ended.iter().copied().filter(is_new));
        Some(!changed.is_empty())
    }
}
