//! The backends that serve a guest's devices: noxsd, or dom0's kernel.
//!
//! Each is a module of its own. A third is another module and a branch in each `match` of this
//! file. How the guest finds its devices is decided apart from that, in [`crate::announce`].

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

/// The connections to the backends, and the records.
#[derive(Clone, Copy, Debug)]
pub struct Links<'a> {
    /// noxsd.
    pub noxsd: &'a Link,
    /// xenstored.
    pub xenstored: &'a xenstored::Link,
    /// The records.
    pub records: &'a Records,
}

/// The guest that a shell becomes.
#[derive(Clone, Copy, Debug)]
pub struct GuestIdentity<'a> {
    /// Its config.
    pub config: &'a DomainConfig,
    /// The identities of its vifs.
    pub vifs: &'a [VifIdentity],
}

/// What backends do for the devices of one shell, in the order of the calls.
pub trait Serve {
    /// Stores what it needs of the guest that the shell becomes, and opens the guest's disks.
    ///
    /// # Errors
    /// A disk cannot be used.
    fn learn(&mut self, guest: GuestIdentity<'_>) -> Result<(), DevicesError>;

    /// Asks the backend to attach the devices, without waiting for it. Returns the console's log,
    /// if there is one.
    ///
    /// # Errors
    /// A file cannot be written, or the request cannot be sent.
    fn begin_attach(
        &mut self,
        links: Links<'_>,
        timings: &mut Timings,
    ) -> Result<Option<File>, DevicesError>;

    /// Waits until the devices are attached. `log` is the return value of
    /// [`begin_attach`](Self::begin_attach).
    ///
    /// # Errors
    /// A device is refused, or its bridge cannot be connected.
    fn finish_attach(&self, links: Links<'_>, log: Option<&File>) -> Result<(), DevicesError>;

    /// Begins to configure devices that were attached before their guest was known. Returns whether
    /// [`finish_configure`](Self::finish_configure) must follow.
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

    /// Detaches the devices of a shell that is destroyed.
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
    /// Returns a shell's devices. `vifs` has the identities of its vifs, or is empty if they are
    /// not known yet.
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

    /// Returns an empty set of devices, which replaces one that is moved elsewhere.
    pub fn none(id: DomainIdentity) -> Self {
        Self::Noxsd(NoxsdDevices::none(id))
    }

    /// Returns the disks to announce in XenStore.
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

/// Connects to the console of a guest.
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

/// Detaches all devices of a guest. Its pages are unmapped then.
///
/// # Errors
/// The backend runs, but refuses or does not answer.
pub fn detach(
    backends: Backends,
    links: Links<'_>,
    id: DomainIdentity,
) -> Result<(), DevicesError> {
    match backends {
        Backends::Noxsd => noxsd::detach(links, id),
        // The kernel has detached them when their nodes are removed.
        Backends::Dom0Kernel => Ok(()),
    }
}

/// Returns whether the output of a console is kept among the records.
#[must_use]
pub fn keep_console_log(backends: Backends) -> bool {
    match backends {
        Backends::Noxsd => true,
        Backends::Dom0Kernel => false,
    }
}
