// SPDX-License-Identifier: GPL-3.0-or-later
//! Domains that an earlier noxsd served and this one does not: it has crashed while it served them,
//! or another domain has their address.

use std::time::Instant;

use noxs_control::{
    Attach, ConsoleStatus, DeviceCounters, DeviceStatus, DomainId, DomainStatus, Refusal,
    VbdStatus, VifStatus,
};

use super::{AttachFiles, AttachedAs, DiskFile, Domains};
use crate::console::Clients;
use crate::host::Host;

/// A domain that is not served.
#[derive(Debug)]
pub(super) struct LeftOut {
    pub(super) status: DomainStatus,
    /// The files behind its disks, which stay locked: the guest has not finished with them.
    _disks: Vec<DiskFile>,
}

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
        files: AttachFiles,
        now: Instant,
        clients: &mut impl Clients,
    ) -> Result<(), Refusal> {
        let copy = |disk: &DiskFile| match disk {
            DiskFile::Open(file) => file.try_clone().ok().map(DiskFile::Open),
            DiskFile::Lost(_) => None,
        };
        let disks = files.disks.iter().filter_map(copy).collect();
        let result = self.attach(attach, files, AttachedAs::Running, now, clients);
        if let Err(refusal @ Refusal::AddressInUse(_)) = &result {
            self.leave_out(attach, &refusal.to_string(), disks);
        }
        result
    }

    /// Notes that a domain is not served, and why. Nothing of it is mapped or bound; its status
    /// lists all of its devices as broken. Its `disks` stay open and locked.
    pub fn leave_out(&mut self, attach: &Attach, reason: &str, disks: Vec<DiskFile>) {
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
        let vbds = attach.vbds.iter().map(|vbd| {
            device(format!("vbd{}", vbd.index), DeviceCounters::Vbd(VbdStatus::default()))
        });
        let devices = console.chain(vifs).chain(vbds).collect();
        let status = DomainStatus { id: attach.id, devices };
        self.left_out.push(LeftOut { status, _disks: disks });
    }

    /// Forgets a domain that is not served. Returns whether there was one.
    pub(super) fn forget_left_out(&mut self, id: DomainId) -> bool {
        let before = self.left_out.len();
        self.left_out.retain(|left_out| left_out.status.id != id);
        self.left_out.len() < before
    }
}
