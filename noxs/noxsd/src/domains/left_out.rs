// SPDX-License-Identifier: GPL-3.0-or-later
//! Domains that an earlier noxsd served and this one does not: it has crashed while it served them,
//! or another domain has their address.

use std::time::Instant;

use noxs_control::{
    Attach, ConsoleStatus, DeviceCounters, DeviceNumber, DeviceStatus, DomainId, DomainStatus,
    Refusal, VbdStatus, VifStatus,
};

use super::{AttachFiles, AttachedAs, DiskFile, Domains};
use crate::console::Clients;
use crate::host::Host;

/// Why a domain is left out that has crashed noxsd.
pub const CRASHED: &str = "noxsd crashed twice while it served this guest; destroy the guest";

/// A domain that is not served.
#[derive(Debug)]
pub(super) struct LeftOut {
    /// Lists all of its devices as broken.
    pub(super) status: DomainStatus,
    /// The files behind its disks stay locked: the guest has not finished with them.
    files: AttachFiles,
    /// Its request, if it is served as soon as its addresses are free.
    waiting: Option<Attach>,
}

impl<H: Host> Domains<H> {
    /// Attaches a domain that an earlier noxsd served. A guest whose address another one has is not
    /// served until that one is detached, and is listed meanwhile. Domains that no longer exist are
    /// not listed.
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
        match self.check(attach, files.log.is_some()) {
            Err(refusal @ Refusal::AddressInUse(_)) => {
                let status = status(attach, &refusal.to_string());
                self.left_out.push(LeftOut { status, files, waiting: Some(attach.clone()) });
                Err(refusal)
            }
            _ => self.attach(attach, files, AttachedAs::Running, now, clients),
        }
    }

    /// Notes that a domain is not served, and why. Nothing of it is mapped or bound; its status
    /// lists all of its devices as broken. Its `disks` stay open and locked.
    pub fn leave_out(&mut self, attach: &Attach, reason: &str, disks: Vec<DiskFile>) {
        let (status, files) = (status(attach, reason), AttachFiles { log: None, disks });
        self.left_out.push(LeftOut { status, files, waiting: None });
    }

    /// Forgets domains that are not served. Returns whether there was one.
    pub(super) fn forget_left_out(&mut self, forget: impl Fn(DomainId) -> bool) -> bool {
        let before = self.left_out.len();
        self.left_out.retain(|domain| !forget(domain.status.id));
        self.left_out.len() < before
    }

    /// Removes a device of a domain that is not served: it will be served without. Forgets the domain
    /// if that was its last. Returns whether there is such a domain.
    pub(super) fn leave_out_without(&mut self, id: DomainId, device: DeviceNumber) -> bool {
        let Some(place) = self.left_out.iter().position(|domain| domain.status.id == id) else {
            return false;
        };
        let domain = &mut self.left_out[place];
        let name = device.to_string();
        let devices = &domain.status.devices;
        let mut disks =
            devices.iter().filter(|status| matches!(status.counters, DeviceCounters::Vbd(_)));
        let disk = disks.position(|status| status.name == name);
        domain.status.devices.retain(|status| status.name != name);
        if let Some(attach) = &mut domain.waiting {
            attach.remove(device);
        }
        // Closing the file unlocks it.
        if let Some(disk) = disk.filter(|disk| *disk < domain.files.disks.len()) {
            domain.files.disks.remove(disk);
        }
        if domain.status.devices.is_empty() {
            self.left_out.remove(place);
        }
        true
    }

    /// Serves the domains whose addresses are free now, in the order in which they were left out.
    pub(super) fn attach_left_out(&mut self, clients: &mut impl Clients) {
        for domain in std::mem::take(&mut self.left_out) {
            let Some(attach) = domain.waiting else {
                self.left_out.push(domain);
                continue;
            };
            let domid = attach.id.domid;
            match self.attach_recorded(&attach, domain.files, self.last_turn, clients) {
                Ok(()) => tracing::info!("serving domain {domid} again: its address is free"),
                Err(Refusal::AddressInUse(_)) => {}
                Err(refusal) => tracing::warn!("domain {domid} is not served: {refusal}"),
            }
        }
    }
}

/// Returns the status of a domain that is not served.
fn status(attach: &Attach, reason: &str) -> DomainStatus {
    let device =
        |name: String, counters| DeviceStatus { name, broken: Some(reason.to_owned()), counters };
    let console = attach
        .console
        .iter()
        .map(|_| device("console".to_owned(), DeviceCounters::Console(ConsoleStatus::default())));
    let vifs = attach
        .vifs
        .iter()
        .map(|vif| device(format!("vif{}", vif.index), DeviceCounters::Vif(VifStatus::default())));
    let vbds = attach
        .vbds
        .iter()
        .map(|vbd| device(format!("vbd{}", vbd.index), DeviceCounters::Vbd(VbdStatus::default())));
    DomainStatus { id: attach.id, devices: console.chain(vifs).chain(vbds).collect() }
}
