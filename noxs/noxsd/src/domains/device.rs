// SPDX-License-Identifier: GPL-3.0-or-later
//! The kinds of devices: the only place that lists them.
//!
//! A kind is a folder beside `console`, `net` and `block`, with its ring, its limits, what it does in a
//! turn, what it counts, and how it continues with a ring that an earlier noxsd served. To add a
//! kind, write its folder and register it:
//! - in `noxs_control`, its device in `Attach` and its counters in `DeviceCounters`;
//! - here, a variant of [`Kind`], [`Fault`] and [`Requested`], an arm in each `match` on them (the
//!   compiler lists them), and its devices in [`requested`];
//!
//! What the devices of a kind share, such as the bridges of vifs, is a field of
//! [`Domains`](super::Domains) beside `net`. What comes with a request, such as a console's log, is
//! in [`Resources`].

use std::rc::Rc;
use std::time::Instant;

use noxs_control::{
    Attach, ConsoleDevice, DeviceCounters, DeviceNumber, DeviceStatus, VbdDevice, VifDevice,
};
use xen_ring::SharedPage;

use crate::block::{Disks, Vbd, VbdFault};
use crate::console::log::LogSpace;
use crate::console::{Clients, Console, ConsoleFault, ConsoleLog};
use crate::host::cx::Cx;
use crate::host::{GrantRef, Host, LocalPort, RemotePort};
use crate::net::flood::Allowance;
use crate::net::vif::Vif;
use crate::net::{BridgeId, Net, NetFault};
use crate::turns::{After, Served, TurnId};

/// A device of a domain.
#[derive(Debug)]
pub(super) struct Device<M> {
    /// dom0's end of its event channel; `None` once the device was released.
    pub(super) port: Option<LocalPort>,
    /// The guest's end.
    pub(super) remote: RemotePort,
    /// Its ring pages, if they are not among those of its domain, because it was added later.
    pub(super) memory: Option<Rc<M>>,
    /// The owner of its turns, while the device is served.
    pub(super) turn: Option<TurnId>,
    /// Why the guest has lost the device. Boxed, because it is rare and would enlarge all devices.
    pub(super) fault: Option<Box<Fault>>,
    pub(super) kind: Kind,
}

/// A device of one of the kinds.
#[derive(Debug)]
pub(super) enum Kind {
    Console(Console),
    Vif(Vif),
    Vbd(Vbd),
    /// A device that was detached; its place is free.
    Detached,
}

/// What costs a guest a device.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error(transparent)]
    Console(#[from] ConsoleFault),
    #[error(transparent)]
    Net(#[from] NetFault),
    #[error(transparent)]
    Block(#[from] VbdFault),
}

impl<M> Device<M> {
    /// Returns the device's state, unless it was detached.
    pub(super) fn status(&self, net: &Net<M>) -> Option<DeviceStatus> {
        Some(DeviceStatus {
            name: self.kind.name(),
            broken: self.fault.as_ref().map(ToString::to_string),
            counters: self.kind.counters(net)?,
        })
    }
}

impl Kind {
    /// Serves one batch.
    ///
    /// # Errors
    /// What the guest did that costs it the device.
    pub(super) fn serve<H: Host>(
        &mut self,
        cx: &mut Cx<'_, H>,
        net: &mut Net<H::Memory>,
        disks: &mut Disks<H::Memory>,
        allowance: &mut Allowance,
        clients: &mut impl Clients,
    ) -> Result<Served, Fault> {
        Ok(match self {
            Self::Console(console) => console.serve(cx, clients)?,
            Self::Vif(vif) => vif.serve(cx, net, allowance)?,
            Self::Vbd(vbd) => vbd.serve(cx, disks)?,
            Self::Detached => Served { after: After::Event, progress: false },
        })
    }

    /// Removes the device from what it shares with others.
    pub(super) fn release<M: SharedPage>(
        &mut self,
        net: &mut Net<M>,
        disks: &mut Disks<M>,
        clients: &mut impl Clients,
    ) {
        match self {
            Self::Console(console) => console.release(clients),
            Self::Vif(vif) => vif.release(net),
            Self::Vbd(vbd) => vbd.release(disks),
            Self::Detached => {}
        }
    }

    /// Returns the device's name, which is unique in its domain.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Console(_) => "console".to_owned(),
            Self::Vif(vif) => format!("vif{}", vif.index()),
            Self::Vbd(vbd) => format!("vbd{}", vbd.index()),
            Self::Detached => "detached".to_owned(),
        }
    }

    pub(super) fn counters<M>(&self, net: &Net<M>) -> Option<DeviceCounters> {
        match self {
            Self::Console(console) => Some(DeviceCounters::Console(console.status())),
            Self::Vif(vif) => Some(DeviceCounters::Vif(vif.status(net))),
            Self::Vbd(vbd) => Some(DeviceCounters::Vbd(vbd.status())),
            Self::Detached => None,
        }
    }

    /// Returns the device's kind and number, if it can be added and detached by itself.
    pub(super) fn number(&self) -> Option<DeviceNumber> {
        match self {
            Self::Vif(vif) => Some(DeviceNumber::Vif(vif.index())),
            Self::Vbd(vbd) => Some(DeviceNumber::Vbd(vbd.index())),
            Self::Console(_) | Self::Detached => None,
        }
    }

    /// Returns whether the device waits for its identity or for the file behind it.
    pub(super) fn is_unconfigured(&self) -> bool {
        match self {
            Self::Vif(vif) => !vif.is_started(),
            Self::Vbd(vbd) => !vbd.is_started(),
            Self::Console(_) | Self::Detached => false,
        }
    }

    /// Returns the console, if it is one.
    pub(super) fn console(&self) -> Option<&Console> {
        if let Self::Console(console) = self { Some(console) } else { None }
    }

    /// Returns the console, if it is one.
    pub(super) fn console_mut(&mut self) -> Option<&mut Console> {
        if let Self::Console(console) = self { Some(console) } else { None }
    }

    /// Returns the vif, if it is one.
    pub(super) fn vif(&self) -> Option<&Vif> {
        if let Self::Vif(vif) = self { Some(vif) } else { None }
    }

    /// Returns the vif, if it is one.
    pub(super) fn vif_mut(&mut self) -> Option<&mut Vif> {
        if let Self::Vif(vif) = self { Some(vif) } else { None }
    }

    /// Returns the disk, if it is one.
    pub(super) fn vbd(&self) -> Option<&Vbd> {
        if let Self::Vbd(vbd) = self { Some(vbd) } else { None }
    }

    /// Returns the disk, if it is one.
    pub(super) fn vbd_mut(&mut self) -> Option<&mut Vbd> {
        if let Self::Vbd(vbd) = self { Some(vbd) } else { None }
    }

    /// Returns whether the device is served as soon as it is attached. A vif is served once its
    /// identity is known, a disk once the file behind it is.
    pub(super) fn is_served_at_once(&self) -> bool {
        match self {
            Self::Console(_) => true,
            Self::Vif(_) | Self::Vbd(_) | Self::Detached => false,
        }
    }
}

