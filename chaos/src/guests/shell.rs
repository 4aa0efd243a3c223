// SPDX-License-Identifier: GPL-3.0-or-later
//! Shells with their devices attached.

use std::fs::File;
use std::mem;
use std::sync::Arc;

use noxs_control::VifIdentity;
use xen::Xen;
use xen::units::{DomId, DomainHandle};

use super::error::LifecycleError;
use super::host::Host;
use crate::announce::{Announce, GuestNodes};
use crate::backends::{Devices, GuestIdentity, Serve};
use crate::config::Discovery;
use crate::domain::Flavour;
use crate::handle::{self, DomainIdentity};
use crate::hypervisor::{BuiltShell, Hypervisor, ParkedOf};
use crate::image::Image;
use crate::records::PreparedRecord;
use crate::timings::Timings;

/// The kind of a shell: what must match between a shell and a guest.
#[derive(Clone, Debug)]
pub struct ShellKind {
    /// What it has in Xen.
    pub flavour: Flavour,
    /// The bridge of each vif.
    pub bridges: Vec<String>,
    /// The image it holds already. A shell without one takes any image.
    pub image: Option<Arc<Image>>,
}

/// A shell with rings, grants and event channels, and with its backends attached.
///
/// It has a folder among the records, but no record and no name. So a process that finds it after
/// its creator was killed can destroy it. Dropping it destroys the domain and removes its
/// attachments.
#[derive(Debug)]
pub struct AttachedShell<H: Hypervisor = Xen> {
    /// The first field, so that the domain is destroyed before its attachments are removed.
    shell: H::Shell,
    attachments: Attachments<H>,
}

/// What a shell has outside of Xen. Dropping it removes that, unless it is kept.
#[derive(Debug)]
pub(super) struct Attachments<H: Hypervisor> {
    host: Host<H>,
    id: DomainIdentity,
    pub(super) discovery: Discovery,
    pub(super) devices: Devices,
    /// Whether the domain may have been announced.
    published: bool,
    /// Whether the guest was announced and made known to the backends.
    identified: bool,
    /// Its prepared record file and name.
    pub(super) prepared: Option<PreparedRecord>,
    kept: bool,
}

/// An [`AttachedShell`] that can be sent to another thread. Dropping it leaves the domain
/// incomplete.
#[derive(Debug)]
#[must_use = "the domain is left incomplete if this is dropped"]
pub struct ParkedAttachedShell<H: Hypervisor = Xen> {
    shell: ParkedOf<H>,
    id: DomainIdentity,
    discovery: Discovery,
    devices: Devices,
    published: bool,
    prepared: Option<PreparedRecord>,
}

/// Prepares a shell and attaches its backends, for a guest that is not known yet.
///
/// # Errors
/// As [`create`](super::create()), as far as it applies. Nothing is left behind.
pub fn prepare_shell<H: Hypervisor>(
    host: &Host<H>,
    kind: &ShellKind,
    timings: &mut Timings,
) -> Result<AttachedShell<H>, LifecycleError> {
    let bridges = kind.bridges.iter().map(String::as_str);
    let image = kind.image.as_deref();
    let mut shell = prepare(host, kind.flavour, bridges, &[], image, None, timings)?;
    let log = shell.start_attach(None, timings)?;
    if let Some(image) = &kind.image {
        shell.load(image)?;
        timings.stage("image");
    }
    shell.attachments.prepared = Some(host.records.prepare_record(shell.domid())?);
    shell.finish_attach(log.as_ref())?;
    timings.stage("attached");
    Ok(shell)
}

/// Prepares a shell whose devices are not attached yet. `vifs` has the identities of its vifs, or
/// is empty if they are not known yet. `uuid` replaces the domain's handle.
pub(super) fn prepare<'a, H: Hypervisor>(
    host: &Host<H>,
    flavour: Flavour,
    bridges: impl Iterator<Item = &'a str>,
    vifs: &[VifIdentity],
    image: Option<&Image>,
    uuid: Option<DomainHandle>,
    timings: &mut Timings,
) -> Result<AttachedShell<H>, LifecycleError> {
    let handle = handle::new_handle().map_err(LifecycleError::Process)?;
    let shell = host.xen.prepare(flavour, image, handle, timings)?;
    let id = DomainIdentity { domid: shell.domid(), handle };
    let attachments = Attachments {
        host: host.clone(),
        id,
        discovery: flavour.store.discovery(),
        devices: Devices::none(id),
        published: false,
        identified: false,
        prepared: None,
        kept: false,
    };
    let mut shell = AttachedShell { shell, attachments };
    host.records.make_folder(id.domid)?;
    if let Some(uuid) = uuid {
        shell.set_uuid(uuid)?;
    }
    shell.attachments.devices = Devices::of(&shell.shell, bridges, vifs);
    Ok(shell)
}

impl<H: Hypervisor> AttachedShell<H> {
    /// Replaces its handle, before its devices are attached under it.
    #[cold]
    fn set_uuid(&mut self, uuid: DomainHandle) -> Result<(), LifecycleError> {
        let Attachments { host, id, .. } = &mut self.attachments;
        host.records.note_creator(id.domid, uuid, id.handle)?;
        self.shell.set_handle(uuid)?;
        id.handle = uuid;
        Ok(())
    }

    /// Returns the domain's number.
    #[must_use]
    pub fn domid(&self) -> DomId {
        self.attachments.id.domid
    }

