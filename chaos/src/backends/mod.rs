//! Who serves a guest's devices: noxsd, or dom0's kernel.
//!
//! Each is a file beside this one. A third would be another file and a branch in each `match` here.
//! How the guest learns of its devices is another question ([`crate::announce`]): a guest whose
//! XenStore nodes lead to noxsd needs nothing new here.

pub mod dom0_kernel;
mod error;
pub mod noxsd;

use std::fs::File;
use std::os::fd::OwnedFd;

use noxs_control::VifIdentity;

use self::dom0_kernel::{KernelDevices, terminal};
use self::noxsd::NoxsdDevices;
use crate::announce::xenstore::DiskNodes;
use crate::clients::{noxsd::Link, xenstored};
use crate::config::{Backends, DomainConfig};
use crate::handle::DomainIdentity;
use crate::hypervisor::BuiltShell;
use crate::records::Records;
use crate::timings::Timings;

pub use error::DevicesError;

/// The ways to the processes that serve devices, and to what they need of the records.
#[derive(Clone, Copy, Debug)]
pub struct Links<'a> {
    /// noxsd.
    pub noxsd: &'a Link,
    /// xenstored.
    pub xenstored: &'a xenstored::Link,
    /// The records.
    pub records: &'a Records,
}

/// Which guest a shell becomes.
#[derive(Clone, Copy, Debug)]
pub struct GuestIdentity<'a> {
    /// Its config.
    pub config: &'a DomainConfig,
    /// Who its vifs are.
    pub vifs: &'a [VifIdentity],
}

/// What a shell's devices need of those that serve them, in the order of the calls.
pub trait Serve {
    /// Takes note of the guest that the shell becomes, and opens its files.
    ///
    /// # Errors
    /// A file cannot be used.
    fn learn(&mut self, guest: GuestIdentity<'_>) -> Result<(), DevicesError>;

    /// Asks for the devices to be attached, without waiting. Returns the console's log, if there is
    /// one.
    ///
    /// # Errors
    /// A file cannot be written, or the request cannot be sent.
    fn begin_attach(
        &mut self,
        links: Links<'_>,
        timings: &mut Timings,
    ) -> Result<Option<File>, DevicesError>;

    /// Waits until the devices are attached. `log` is what [`begin_attach`](Self::begin_attach) has
    /// returned.
    ///
    /// # Errors
    /// A device is refused, or its bridge cannot be connected.
    fn finish_attach(&self, links: Links<'_>, log: Option<&File>) -> Result<(), DevicesError>;

    /// Begins to configure devices that were attached before their guest was known. Returns whether
    /// [`finish_configure`](Self::finish_configure) has to follow.
    ///
    /// # Errors
    /// As [`begin_attach`](Self::begin_attach) and [`finish_attach`](Self::finish_attach).
    fn begin_configure(&self, links: Links<'_>, vifs: &[VifIdentity])
    -> Result<bool, DevicesError>;

    /// Waits until the devices are configured.
    ///
    /// # Errors
    /// A device is refused.
    fn finish_configure(&self, links: Links<'_>, vifs: &[VifIdentity]) -> Result<(), DevicesError>;

    /// Detaches the devices of a shell that is given up.
    fn abandon(&self, links: Links<'_>);
}

/// The devices of one shell.
#[derive(Debug)]
pub enum Devices {
    /// Served by noxsd.
    Noxsd(NoxsdDevices),
    /// Served by dom0's kernel.
    Dom0Kernel(KernelDevices),
}

impl Devices {
    /// Returns a shell's devices. `vifs` says who they are, if that is known; it is empty
    /// otherwise.
    pub fn of<'a>(
        shell: &impl BuiltShell,
        bridges: impl Iterator<Item = &'a str>,
        vifs: &[VifIdentity],
    ) -> Self {
        match shell.flavour().store.backends() {
            Backends::Noxsd => Self::Noxsd(NoxsdDevices::of(shell, bridges, vifs)),
            Backends::Dom0Kernel => Self::Dom0Kernel(KernelDevices::of(shell, bridges)),
        }
    }

    /// Returns no devices at all: what is left where they have been moved away.
    pub fn none(id: DomainIdentity) -> Self {
        Self::Noxsd(NoxsdDevices::none(id))
    }

    /// Returns the disks that are announced in XenStore.
    pub fn disk_nodes(&self) -> Vec<DiskNodes<'_>> {
        match self {
            Self::Noxsd(_) => Vec::new(),
            Self::Dom0Kernel(devices) => devices.disk_nodes(),
        }
    }
}

impl Serve for Devices {
    fn learn(&mut self, guest: GuestIdentity<'_>) -> Result<(), DevicesError> {
        match self {
            Self::Noxsd(devices) => devices.learn(guest),
            Self::Dom0Kernel(devices) => devices.learn(guest),
        }
    }

    fn begin_attach(
        &mut self,
        links: Links<'_>,
        timings: &mut Timings,
    ) -> Result<Option<File>, DevicesError> {
        match self {
            Self::Noxsd(devices) => devices.begin_attach(links, timings),
            Self::Dom0Kernel(devices) => devices.begin_attach(links, timings),
        }
    }

    fn finish_attach(&self, links: Links<'_>, log: Option<&File>) -> Result<(), DevicesError> {
        match self {
            Self::Noxsd(devices) => devices.finish_attach(links, log),
            Self::Dom0Kernel(devices) => devices.finish_attach(links, log),
        }
    }

    fn begin_configure(
        &self,
        links: Links<'_>,
        vifs: &[VifIdentity],
    ) -> Result<bool, DevicesError> {
        match self {
            Self::Noxsd(devices) => devices.begin_configure(links, vifs),
            Self::Dom0Kernel(devices) => devices.begin_configure(links, vifs),
        }
    }

    fn finish_configure(&self, links: Links<'_>, vifs: &[VifIdentity]) -> Result<(), DevicesError> {
        match self {
            Self::Noxsd(devices) => devices.finish_configure(links, vifs),
            Self::Dom0Kernel(devices) => devices.finish_configure(links, vifs),
        }
    }

    fn abandon(&self, links: Links<'_>) {
        match self {
            Self::Noxsd(devices) => devices.abandon(links),
            Self::Dom0Kernel(devices) => devices.abandon(links),
        }
    }
}

/// Connects to the console of a guest that runs.
///
/// # Errors
/// The guest has no console, or another client uses it.
pub fn console(
    backends: Backends,
    links: Links<'_>,
    id: DomainIdentity,
) -> Result<OwnedFd, DevicesError> {
    match backends {
        Backends::Noxsd => Ok(links.noxsd.connect()?.console(id.into())?),
        Backends::Dom0Kernel => terminal(id.domid),
    }
}

/// Detaches all devices of a guest, so that none of its pages is mapped.
///
/// # Errors
/// The backends run, but do not do it.
pub fn detach(
    backends: Backends,
    links: Links<'_>,
    id: DomainIdentity,
) -> Result<(), DevicesError> {
    match backends {
        Backends::Noxsd => noxsd::detach(links, id),
        // The kernel has done it when the nodes of the devices are gone.
        Backends::Dom0Kernel => Ok(()),
    }
}

/// Returns whether what a console prints is kept among the records.
#[must_use]
pub fn keep_console_log(backends: Backends) -> bool {
    match backends {
        Backends::Noxsd => true,
        Backends::Dom0Kernel => false,
    }
}
