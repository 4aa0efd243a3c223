// SPDX-License-Identifier: GPL-3.0-or-later
//! Domains that an earlier noxsd served and this one does not: it has crashed while it served them,
//! or another domain has their address.

use std::time::Instant;

use noxs_control::{
    Attach, ConsoleStatus, DeviceCounters, DeviceStatus, DomainId, DomainStatus, Refusal, VifStatus,
};

use super::{AttachedAs, Domains};
use crate::console::{Clients, ConsoleLog};
use crate::host::Host;

/// Why a domain is left out that has crashed noxsd.
pub const CRASHED: &str = "noxsd crashed twice while it served this guest; destroy the guest";

impl<H: Host> Domains<H> {
    /// Attaches a domain that an earlier noxsd served. A guest whose address another one has is
    /// [left out](Self::leave_out). Domains that no longer exist are not listed.
    ///
    /// # Errors
    /// As [`attach`](Self::attach).
    pub fn attach_recorded(
        &mut self,
        attach: &Attach,
        log: Option<ConsoleLog>,
        now: Instant,
        clients: &mut impl Clients,
    ) -> Result<(), Refusal> {
        let result = self.attach(attach, log, AttachedAs::Running, now, clients);
        if let Err(refusal @ Refusal::AddressInUse(_)) = &result {
            self.leave_out(attach, &refusal.to_string());
        }
        result
    }

    /// Notes that a domain is not served, and why. Nothing of it is mapped or bound; its status
    /// lists all of its devices as broken.
    pub fn leave_out(&mut self, attach: &Attach, reason: &str) {
        let device = |name: String, counters| DeviceStatus {
            name,
            broken: Some(reason.to_owned()),
            counters,
        };
        let console = attach.console.iter().map(|_| {
            device("console".to_owned(), DeviceCounters::Console(ConsoleStatus::default()))
        });
        let vifs = attach.vifs.iter().map(|vif| {
            device(format!("vif{}", vif.index), DeviceCounters::Vif(VifStatus::default()))
        });
        let devices = console.chain(vifs).collect();
        self.left_out.push(DomainStatus { id: attach.id, devices });
    }

    /// Forgets a domain that is not served. Returns whether there was one.
    pub(super) fn forget_left_out(&mut self, id: DomainId) -> bool {
        let before = self.left_out.len();
        self.left_out.retain(|status| status.id != id);
        self.left_out.len() < before
    }
}