    /// Returns its prepared record file and name, if there are any.
    pub(super) fn prepared(&self) -> Option<&PreparedRecord> {
        self.attachments.prepared.as_ref()
    }

    /// Copies an image in.
    pub(super) fn load(&mut self, image: &Arc<Image>) -> Result<(), LifecycleError> {
        Ok(self.shell.load(image)?)
    }

    /// Drops the Xen handle and the connections, so that the shell can be sent to another thread.
    pub fn park(self) -> ParkedAttachedShell<H> {
        let Self { shell, mut attachments } = self;
        let (id, discovery) = (attachments.id, attachments.discovery);
        let devices = mem::replace(&mut attachments.devices, Devices::none(id));
        let (published, prepared) = (attachments.published, attachments.prepared.take());
        attachments.keep();
        ParkedAttachedShell { shell: shell.park(), id, discovery, devices, published, prepared }
    }

    /// Splits it into the shell and its attachments.
    pub(super) fn take(self) -> (H::Shell, Attachments<H>) {
        (self.shell, self.attachments)
    }

    /// Announces the shell, with the guest if that is known, and asks the backends to attach,
    /// without waiting for them. Returns the console's log, if there is one.
    pub(super) fn start_attach(
        &mut self,
        guest: Option<GuestIdentity<'_>>,
        timings: &mut Timings,
    ) -> Result<Option<File>, LifecycleError> {
        let Attachments { host, discovery, devices, published, identified, .. } =
            &mut self.attachments;
        if let Some(guest) = guest {
            devices.learn(host.links(), guest)?;
            *identified = true;
        }
        // Set before it is announced: an announcement that fails halfway must be withdrawn, too.
        *published = true;
        let (disks, scripts) = (devices.disk_nodes(), devices.script_nodes());
        let nodes = guest.map(|guest| GuestNodes {
            name: &guest.config.name,
            is_driver_domain: guest.config.extras().driver_domain,
            vifs: guest.vifs,
            disks: &disks,
            scripts: &scripts,
        });
        if discovery.publish(&host.xenstored, &self.shell, nodes.as_ref())? {
            timings.stage("announced");
        }
        Ok(devices.begin_attach(host.links(), timings)?)
    }

    /// Asks the backends again to attach, after they have refused an address, with these identities
    /// of the vifs.
    pub(super) fn attach_again(
        &mut self,
        vifs: &[VifIdentity],
        log: Option<&File>,
    ) -> Result<(), LifecycleError> {
        let Attachments { host, devices, .. } = &mut self.attachments;
        Ok(devices.attach_again(host.links(), vifs, log)?)
    }

    /// Waits until the devices are attached.
    pub(super) fn finish_attach(&self, log: Option<&File>) -> Result<(), LifecycleError> {
        let Attachments { host, devices, .. } = &self.attachments;
        Ok(devices.finish_attach(host.links(), log)?)
    }
}

impl<H: Hypervisor> ParkedAttachedShell<H> {
    /// Turns it back into a shell.
    #[must_use]
    pub fn unpark(self, host: &Host<H>) -> AttachedShell<H> {
        let Self { shell, id, discovery, devices, published, prepared } = self;
        let attachments = Attachments {
            host: host.clone(),
            id,
            discovery,
            devices,
            published,
            identified: false,
            prepared,
            kept: false,
        };
        AttachedShell { shell: host.xen.unpark(shell), attachments }
    }
}

impl<H: Hypervisor> Attachments<H> {
    /// Opens the guest's disks, unless they are open or that was done when the backends attached.
    pub(super) fn learn(&mut self, guest: GuestIdentity<'_>) -> Result<(), LifecycleError> {
        match self.identified {
            true => Ok(()),
            false => Ok(self.devices.learn(self.host.links(), guest)?),
        }
    }

    /// Announces the guest and makes it known to the backends, unless that was done when they
    /// attached. [`learn`](Self::learn) must precede. Returns whether [`finish_identify`](Self::finish_identify) must follow.
    pub(super) fn begin_identify(
        &mut self,
        guest: GuestIdentity<'_>,
        timings: &mut Timings,
    ) -> Result<bool, LifecycleError> {
        if self.identified {
            return Ok(false);
        }
        let (disks, scripts) = (self.devices.disk_nodes(), self.devices.script_nodes());
        let nodes = GuestNodes {
            name: &guest.config.name,
            is_driver_domain: guest.config.extras().driver_domain,
            vifs: guest.vifs,
            disks: &disks,
            scripts: &scripts,
        };
        self.discovery.identify(&self.host.xenstored, self.id, &nodes)?;
        let pending = self.devices.begin_configure(self.host.links(), guest.vifs)?;
        self.identified = true;
        timings.stage("configure");
        Ok(pending)
    }

    /// Waits until the backends know the guest.
    pub(super) fn finish_identify(&self, vifs: &[VifIdentity]) -> Result<(), LifecycleError> {
        Ok(self.devices.finish_configure(self.host.links(), vifs)?)
    }

    /// Keeps all of it, because the guest is created.
    pub(super) fn keep(mut self) {
        self.kept = true;
    }
}

impl<H: Hypervisor> Drop for Attachments<H> {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        // Errors are not reported, because the create has failed with another one. `chaos list`
        // shows what is left, and `chaos destroy` removes it.
        self.devices.abandon(self.host.links());
        if self.published {
            let _ = self.discovery.withdraw(self.id);
        }
        let _ = self.host.records.remove(self.id.domid, None);
    }
}
