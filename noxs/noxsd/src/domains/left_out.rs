// SPDX-License-Identifier: GPL-3.0-or-later
//! Domains that noxsd does not serve, because it has crashed while it served them.

use noxs_control::{
    Attach, ConsoleStatus, DeviceCounters, DeviceStatus, DomainId, DomainStatus, VifStatus,
};

use super::Domains;
use crate::host::Host;

/// What `chaos list` shows for each device of such a domain.
const REASON: &str = "noxsd crashed twice while it served this guest; destroy the guest";

impl<H: Host> Domains<H> {
    /// Notes that a domain is not served. Nothing of it is mapped or bound; its status lists all of
    /// its devices as broken.
    pub fn leave_out(&mut self, attach: &Attach) {
        let device = |name: String, counters| DeviceStatus {
            name,
            broken: Some(REASON.to_owned()),
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
