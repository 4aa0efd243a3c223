// SPDX-License-Identifier: GPL-3.0-or-later
//! Creates guests.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use noxs_control::{ConsoleUse, VifIdentity};
use xen::Xen;
use xen::units::{DomId, DomainHandle};

use super::conflict;
use super::decide::decide;
use super::error::LifecycleError;
use super::host::Host;
use super::leftovers;
use super::name::Name;
use super::shell::{self, AttachedShell, Attachments, ShellKind};
use super::vif_plan::VifPlans;
use crate::backends::dom0_kernel::{self, KernelError};
use crate::backends::{self, DevicesError, GuestIdentity, OpenDisks, mtu};
use crate::config::{Discovery, DomainConfig};
use crate::domain::{Flavour, Payload};
use crate::handle::DomainIdentity;
use crate::hypervisor::{BuiltShell, Hypervisor, MappedOf, ReadyDomain};
use crate::image::{Image, ModuleFile};
use crate::records::{DevicePageRecord, PageDevices, Record, RequestId};
use crate::timings::Timings;

/// Options of a create.
#[derive(Clone, Copy, Debug, Default)]
pub struct CreateOptions {
    /// Leave it paused.
    pub paused: bool,
    /// Connect to its console before it runs.
    pub console: bool,
    /// The user who asked for it; 0 is root.
    pub owner: u32,
    /// The number of the request, if it has one.
    pub request: Option<RequestId>,
}

/// A guest that was created.
#[derive(Debug)]
pub struct Created<H: Hypervisor = Xen> {
    /// Its number.
    pub domid: DomId,
    /// Its record.
    pub record: Record,
    /// The connection to its console, if that was asked for.
    pub console: Option<OwnedFd>,
    /// The pages of the guest that are still mapped.
    pub mapped: MappedOf<H>,
}

/// Creates a guest from its config, and removes incomplete domains that it meets.
///
/// # Errors
/// A file of the guest cannot be used, its memory or its devices do not fit, its name is in use, or
/// Xen or a backend refuses. Nothing of the guest is left behind.
pub fn create<H: Hypervisor>(
    host: &Host<H>,
    config: &DomainConfig,
    options: CreateOptions,
    timings: &mut Timings,
) -> Result<Created<H>, LifecycleError> {
    let kernel = config.boot_kernel();
    let kernel_error =
        |path: &Path, source| LifecycleError::Kernel { path: path.to_owned(), source };
    let image = host.image(kernel, config.memory).map_err(|source| kernel_error(kernel, source))?;
    let open_kernel =
        |path: &Path| ModuleFile::open(path).map_err(|source| kernel_error(path, source));
    let pv_kernel = config.pv_kernel().map(open_kernel).transpose()?;
    let ramdisk = config.ramdisk.as_deref().map(open_ramdisk).transpose()?;
    let config = decide(host, config, &image, options.console)?;
    timings.stage("files");
    let request = GuestRequest {
        config: &config,
        image: &image,
        pv_kernel: pv_kernel.as_ref(),
        ramdisk: ramdisk.as_ref(),
        disks: None,
        options,
    };
    let created = match create_from(host, &request, timings) {
        Err(error)
            if error.is_out_of_memory() && leftovers::reap(host).is_ok_and(|count| count > 0) =>
        {
            create_from(host, &request, timings)?
        }
        result => result?,
    };
    // The error is not reported, because the guest is created. `chaos list` tries again.
    let _ = leftovers::reap_before(host, created.domid);
    Ok(created)
}

/// Creates a guest from its config and its open files. The config leaves nothing open, as [`decide`]
/// returns it.
///
/// # Errors
/// As [`create`].
pub fn create_from<H: Hypervisor>(
    host: &Host<H>,
    request: &GuestRequest<'_>,
    timings: &mut Timings,
) -> Result<Created<H>, LifecycleError> {
    let mut plans = request.check()?;
    prepare_and_finish(host, request, &mut plans, timings)
        .map_err(|error| conflict::explain(host, &plans, error))
        .map_err(|error| error.about("create", &request.config.name))
}

