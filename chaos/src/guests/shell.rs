//! Shells with their devices attached.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;

use noxs_control::{Attach, ConsoleDevice, DomainId, Refusal, VifDevice, VifIdentity};
use xen::units::{DomId, GrantRef, Port};

use super::announced::{Announced, Known};
use super::{Host, LifecycleError};
use crate::clients::noxsd::{BackendError, Noxsd};
use crate::config::Store;
use crate::domain::{self, Flavour, ParkedShell, Shell};
use crate::handle;
use crate::image::Image;
use crate::records::Ahead;
use crate::timings::Timings;

/// What a shell is made for, as far as dom0 is concerned.
#[derive(Clone, Debug)]
pub struct ShellKind {
    /// What Xen is asked for.
    pub flavour: Flavour,
    /// The bridge of each vif.
    pub bridges: Vec<String>,
    /// The image it holds already. Without one it takes any.
    pub image: Option<Arc<Image>>,
}

/// A shell with rings, grants and event channels, and with its backends attached.
///
/// It has a folder among the records, but no record and no name: whoever finds it after its maker
/// was killed knows that nobody will miss it. Dropping it takes everything of it away.
#[derive(Debug)]
pub struct AttachedShell {
    /// First, so that it is destroyed before its traces are taken away.
    shell: Shell,
    traces: Traces,
}

/// What a shell has outside of Xen, taken away when dropped unless it is kept.
#[derive(Debug)]
pub(super) struct Traces {
    host: Host,
    pub(super) attach: Attach,
    /// In XenStore mode, what is announced there; `attach` is empty then.
    pub(super) announced: Option<Announced>,
    /// What was made of its record ahead.
    pub(super) ahead: Option<Ahead>,
    /// Whether the backends have been asked to attach.
    asked: bool,
    kept: bool,
}

/// An [`AttachedShell`] that belongs to no thread. Dropping it leaves the domain half-made.
#[derive(Debug)]
#[must_use = "the domain is left half-made if this is dropped"]
pub struct ParkedAttachedShell {
    shell: ParkedShell,
    attach: Attach,
    announced: Option<Announced>,
    ahead: Option<Ahead>,
}

/// Makes a shell and attaches its backends, for guests that are not known yet.
///
/// # Errors
/// As [`create`](super::create()), as far as it applies. Nothing is left behind.
pub fn prepare_shell(
    host: &Host,
    kind: &ShellKind,
    timings: &mut Timings,
) -> Result<AttachedShell, LifecycleError> {
    let vifs: Vec<_> = kind.bridges.iter().map(|bridge| (bridge.as_str(), None)).collect();
    let mut shell = make(host, kind.flavour, &vifs, kind.image.as_deref(), timings)?;
    let log = shell.start_attach(None, timings)?;
    if let Some(image) = &kind.image {
        shell.load(image)?;
        timings.stage("image");
    }
    shell.traces.ahead = Some(host.records.make_ahead(shell.domid())?);
    shell.finish_attach(log.as_ref())?;
    timings.stage("attached");
    Ok(shell)
}

/// Makes a shell whose devices are not attached yet.
pub(super) fn make(
    host: &Host,
    flavour: Flavour,
    vifs: &[(&str, Option<VifIdentity>)],
    image: Option<&Image>,
    timings: &mut Timings,
) -> Result<AttachedShell, LifecycleError> {
    let handle = handle::new_handle().map_err(LifecycleError::Process)?;
    let shell = domain::prepare(&host.xen, flavour, image, handle, timings)?;
    let announced = Announced::of(&shell, vifs.iter().map(|(bridge, _)| *bridge));
    let attach = attach_request(&shell, vifs);
    let traces =
        Traces { host: host.clone(), attach, announced, ahead: None, asked: false, kept: false };
    Ok(AttachedShell { shell, traces })
}

impl AttachedShell {
    /// The domain's number.
    #[must_use]
    pub fn domid(&self) -> DomId {
        DomId(self.traces.attach.id.domid)
    }

    /// What was made of its record and name ahead, if anything was.
    pub(super) fn ahead(&self) -> Option<&Ahead> {
        self.traces.ahead.as_ref()
    }

    /// Puts an image in.
    pub(super) fn load(&mut self, image: &Arc<Image>) -> Result<(), LifecycleError> {
        Ok(self.shell.load(image)?)
    }

    /// Lets go of Xen and `noxsd`, so that another thread can have the shell.
    pub fn park(self) -> ParkedAttachedShell {
        let Self { shell, mut traces } = self;
        let attach = traces.attach.clone();
        let (announced, ahead) = (traces.announced.take(), traces.ahead.take());
        traces.keep();
        ParkedAttachedShell { shell: shell.park(), attach, announced, ahead }
    }

