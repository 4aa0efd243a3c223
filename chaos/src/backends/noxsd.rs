// SPDX-License-Identifier: GPL-3.0-or-later
//! Devices that noxsd serves.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::Arc;

use noxs_control::{Attach, ConsoleDevice, Refusal, VbdDevice, VifDevice, VifIdentity};
use xen::units::{DomId, GrantRef, Port};

use super::disks::OpenDisks;
use super::error::DevicesError;
use super::serve::{GuestIdentity, Links, Serve};
use crate::clients::noxsd::{BackendError, Configure, Link, NOXSD, Noxsd};
use crate::domain::DevicePageDisk;
use crate::handle::DomainIdentity;
use crate::hypervisor::BuiltShell;
use crate::timings::Timings;

/// The devices of one shell.
#[derive(Debug)]
pub struct NoxsdDevices {
    attach: Attach,
    /// What is behind the disks, once the guest is known.
    disks: Arc<OpenDisks>,
    /// Whether noxsd was asked to attach them.
    asked: bool,
}

impl NoxsdDevices {
    pub(super) fn none(id: DomainIdentity) -> Self {
        let attach = Attach { id: id.into(), console: None, vifs: Vec::new(), vbds: Vec::new() };
        Self { attach, disks: Arc::default(), asked: false }
    }

    pub(super) fn of<'a>(
        shell: &impl BuiltShell,
        bridges: impl Iterator<Item = &'a str>,
        vifs: &[VifIdentity],
    ) -> Self {
        let id = DomainIdentity { domid: shell.domid(), handle: shell.handle() };
        let Some(Port(port)) = shell.ports().devices else { return Self::none(id) };
        let console = shell.console_grant().map(|GrantRef(ring)| ConsoleDevice { port, ring });
        let vifs = (0u16..)
            .zip(bridges)
            .map(|(index, bridge)| {
                let [GrantRef(tx_ring), GrantRef(rx_ring)] = shell.vif_grants(index);
                let (bridge, identity) = (bridge.to_owned(), vifs.get(usize::from(index)).copied());
                VifDevice { index, port, tx_ring, rx_ring, bridge, identity }
            })
            .collect();
        let vbd = |index| {
            let GrantRef(ring) = shell.disk_grant(index);
            VbdDevice { index, port, ring, image: None }
        };
        let vbds = (0..shell.flavour().disks).map(vbd).collect();
        let attach = Attach { id: id.into(), console, vifs, vbds };
        Self { attach, disks: Arc::default(), asked: false }
    }

    /// Returns the disks, as the device page describes them.
    pub(super) fn page_disks(&self) -> Vec<DevicePageDisk> {
        self.disks.page_entries()
    }

    fn has_devices(&self) -> bool {
        let Attach { console, vifs, vbds, .. } = &self.attach;
        console.is_some() || !vifs.is_empty() || !vbds.is_empty()
    }

    fn request(&self, links: Links<'_>, log: Option<&File>) -> Result<(), DevicesError> {
        let log = log.map(AsFd::as_fd);
        let files: Vec<BorrowedFd<'_>> = log.into_iter().chain(self.disks.files()).collect();
        Ok(links.noxsd.call(|noxsd| {
            self.disks.lift_file_limit(noxsd)?;
            noxsd.begin_attach(self.attach.clone(), &files)
        })?)
    }
}

impl Serve for NoxsdDevices {
    fn learn(&mut self, _: Links<'_>, guest: GuestIdentity<'_>) -> Result<(), DevicesError> {
        if !guest.config.disks.is_empty() {
            self.disks = guest.open_disks()?;
        }
        if !self.asked {
            self.attach.set_images(self.disks.images());
        }
        Ok(())
    }

    fn begin_attach(
        &mut self,
        links: Links<'_>,
        timings: &mut Timings,
    ) -> Result<Option<File>, DevicesError> {
        let mut log = None;
        if self.has_devices() {
            links.records.write_devices(&self.attach)?;
            if self.attach.console.is_some() {
                log = Some(links.records.create_console_log(DomId(self.attach.id.domid))?);
            }
            self.asked = true;
            self.request(links, log.as_ref())?;
        }
        timings.stage("files and attach");
        Ok(log)
    }

    /// Waits for the reply. If noxsd does not serve a bridge yet, passes it the bridge's tap and
    /// asks again, at most once for each vif.
    fn finish_attach(&self, links: Links<'_>, log: Option<&File>) -> Result<(), DevicesError> {
        if !self.has_devices() {
            return Ok(());
        }
        self.disks.keep_connected()?;
        for _ in &self.attach.vifs {
            match links.noxsd.call(Noxsd::finish) {
                Err(BackendError::Refused(Refusal::NoSwitch(bridge))) => {
                    // The name comes from noxsd, which has no rights: it must not choose on which
                    // bridge of dom0 this process, as root, opens a tap.
                    if !self.attach.vifs.iter().any(|vif| vif.bridge == bridge) {
                        return Err(BackendError::Unexpected(&NOXSD).into());
                    }
                    connect_bridge(links, bridge)?;
                    self.request(links, log)?;
                }
                result => return Ok(result?),
            }
        }
        Ok(links.noxsd.call(Noxsd::finish)?)
    }