/// Returns the disks of a guest that another process has opened, in the order of the config. Nothing
/// is opened: only the descriptors are read.
///
/// # Errors
/// A descriptor cannot be a disk, or was opened for something else than the config says.
pub fn receive_disks(
    config: &DomainConfig,
    files: Vec<File>,
) -> Result<Arc<OpenDisks>, LifecycleError> {
    OpenDisks::receive(&config.disks, files)
        .map(Arc::new)
        .map_err(|error| LifecycleError::from(error).about("create", &config.name))
}

/// Turns a shell into a guest.
///
/// The shell must be of the kind that [`shell_kind`] returns for the config. If it holds an image,
/// the request must have the same one.
///
/// # Errors
/// As [`create`]. The shell is destroyed.
pub fn execute_shell<H: Hypervisor>(
    host: &Host<H>,
    shell: AttachedShell<H>,
    request: &GuestRequest<'_>,
    timings: &mut Timings,
) -> Result<Created<H>, LifecycleError> {
    let mut plans = request.check()?;
    let vifs = plans.identities();
    let name = Name::reserve(host, &request.config.name, shell.domid(), shell.prepared())?;
    timings.stage("name");
    finish(host, shell.take(), name, request, &plans, &vifs, timings)
        .or_else(|error| {
            // The guest may have started with an address or a disk that is in use. It is destroyed by
            // now; no frame of it was forwarded, and no request to the disk was taken.
            let Some(in_use) = error.conflict() else { return Err(error) };
            match conflict::settle(host, &mut plans, &in_use)? {
                true => prepare_and_finish(host, request, &mut plans, timings),
                false => Err(error),
            }
        })
        .map_err(|error| conflict::explain(host, &plans, error))
        .map_err(|error| error.about("create", &request.config.name))
}

/// Returns the kind of shell that a guest needs.
#[must_use]
pub fn shell_kind(config: &DomainConfig) -> ShellKind {
    let bridges = config.vifs.iter().map(|vif| vif.bridge.clone()).collect();
    ShellKind { flavour: flavour(config), bridges, image: None }
}

/// A request for a guest, with its files.
#[derive(Clone, Copy, Debug)]
pub struct GuestRequest<'a> {
    /// Its config.
    pub config: &'a DomainConfig,
    /// The kernel that Xen starts.
    pub image: &'a Arc<Image>,
    /// The kernel that this one starts, if it is the PV shim.
    pub pv_kernel: Option<&'a ModuleFile>,
    /// Its ramdisk.
    pub ramdisk: Option<&'a ModuleFile>,
    /// Its disks, if they are open already. Otherwise their paths are opened.
    pub disks: Option<&'a Arc<OpenDisks>>,
    /// The options.
    pub options: CreateOptions,
}

impl<'a> GuestRequest<'a> {
    /// Returns the plan of each vif, if the request does not contradict itself.
    fn check(&self) -> Result<VifPlans<'a>, LifecycleError> {
        if self.options.console && !self.config.console {
            return Err(LifecycleError::NoConsole { name: self.config.name.clone() });
        }
        mtu::check(&self.config.vifs)?;
        if self.config.has_scripts() {
            dom0_kernel::check_scripts(&self.config.vifs)
                .map_err(KernelError::Script)
                .map_err(DevicesError::from)?;
        }
        VifPlans::new(&self.config.vifs)
    }
}

fn flavour(config: &DomainConfig) -> Flavour {
    Flavour {
        memory: config.memory,
        vcpus: config.vcpus,
        console: config.console,
        vifs: u16::try_from(config.vifs.len()).unwrap_or(u16::MAX),
        disks: match config.store.discovery() {
            Discovery::DevicePage => u16::try_from(config.disks.len()).unwrap_or(u16::MAX),
            Discovery::XenStore => 0,
        },
        limits: config.extras().limits,
        store: config.store,
    }
}