/// A device of a toolstack's request.
#[derive(Clone, Copy, Debug)]
pub(super) enum Requested<'a> {
    Console(&'a ConsoleDevice),
    Vif(&'a VifDevice),
    Vbd(&'a VbdDevice),
}

/// What the devices of one request need beside their pages and ports.
#[derive(Debug)]
pub(super) struct Resources {
    /// The console's log.
    pub(super) log: Option<ConsoleLog>,
    /// The space of all logs.
    pub(super) log_space: Rc<LogSpace>,
    /// The vifs' bridges, in their order.
    pub(super) bridges: std::vec::IntoIter<BridgeId>,
}

/// Returns the devices of a request, in the order of their pages and ports.
pub(super) fn requested(attach: &Attach) -> impl Iterator<Item = Requested<'_>> {
    let consoles = attach.console.iter().map(Requested::Console);
    let vifs = attach.vifs.iter().map(Requested::Vif);
    consoles.chain(vifs).chain(attach.vbds.iter().map(Requested::Vbd))
}

impl Requested<'_> {
    /// Appends the pages to map for the device.
    pub(super) fn add_pages(self, pages: &mut Vec<GrantRef>) {
        match self {
            Self::Console(device) => pages.extend(Console::pages(device)),
            Self::Vif(device) => pages.extend(Vif::pages(device)),
            Self::Vbd(device) => pages.extend(Vbd::pages(device)),
        }
    }

    /// Returns the port to bind for the device.
    pub(super) fn port(self) -> RemotePort {
        match self {
            Self::Console(device) => Console::port(device),
            Self::Vif(device) => Vif::port(device),
            Self::Vbd(device) => Vbd::port(device),
        }
    }

    /// Creates the device, whose pages begin at offset `base`, and advances `base` past them.
    /// Returns `None` if a resource is missing, which the caller has ruled out.
    pub(super) fn create(
        self,
        memory: &impl SharedPage,
        base: &mut usize,
        resources: &mut Resources,
        now: Instant,
    ) -> Option<Kind> {
        let (kind, size) = match self {
            Self::Console(_) => {
                let mut log = resources.log.take()?;
                log.count_in(&resources.log_space);
                (Kind::Console(Console::attach(memory, *base, log, now)), Console::RING_SIZE)
            }
            Self::Vif(device) => {
                let bridge = resources.bridges.next()?;
                (Kind::Vif(Vif::attach(device, bridge, *base)), Vif::RING_SIZE)
            }
            Self::Vbd(device) => (Kind::Vbd(Vbd::attach(device, *base)), Vbd::RING_SIZE),
        };
        *base += size;
        Some(kind)
    }
}
