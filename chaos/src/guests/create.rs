//! Making a guest.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use noxs_control::VifIdentity;
use xen::units::DomId;

use super::announced::Known;
use super::nic::Nic;
use super::resolve::{Condition, examine};
use super::shell::{self, AttachedShell, ShellKind, Traces};
use super::{Host, LifecycleError, console, destroy};
use crate::config::DomainConfig;
use crate::config::Store;
use crate::domain::{Flavour, Mapped, Payload, Shell, VifFacts};
use crate::image::{Image, RamdiskFile};
use crate::records::{Ahead, Record, RecordError};
use crate::timings::Timings;

/// How a guest is to be made.
#[derive(Clone, Copy, Debug, Default)]
pub struct CreateOptions {
    /// Leave it paused.
    pub paused: bool,
    /// Connect to its console before it runs.
    pub console: bool,
}

/// A guest that was made.
#[derive(Debug)]
pub struct Created {
    /// Its number.
    pub domid: DomId,
    /// Its record.
    pub record: Record,
    /// Its console, if that was asked for.
    pub console: Option<OwnedFd>,
    /// What is still mapped of it.
    pub mapped: Mapped,
}

/// Makes a guest from its configuration.
///
/// # Errors
/// Anything that is missing or does not fit. Nothing of the guest is left behind.
pub fn create(
    host: &Host,
    config: &DomainConfig,
    options: CreateOptions,
    timings: &mut Timings,
) -> Result<Created, LifecycleError> {
    let image = host
        .image(&config.kernel)
        .map_err(|source| LifecycleError::Kernel { path: config.kernel.clone(), source })?;
    let ramdisk = config.ramdisk.as_deref().map(open_ramdisk).transpose()?;
    timings.stage("files");
    let request = GuestRequest { config, image: &image, ramdisk: ramdisk.as_ref(), options };
    create_from(host, &request, timings)
}

/// Makes a guest from its configuration and its files' content.
///
/// # Errors
/// As [`create`].
pub fn create_from(
    host: &Host,
    request: &GuestRequest<'_>,
    timings: &mut Timings,
) -> Result<Created, LifecycleError> {
    let nics = request.check()?;
    let made = cold(host, request, &nics, timings);
    made.map_err(|error| error.about("create", &request.config.name))
}

/// Makes a shell a guest.
///
/// The caller has seen to it that the shell is of the right kind; the request's image is the one
/// it holds, if it holds one.
///
/// # Errors
/// As [`create`]. The shell is gone.
pub fn execute_shell(
    host: &Host,
    shell: AttachedShell,
    request: &GuestRequest<'_>,
    timings: &mut Timings,
) -> Result<Created, LifecycleError> {
    let nics = request.check()?;
    let name = Name::reserve(host, &request.config.name, shell.domid(), shell.ahead())?;
    timings.stage("name");
    let (shell, traces) = shell.take();
    let made = finish(host, shell, traces, name, request, &nics, timings);
    made.map_err(|error| error.about("create", &request.config.name))
}

/// The kind of shell a guest needs.
#[must_use]
pub fn shell_kind(config: &DomainConfig) -> ShellKind {
    let bridges = config.vifs.iter().map(|vif| vif.bridge.clone()).collect();
    ShellKind { flavour: flavour(config), bridges, image: None }
}

/// A guest that is asked for, with its files' content.
#[derive(Clone, Copy, Debug)]
pub struct GuestRequest<'a> {
    /// Its config.
    pub config: &'a DomainConfig,
    /// Its kernel.
    pub image: &'a Arc<Image>,
    /// Its ramdisk.
    pub ramdisk: Option<&'a RamdiskFile>,
    /// How it is to be made.
    pub options: CreateOptions,
}

impl<'a> GuestRequest<'a> {
    /// Gives its network interfaces, if nothing in the request contradicts itself.
    fn check(&self) -> Result<Vec<Nic<'a>>, LifecycleError> {
        if self.options.console && !self.config.console {
            return Err(LifecycleError::NoConsole { name: self.config.name.clone() });
        }
        self.config.vifs.iter().map(Nic::new).collect()
    }
}

fn flavour(config: &DomainConfig) -> Flavour {
    Flavour {
        memory: config.memory,
        vcpus: config.vcpus,
        console: config.console,
        vifs: u16::try_from(config.vifs.len()).unwrap_or(u16::MAX),
        store: config.store,
    }
}