/// Prepares a shell and turns it into a guest. The backends learn of the guest when they attach.
fn prepare_and_finish<H: Hypervisor>(
    host: &Host<H>,
    request: &GuestRequest<'_>,
    plans: &mut VifPlans<'_>,
    timings: &mut Timings,
) -> Result<Created<H>, LifecycleError> {
    let GuestRequest { config, image, disks, .. } = *request;
    let mut vifs = plans.identities();
    let bridges = plans.bridges();
    let uuid = config.extras().uuid;
    if let Some(uuid) = uuid {
        check_uuid(host, uuid)?;
    }
    let mut shell =
        shell::prepare(host, flavour(config), bridges, &vifs, Some(image), uuid, timings)?;
    // The name is reserved before the devices are attached: if this process is killed, the next
    // create of the same name finds the domain through it, and destroys it. That frees the guest's
    // addresses.
    let name = Name::reserve(host, &config.name, shell.domid(), None)?;
    timings.stage("name");
    let log = shell.start_attach(Some(GuestIdentity { config, vifs: &vifs, disks }), timings)?;
    // Copy the image while the backends attach.
    shell.load(image)?;
    timings.stage("image");
    while let Err(error) = shell.finish_attach(log.as_ref()) {
        let Some(in_use) = error.conflict() else { return Err(error) };
        if !conflict::settle(host, plans, &in_use)? {
            return Err(error);
        }
        vifs = plans.identities();
        shell.attach_again(&vifs, log.as_ref())?;
    }
    timings.stage("attached");
    finish(host, shell.take(), name, request, plans, &vifs, timings)
}

/// Checks that no domain has a UUID.
#[cold]
fn check_uuid<H: Hypervisor>(host: &Host<H>, uuid: DomainHandle) -> Result<(), LifecycleError> {
    let all = host.xen.domain_list(DomId::DOM0)?;
    match all.iter().find(|info| info.handle == uuid && !info.state.dying) {
        Some(info) => Err(LifecycleError::UuidInUse { uuid, domid: info.domid }),
        None => Ok(()),
    }
}

/// Turns a shell with attached backends into a guest, in the way that both kinds of creates share.
fn finish<H: Hypervisor>(
    host: &Host<H>,
    (shell, mut attachments): (H::Shell, Attachments<H>),
    name: Name<'_>,
    request: &GuestRequest<'_>,
    plans: &VifPlans<'_>,
    vifs: &[VifIdentity],
    timings: &mut Timings,
) -> Result<Created<H>, LifecycleError> {
    let GuestRequest { config, image, pv_kernel, ramdisk, disks: open_disks, options } = *request;
    let id = DomainIdentity { domid: shell.domid(), handle: shell.handle() };
    let guest = GuestIdentity { config, vifs, disks: open_disks };
    attachments.learn(guest)?;
    let (entries, disks) = (plans.device_page_entries(), attachments.devices.page_disks());
    let payload = Payload {
        image,
        command_line: config.boot_cmdline(),
        pv_kernel: pv_kernel.map(|file| (file, config.cmdline.as_str())),
        ramdisk,
        vifs: &entries,
        disks: &disks,
    };
    let ports = shell.ports();
    let ready = shell.execute(&payload, timings)?;
    host.xen.tune(&host.xenstored, id.domid, config)?;
    let pending = attachments.begin_identify(guest, timings)?;

    let mut completed = config.clone();
    plans.complete(&mut completed);
    let mut record = Record::new(id.domid, id.handle, completed);
    record.device_page = ready.noxs_pages().map(|pages| DevicePageRecord {
        gfn: pages.device_page,
        answer_gfn: pages.answer_page,
        sysctl_port: ports.store,
        requests: 0,
        devices: Some(PageDevices::of(config, ports.devices)),
    });
    record.paused = options.paused;
    (record.owner, record.request) = (options.owner, options.request);
    host.records.write(&record, attachments.prepared.as_ref())?;
    timings.stage("record");
    let console = match options.console {
        true => {
            let usage = ConsoleUse::Terminal;
            Some(backends::console(config.store.backends(), host.links(), id, usage)?.0)
        }
        false => None,
    };

    let mapped = match options.paused {
        true => ready.keep_paused(),
        false => ready.unpause(timings)?,
    };
    if pending && let Err(error) = attachments.finish_identify(vifs) {
        drop(mapped);
        // Dropping `attachments` removes what the guest has outside of Xen. If the domain cannot be
        // destroyed, `chaos list` shows it.
        let _ = host.xen.destroy(id.domid);
        return Err(error);
    }
    attachments.keep();
    name.keep();
    Ok(Created { domid: id.domid, record, console, mapped })
}

fn open_ramdisk(path: &Path) -> Result<ModuleFile, LifecycleError> {
    ModuleFile::open(path)
        .map_err(|source| LifecycleError::Ramdisk { path: path.to_owned(), source })
}
