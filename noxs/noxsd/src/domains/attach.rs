// SPDX-License-Identifier: GPL-3.0-or-later
//! Connects a domain's devices, and releases them.

use std::io;
use std::rc::Rc;
use std::time::Instant;

use noxs::{MAX_DEVICES, MAX_RING_PAGES, MAX_VIFS};
use noxs_control::{Attach, DomainId, Refusal, VifIdentity};

use super::device::{Device, Requested, Resources, requested};
use super::{DeviceId, DeviceIndex, Domain, DomainIndex, Domains, Task};
use crate::block::Vbd;
use crate::console::{Clients, Console, ConsoleLog};
use crate::host::file_io::storage::StorageFile;
use crate::host::{DomId, GrantRef, Host, LocalPort, MAX_MAP, RemotePort};
use crate::net::flood::Allowance;
use crate::net::vif::Vif;
use crate::net::{BridgeId, identities};
use crate::turns::backoff::Backoff;

const _: () =
    assert!(MAX_RING_PAGES <= MAX_MAP, "the ring pages of a domain are mapped in one call");
const _: () = assert!(
    Vif::PAGES == 2 && Console::PAGES == 1 && Vbd::PAGES == 1,
    "as MAX_RING_PAGES counts them"
);

/// The files that come with a domain.
#[derive(Debug, Default)]
pub struct AttachFiles {
    /// The console's log.
    pub log: Option<ConsoleLog>,
    /// What is behind the disks, in their order, if the request says what they are.
    pub disks: Vec<DiskFile>,
}

/// What is behind a disk.
#[derive(Debug)]
pub enum DiskFile {
    /// An open file.
    Open(StorageFile),
    /// An open file that is locked already: an earlier noxsd had it.
    Locked(StorageFile),
    /// A file that an earlier noxsd had and this one does not, and why.
    Lost(String),
}

impl From<Option<ConsoleLog>> for AttachFiles {
    fn from(log: Option<ConsoleLog>) -> Self {
        Self { log, disks: Vec::new() }
    }
}

/// Whether a guest may be running already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachedAs {
    /// The guest was never started.
    New,
    /// An earlier noxsd served the guest, which may be running.
    Running,
}

impl<H: Host> Domains<H> {
    /// Maps the rings of a domain and binds its ports. Starts to serve the console, and the vifs and
    /// disks if the request has their identities and files; otherwise
    /// [`configure`](Self::configure) starts them.
    ///
    /// # Errors
    /// The request contradicts itself or what is attached, or Xen refuses. Nothing stays mapped or
    /// bound.
    pub fn attach(
        &mut self,
        attach: &Attach,
        files: impl Into<AttachFiles>,
        guest: AttachedAs,
        now: Instant,
        clients: &mut impl Clients,
    ) -> Result<(), Refusal> {
        let AttachFiles { log, disks } = files.into();
        let domid = DomId(attach.id.domid);
        let mut replaces = false;
        if let Some(index) = self.by_domid.get(domid.0.into()) {
            let old = &self.slots[index.0];
            // A toolstack writes the record before it sends this request. If noxsd started in
            // between, it has attached the domain from the record, and the request replaces that.
            if old.id == attach.id && old.guest == AttachedAs::New {
                return Err(Refusal::Invalid(format!("domain {domid} is attached already")));
            }
            // Otherwise Xen has reused the domid, so the old domain no longer exists.
            self.remove(index, clients);
            replaces = true;
        }
        let (bridges, identities) = self.check(attach, log.is_some())?;
        if let Some(identities) = &identities {
            let result = self.net.check_dom0(bridges.iter().copied(), identities);
            match (result, guest) {
                // The guest had the address first and keeps its network.
                (Err(refusal), AttachedAs::Running) => tracing::warn!("domain {domid}: {refusal}"),
                (result, _) => result?,
            }
        }

        let images = self.images(&attach.vbds, disks)?;

        let mut pages: Vec<GrantRef> = Vec::with_capacity(MAX_RING_PAGES);
        for device in requested(attach) {
            device.add_pages(&mut pages);
        }
        let memory = self.host.map(domid, &pages).map_err(refusal("map the domain's rings"))?;
        let ports = self.bind(domid, Vec::with_capacity(1), requested(attach))?;

        // From here on nothing fails.
        let index = DomainIndex(self.slots.vacant_key());
        let mut resources =
            Resources { log, log_space: Rc::clone(&self.log_space), bridges: bridges.into_iter() };
        let mut devices = Vec::with_capacity(ports.len());
        let mut base = 0;
        for (device, port) in requested(attach).zip(ports) {
            let Some(kind) = device.create(&memory, &mut base, &mut resources, now) else {
                continue;
            };
            let id = DeviceId { domain: index, device: DeviceIndex(devices.len()) };
            let turn = kind.is_served_at_once().then(|| self.turns.add(Task::Device(id)));
            self.by_port.insert(port.0, index);
            let remote = device.port();
            devices.push(Device {
                port: Some(port),
                remote,
                memory: None,
                turn,
                fault: None,
                kind,
            });
        }
        let memory = Rc::new(memory);
        let allowance = Allowance::new(now);
        let backoff = Backoff::new(now);
        let domain = Domain { id: attach.id, memory, devices, guest, allowance, backoff };
        self.slots.insert(Box::new(domain));
        self.forget_left_out(|id| id.domid == attach.id.domid);
        self.by_domid.insert(domid.0.into(), index);
        if guest == AttachedAs::Running {
            for device in self.device_ids(index) {
                self.resume(device);
            }
        }
        if let Some(identities) = identities {
            self.start_vifs(index, &identities, now, clients);
        }
        if let Some(images) = images {
            self.start_disks(index, images, now, clients);
        }
        if replaces {
            self.attach_left_out(clients);
        }
        tracing::debug!(
            "domain {domid} attached: {} console, {} vif, {} disk",
            usize::from(attach.console.is_some()),
            attach.vifs.len(),
            attach.vbds.len()
        );
        Ok(())
    }