/// A shell is made on the spot, with its backends told at once whom they serve.
fn cold(
    host: &Host,
    request: &GuestRequest<'_>,
    nics: &[Nic<'_>],
    timings: &mut Timings,
) -> Result<Created, LifecycleError> {
    let vifs: Vec<(&str, Option<VifIdentity>)> =
        nics.iter().map(|nic| (nic.config.bridge.as_str(), Some(nic.identity()))).collect();
    let flavour = flavour(request.config);
    let mut shell = shell::make(host, flavour, &vifs, Some(request.image), timings)?;
    // The name comes before the devices: whoever wants it after this process was killed finds the
    // domain by it, and takes it away with its addresses.
    let name = Name::reserve(host, &request.config.name, shell.domid(), None)?;
    timings.stage("name");
    let identities: Vec<VifIdentity> = match request.config.store {
        // `noxsd` is told with the devices.
        Store::Noxs => Vec::new(),
        Store::XenStore => nics.iter().map(Nic::identity).collect(),
    };
    let known = Known { config: request.config, vifs: &identities };
    let log = shell.start_attach(Some(known), timings)?;
    // The image goes in while `noxsd` is at work.
    shell.load(request.image)?;
    timings.stage("image");
    shell.finish_attach(log.as_ref())?;
    timings.stage("attached");
    let (shell, traces) = shell.take();
    finish(host, shell, traces, name, request, nics, timings)
}

/// What is the same for each shell.
fn finish(
    host: &Host,
    shell: Shell,
    mut traces: Traces,
    name: Name<'_>,
    request: &GuestRequest<'_>,
    nics: &[Nic<'_>],
    timings: &mut Timings,
) -> Result<Created, LifecycleError> {
    let GuestRequest { config, image, ramdisk, options } = *request;
    let (domid, handle) = (shell.domid(), shell.handle());
    let facts: Vec<VifFacts> = nics.iter().map(Nic::facts).collect();
    let payload = Payload { image, command_line: &config.cmdline, ramdisk, vifs: &facts };
    let sysctl_port = shell.ports.store.0;
    let ready = shell.execute(&payload, timings)?;

    // Nobody waits for the answer before the guest runs: what it sends until `noxsd` knows who it
    // is stays in its rings.
    let configure = traces.is_unconfigured();
    let identities: Vec<VifIdentity> = nics.iter().map(Nic::identity).collect();
    if configure {
        host.noxsd.call(|noxsd| noxsd.begin_configure(traces.attach.id, &identities))?;
        timings.stage("configure");
    }
    if let Some(announced) = &mut traces.announced {
        announced.identify(host, Known { config, vifs: &identities })?;
        timings.stage("identified");
    }

    let mut decided = config.clone();
    for (vif, nic) in decided.vifs.iter_mut().zip(nics) {
        vif.mac = Some(nic.mac);
    }
    let mut record = Record::new(domid, handle, decided);
    if let Some(noxs) = ready.layout.noxs {
        record.device_page_gfn = noxs.device_page.0;
        record.answer_page_gfn = noxs.answer_page.0;
        record.sysctl_port = sysctl_port;
    }
    record.paused = options.paused;
    host.records.write(&record, traces.ahead.as_ref())?;
    timings.stage("record");
    let console = match options.console {
        true if config.store == Store::XenStore => Some(console::terminal(domid)?),
        true => Some(host.noxsd.connect()?.console(traces.attach.id)?),
        false => None,
    };

    let mapped = match options.paused {
        true => ready.keep_paused(),
        false => ready.unpause(timings)?,
    };
    if configure && let Err(error) = configured(host, &traces, &identities) {
        drop(mapped);
        // The traces are taken away by their own drop; this one's failure leaves a domain that
        // `chaos list` shows.
        let _ = host.xen.destroy(domid);
        return Err(error);
    }
    traces.keep();
    name.keep();
    Ok(Created { domid, record, console, mapped })
}

/// Waits until `noxsd` knows whom it serves, and keeps that for the next one.
fn configured(
    host: &Host,
    traces: &Traces,
    identities: &[VifIdentity],
) -> Result<(), LifecycleError> {
    let mut attach = traces.attach.clone();
    host.noxsd.call(|noxsd| noxsd.finish_configure(attach.id, identities))?;
    for (vif, identity) in attach.vifs.iter_mut().zip(identities) {
        vif.identity = Some(*identity);
    }
    Ok(host.records.replace_devices(&attach)?)
}

/// A name that is taken; free again when dropped unless it is kept.
struct Name<'a> {
    host: &'a Host,
    name: &'a str,
    kept: bool,
}

impl<'a> Name<'a> {
    fn reserve(
        host: &'a Host,
        name: &'a str,
        domid: DomId,
        ahead: Option<&Ahead>,
    ) -> Result<Self, LifecycleError> {
        match host.records.reserve_name(name, domid, ahead) {
            Err(RecordError::NameInUse { .. }) => {
                free_name(host, name)?;
                host.records.reserve_name(name, domid, ahead)?;
            }
            result => result?,
        }
        Ok(Self { host, name, kept: false })
    }

    fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Name<'_> {
    fn drop(&mut self) {
        if !self.kept {
            // There is nobody to tell: this runs while another error is on its way. A name that
            // leads to no guest is free for the next create.
            let _ = self.host.records.remove_name(self.name);
        }
    }
}

/// Makes sure that nobody has the name, and clears away what a killed process has left under it.
/// Only [`crate::records::Records::reserve_name`] takes it for good.
fn free_name(host: &Host, name: &str) -> Result<(), LifecycleError> {
    let Some(domid) = host.records.holder(name)? else { return Ok(()) };
    let guest = examine(host, domid)?;
    match guest.condition {
        Condition::Guest(record) if record.name() == name => {
            Err(RecordError::NameInUse { name: name.to_owned(), domid }.into())
        }
        Condition::BeingMade | Condition::Shell | Condition::Unrecorded => {
            Err(RecordError::NameInUse { name: name.to_owned(), domid }.into())
        }
        Condition::HalfMade => destroy::remove(host, &guest).map(drop),
        // The domid has gone to somebody else: only the name is stale.
        Condition::Guest(_) | Condition::Foreign => Ok(host.records.remove_name(name)?),
        Condition::Gone => Ok(host.records.remove(domid, Some(name))?),
    }
}

fn open_ramdisk(path: &Path) -> Result<RamdiskFile, LifecycleError> {
    RamdiskFile::open(path)
        .map_err(|source| LifecycleError::Ramdisk { path: path.to_owned(), source })
}