    fn attach_again(
        &mut self,
        links: Links<'_>,
        vifs: &[VifIdentity],
        log: Option<&File>,
    ) -> Result<(), DevicesError> {
        for (vif, identity) in self.attach.vifs.iter_mut().zip(vifs) {
            vif.identity = Some(*identity);
        }
        links.records.replace_devices(&self.attach)?;
        self.request(links, log)
    }

    /// Sends the identities of the vifs and the files behind the disks. The guest may run before the
    /// reply arrives: its frames and requests stay in its rings until noxsd has configured it.
    fn begin_configure(
        &self,
        links: Links<'_>,
        vifs: &[VifIdentity],
    ) -> Result<bool, DevicesError> {
        let needs_guest = self.attach.vifs.iter().any(|vif| vif.identity.is_none())
            || self.attach.vbds.iter().any(|vbd| vbd.image.is_none());
        if needs_guest {
            let (id, disks) = (self.attach.id, self.disks.images());
            let files: Vec<BorrowedFd<'_>> = self.disks.files().collect();
            links.noxsd.call(|noxsd| {
                self.disks.lift_file_limit(noxsd)?;
                noxsd.begin_configure(Configure { id, vifs, disks, files: &files })
            })?;
        }
        Ok(needs_guest)
    }

    /// Waits for the reply, and writes the identities and the images of disks to the device file, for
    /// a restarted noxsd.
    fn finish_configure(&self, links: Links<'_>, vifs: &[VifIdentity]) -> Result<(), DevicesError> {
        let mut attach = self.attach.clone();
        let (id, disks) = (attach.id, self.disks.images());
        let files: Vec<BorrowedFd<'_>> = self.disks.files().collect();
        let guest = Configure { id, vifs, disks, files: &files };
        links.noxsd.call(|noxsd| noxsd.finish_configure(guest))?;
        for (vif, identity) in attach.vifs.iter_mut().zip(vifs) {
            vif.identity = Some(*identity);
        }
        attach.set_images(disks);
        links.records.replace_devices(&attach)?;
        self.disks.keep_connected()?;
        Ok(configure_restarted(links.noxsd, &self.disks, guest)?)
    }

    fn abandon(&self, links: Links<'_>) {
        self.disks.give_up();
        if self.asked {
            // The error is not reported, because the create has failed with another one. `chaos
            // list` shows what is left, and `chaos destroy` removes it.
            let _ = links.noxsd.call(|noxsd| noxsd.detach(self.attach.id));
        }
    }
}

/// Configures a domain whose device file was completed after `noxsd` had accepted the same. If `noxsd`
/// was restarted in between, the new one has read the file without it, and could give the guest's
/// addresses to another guest.
///
/// # Errors
/// The new `noxsd` has given an address or a disk to another guest already, or does not answer.
pub(crate) fn configure_restarted(
    noxsd: &Link,
    disks: &OpenDisks,
    guest: Configure<'_>,
) -> Result<(), BackendError> {
    if noxsd.is_same() {
        return Ok(());
    }
    let configured = noxsd.call(|noxsd| {
        disks.lift_file_limit(noxsd)?;
        noxsd.finish_configure(guest)
    });
    match configured {
        // It has read the complete file, or the next one will.
        Err(
            BackendError::Refused(Refusal::Invalid(_))
            | BackendError::NotRunning { .. }
            | BackendError::Closed(_),
        ) => Ok(()),
        configured => configured,
    }
}

pub(super) fn detach(links: Links<'_>, id: DomainIdentity) -> Result<(), DevicesError> {
    match links.noxsd.call(|noxsd| noxsd.detach(id.into())) {
        // If noxsd does not run, no page is mapped.
        Err(BackendError::NotRunning { .. }) => Ok(()),
        result => Ok(result?),
    }
}

/// Opens a tap on a bridge, which noxsd may not do without root, and passes it to noxsd.
pub(crate) fn connect_bridge(links: Links<'_>, bridge: String) -> Result<(), DevicesError> {
    let interface = Path::new("/sys/class/net").join(&bridge);
    if !interface.exists() {
        return Err(DevicesError::NoBridge { bridge });
    }
    if !interface.join("bridge").exists() {
        return Err(DevicesError::NotABridge { interface: bridge });
    }
    let tap = tap::open_on_bridge(&bridge)
        .map_err(|source| DevicesError::Tap { bridge: bridge.clone(), source })?;
    Ok(links.noxsd.call(|noxsd| noxsd.add_switch(bridge.clone(), tap.as_fd()))?)
}