    /// Releases everything of a domain, and serves those that were left out because it had their
    /// addresses.
    ///
    /// # Errors
    /// There is no such domain.
    pub fn detach(&mut self, id: DomainId, clients: &mut impl Clients) -> Result<(), Refusal> {
        if self.forget_left_out(|other| other == id) {
            return Ok(());
        }
        self.remove(self.find(id)?, clients);
        tracing::debug!("domain {} detached", id.domid);
        self.attach_left_out(clients);
        Ok(())
    }

    pub(super) fn remove(&mut self, domain: DomainIndex, clients: &mut impl Clients) {
        for device in self.device_ids(domain) {
            self.release(device, clients);
        }
        let removed = self.slots.remove(domain.0);
        self.by_domid.remove(removed.id.domid.into());
        self.broken.remove(&domain);
    }

    /// Queues a device of a guest that an earlier noxsd served, and sends the guest an event: the
    /// guest may have sent its last event to the earlier noxsd, and may wait for an event that the
    /// earlier noxsd did not send any more. Does nothing for a device that is not served.
    pub(super) fn resume(&mut self, id: DeviceId) {
        let device = &self.slots[id.domain.0].devices[id.device.0];
        if let (Some(turn), Some(port)) = (device.turn, device.port) {
            self.turns.queue(turn);
            self.host.notify(port);
        }
    }

    /// Checks a request, except that dom0 may have an address of it. Returns the vifs' bridges and
    /// identities.
    pub(super) fn check(
        &self,
        attach: &Attach,
        has_log: bool,
    ) -> Result<(Vec<BridgeId>, Option<Vec<VifIdentity>>), Refusal> {
        let bridges = self.check_devices(attach, has_log)?;
        let identities = identities(&attach.vifs)?;
        if let Some(identities) = &identities {
            let indices = attach.vifs.iter().map(|vif| vif.index);
            self.net.check_identities(indices.zip(bridges.iter().copied()), identities)?;
        }
        Ok((bridges, identities))
    }

    /// Checks a request, except for the identities of its vifs. Returns the vifs' bridges.
    fn check_devices(&self, attach: &Attach, has_log: bool) -> Result<Vec<BridgeId>, Refusal> {
        let invalid = |text: String| Err(Refusal::Invalid(text));
        match (attach.console, has_log) {
            (Some(_), false) => {
                return invalid("a console needs its log: no file came with the request".into());
            }
            (None, true) => {
                return invalid("a file came with the request, but there is no console".into());
            }
            _ => {}
        }
        if !DomId(attach.id.domid).is_guest() {
            let (domid, most) = (attach.id.domid, DomId::FIRST_RESERVED.0 - 1);
            return invalid(format!("domain {domid} is not a guest: must be 1 to {most}"));
        }
        if requested(attach).next().is_none() {
            return invalid("the request has no device".into());
        }
        if attach.vifs.len() > MAX_VIFS {
            let count = attach.vifs.len();
            return invalid(format!("the domain has {count} vifs: must be at most {MAX_VIFS}"));
        }
        let count = requested(attach).count();
        if count > MAX_DEVICES {
            return invalid(format!(
                "the domain has {count} devices: must be at most {MAX_DEVICES}"
            ));
        }
        self.net.bridges(&attach.vifs)
    }

    /// Binds all ports or none, and binds a port that several devices share only once. `bound` are
    /// the ports that are bound already. Returns dom0's end of each device's port.
    pub(super) fn bind<'a>(
        &mut self,
        domid: DomId,
        mut bound: Vec<(RemotePort, LocalPort)>,
        devices: impl Iterator<Item = Requested<'a>>,
    ) -> Result<Vec<LocalPort>, Refusal> {
        let before = bound.len();
        let mut local = Vec::with_capacity(MAX_VIFS + 1);
        for port in devices.map(Requested::port) {
            if let Some((_, own)) = bound.iter().find(|(remote, _)| *remote == port) {
                local.push(*own);
                continue;
            }
            match self.host.bind(domid, port) {
                Ok(own) => {
                    bound.push((port, own));
                    local.push(own);
                }
                Err(error) => {
                    for (_, own) in bound.drain(before..) {
                        self.host.unbind(own);
                    }
                    return Err(refusal("bind the domain's event channel")(error));
                }
            }
        }
        Ok(local)
    }
}

pub(super) fn refusal(what: &'static str) -> impl Fn(io::Error) -> Refusal {
    move |error| Refusal::System { what: what.to_owned(), errno: error.to_string() }
}