    /// The shell, and what it has outside of Xen.
    pub(super) fn take(self) -> (Shell, Traces) {
        (self.shell, self.traces)
    }

    /// Asks `noxsd` to attach the devices, without waiting for it. Gives the console's log. In
    /// XenStore mode the devices are announced, with all that is `known` of the guest.
    pub(super) fn start_attach(
        &mut self,
        known: Option<Known<'_>>,
        timings: &mut Timings,
    ) -> Result<Option<File>, LifecycleError> {
        let domid = self.domid();
        let has_devices = self.traces.has_devices();
        let Traces { host, attach, announced, asked, .. } = &mut self.traces;
        host.records.make_folder(domid)?;
        if let Some(announced) = announced {
            announced.start(host, known)?;
            timings.stage("announced");
            return Ok(None);
        }
        let mut log = None;
        if has_devices {
            host.records.write_devices(attach)?;
            if attach.console.is_some() {
                log = Some(host.records.create_console_log(domid)?);
            }
            *asked = true;
            self.begin_attach(log.as_ref())?;
        }
        timings.stage("files and attach");
        Ok(log)
    }

    fn begin_attach(&self, log: Option<&File>) -> Result<(), LifecycleError> {
        let Traces { host, attach, .. } = &self.traces;
        Ok(host.noxsd.call(|noxsd| noxsd.begin_attach(attach.clone(), log.map(AsFd::as_fd)))?)
    }

    /// Waits until the devices are attached; gives `noxsd` a bridge it does not serve yet.
    pub(super) fn finish_attach(&self, log: Option<&File>) -> Result<(), LifecycleError> {
        let host = &self.traces.host;
        if let Some(announced) = &self.traces.announced {
            return announced.settle(host);
        }
        if !self.traces.has_devices() {
            return Ok(());
        }
        match host.noxsd.call(Noxsd::finish) {
            Err(BackendError::Refused(Refusal::NoSwitch(bridge))) => {
                connect_bridge(host, bridge)?;
                self.begin_attach(log)?;
                Ok(host.noxsd.call(Noxsd::finish)?)
            }
            result => Ok(result?),
        }
    }
}

impl ParkedAttachedShell {
    /// Makes it a shell again.
    #[must_use]
    pub fn unpark(self, host: &Host) -> AttachedShell {
        let Self { shell, attach, announced, ahead } = self;
        let traces =
            Traces { host: host.clone(), attach, announced, ahead, asked: true, kept: false };
        AttachedShell { shell: shell.unpark(&host.xen), traces }
    }
}

impl Traces {
    pub(super) fn has_devices(&self) -> bool {
        self.attach.console.is_some() || !self.attach.vifs.is_empty()
    }

    /// Whether `noxsd` does not know yet whom it serves.
    pub(super) fn is_unconfigured(&self) -> bool {
        self.attach.vifs.iter().any(|vif| vif.identity.is_none())
    }

    /// The guest is made: its traces are to stay.
    pub(super) fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Traces {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        // There is nobody to tell: this runs while another error is on its way. `chaos list`
        // shows what is left, if anything is, and `chaos destroy` removes it.
        if let Some(announced) = &self.announced {
            announced.withdraw();
        } else if self.asked {
            let _ = self.host.noxsd.call(|noxsd| noxsd.detach(self.attach.id));
        }
        let _ = self.host.records.remove(DomId(self.attach.id.domid), None);
    }
}

fn connect_bridge(host: &Host, bridge: String) -> Result<(), LifecycleError> {
    if !Path::new("/sys/class/net").join(&bridge).join("bridge").exists() {
        return Err(LifecycleError::NoBridge { bridge });
    }
    let tap = tap::open_on_bridge(&bridge)
        .map_err(|source| LifecycleError::Tap { bridge: bridge.clone(), source })?;
    Ok(host.noxsd.call(|noxsd| noxsd.add_switch(bridge.clone(), tap.as_fd()))?)
}

fn attach_request(shell: &Shell, vifs: &[(&str, Option<VifIdentity>)]) -> Attach {
    let id = DomainId { domid: shell.domid().0, handle: shell.handle().0 };
    let devices = shell.ports.devices.filter(|_| shell.flavour.store == Store::Noxs);
    let Some(Port(port)) = devices else {
        return Attach { id, console: None, vifs: Vec::new() };
    };
    let console = shell.console_grant().map(|GrantRef(ring)| ConsoleDevice { port, ring });
    let vifs = (0u16..)
        .zip(vifs)
        .map(|(index, (bridge, identity))| {
            let [GrantRef(tx_ring), GrantRef(rx_ring)] = shell.vif_grants(index);
            let bridge = (*bridge).to_owned();
            VifDevice { index, port, tx_ring, rx_ring, bridge, identity: *identity }
        })
        .collect();
    Attach { id, console, vifs }
}
