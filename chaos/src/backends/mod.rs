// SPDX-License-Identifier: GPL-3.0-or-later
//! The backends that serve a guest's devices: noxsd, or dom0's kernel.
//!
//! Each is a module of its own. A third is another module and a branch in each `match` of this
//! file. How the guest finds its devices is decided apart from that, in [`crate::announce`].

pub(crate) mod disks;
pub mod dom0_kernel;
mod error;
pub(crate) mod mtu;
pub(crate) mod nbd;
mod netlink;
pub mod noxsd;
mod serve;

use std::fs::File;
use std::os::fd::OwnedFd;

use noxs_control::{ConsoleRole, ConsoleUse, VifIdentity};

use self::dom0_kernel::{KernelDevices, terminal};
use self::noxsd::NoxsdDevices;
use crate::announce::{DiskNodes, ScriptNodes};
use crate::config::Backends;
use crate::domain::DevicePageDisk;
use crate::handle::DomainIdentity;
use crate::hypervisor::BuiltShell;
use crate::timings::Timings;

pub use disks::OpenDisks;
pub use error::DevicesError;
pub use nbd::NbdError;
pub use serve::{GuestIdentity, Links, Serve};

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

    /// Returns the disks to announce in the device page.
    pub fn page_disks(&self) -> Vec<DevicePageDisk> {
        match self {
            Self::Noxsd(devices) => devices.page_disks(),
            Self::Dom0Kernel(_) => Vec::new(),
        }
    }

    /// Returns the disks to announce in XenStore.
    pub fn disk_nodes(&self) -> Vec<DiskNodes<'_>> {
        match self {
            Self::Noxsd(_) => Vec::new(),
            Self::Dom0Kernel(devices) => devices.disk_nodes(),
        }
    }

    /// Returns the vifs with scripts, to announce in XenStore.
    pub fn script_nodes(&self) -> Vec<ScriptNodes<'_>> {
        match self {
            Self::Noxsd(_) => Vec::new(),
            Self::Dom0Kernel(devices) => devices.script_nodes(),
        }
    }
}

impl Serve for Devices {
    fn learn(&mut self, links: Links<'_>, guest: GuestIdentity<'_>) -> Result<(), DevicesError> {
        match self {
            Self::Noxsd(devices) => devices.learn(links, guest),
            Self::Dom0Kernel(devices) => devices.learn(links, guest),
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

    fn attach_again(
        &mut self,
        links: Links<'_>,
        vifs: &[VifIdentity],
        log: Option<&File>,
    ) -> Result<(), DevicesError> {
        match self {
            Self::Noxsd(devices) => devices.attach_again(links, vifs, log),
            Self::Dom0Kernel(devices) => devices.attach_again(links, vifs, log),
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

/// Connects to the console of a guest. Returns whether the connection's input goes to the guest.
///
/// # Errors
/// The guest has no console, or too many clients use it.
pub fn console(
    backends: Backends,
    links: Links<'_>,
    id: DomainIdentity,
    usage: ConsoleUse,
) -> Result<(OwnedFd, ConsoleRole), DevicesError> {
    match backends {
        Backends::Noxsd => Ok(links.noxsd.connect()?.console(id.into(), usage)?),
        // xenconsoled's terminal passes on what all of its clients type.
        Backends::Dom0Kernel => Ok((terminal(id.domid)?, ConsoleRole::Writer)),
    }
}

/// Has the scripts of a guest's vifs disconnect them, before its nodes in XenStore are removed. Takes 40 s
/// for each vif at most. Returns what failed, in spite of which the guest can be removed.
pub fn disconnect(
    backends: Backends,
    links: Links<'_>,
    id: DomainIdentity,
) -> Vec<dom0_kernel::ScriptError> {
    match backends {
        Backends::Noxsd => Vec::new(),
        Backends::Dom0Kernel => dom0_kernel::disconnect(links, id),
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
