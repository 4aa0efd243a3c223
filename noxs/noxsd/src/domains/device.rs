//! The kinds of devices: the one place that knows which there are.
//!
//! A kind is a folder beside `console` and `net`: its ring, its limits, what it serves in a turn,
//! what it counts, and how it takes up a ring that an earlier noxsd served. To add one, write its
//! folder, and register it:
//! - in `noxs_control`, its device in `Attach` and its counters in `DeviceCounters`;
//! - here, a variant of [`Kind`], [`Fault`] and [`Requested`], an arm in each `match` on them (the
//!   compiler lists them), and its devices in [`requested`];
//! - in `attach.rs`, room for its pages beside those that `MAX_VIFS` counts.
//!
//! A kind whose devices share something, as vifs share bridges, has a field in
//! [`Domains`](super::Domains) beside `net`. What comes with a request, as a console's log does, is
//! in [`Resources`].

use std::time::Instant;

use noxs_control::{Attach, ConsoleDevice, DeviceCounters, DeviceStatus, VifDevice};
use xen_ring::SharedPage;

use crate::console::{Clients, Console, ConsoleFault, ConsoleLog};
use crate::host::cx::Cx;
use crate::host::{GrantRef, Host, LocalPort, RemotePort};
use crate::net::vif::Vif;
use crate::net::{BridgeId, Net, NetFault};
use crate::turns::{After, TurnId};

/// A device of a domain.
#[derive(Debug)]
pub(super) struct Device {
    /// dom0's end of its event channel, unless the device was taken from its guest.
    pub(super) port: Option<LocalPort>,
    /// Its turns, while it is served.
    pub(super) turn: Option<TurnId>,
    /// Why it was taken from its guest. Few are: in a box it takes little room in the others.
    pub(super) fault: Option<Box<Fault>>,
    pub(super) kind: Kind,
}

/// What a device is.
#[derive(Debug)]
pub(super) enum Kind {
    Console(Console),
    Vif(Vif),
}

/// What a guest did that costs it a device.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error(transparent)]
    Console(#[from] ConsoleFault),
    #[error(transparent)]
    Net(#[from] NetFault),
}

impl Device {
    /// Returns the device's state, for a toolstack.
    pub(super) fn status<M>(&self, net: &Net<M>) -> DeviceStatus {
        DeviceStatus {
            name: self.kind.name(),
            broken: self.fault.as_ref().map(ToString::to_string),
            counters: self.kind.counters(net),
        }
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
        clients: &mut impl Clients,
    ) -> Result<After, Fault> {
        Ok(match self {
            Self::Console(console) => console.serve(cx, clients)?,
            Self::Vif(vif) => vif.serve(cx, net)?,
        })
    }

    /// Removes the device from what it shares with others.
    pub(super) fn release<M>(&mut self, net: &mut Net<M>, clients: &mut impl Clients) {
        match self {
            Self::Console(console) => console.release(clients),
            Self::Vif(vif) => vif.release(net),
        }
    }

    /// Returns the device's name in its domain.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Console(_) => "console".to_owned(),
            Self::Vif(vif) => format!("vif{}", vif.index()),
        }
    }

    fn counters<M>(&self, net: &Net<M>) -> DeviceCounters {
        match self {
            Self::Console(console) => DeviceCounters::Console(console.status()),
            Self::Vif(vif) => DeviceCounters::Vif(vif.status(net)),
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

    /// Returns whether the device is served as soon as it is attached; a vif is not, before it is
    /// known who it is.
    pub(super) fn is_served_at_once(&self) -> bool {
        match self {
            Self::Console(_) => true,
            Self::Vif(_) => false,
        }
    }
}

/// A device that a toolstack asks for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Requested<'a> {
    Console(&'a ConsoleDevice),
    Vif(&'a VifDevice),
}

/// What the devices of one request are created with, beside their pages and ports.
#[derive(Debug)]
pub(super) struct Resources {
    /// The console's log.
    pub(super) log: Option<ConsoleLog>,
    /// The vifs' bridges, in their order.
    pub(super) bridges: std::vec::IntoIter<BridgeId>,
}

/// Returns the devices of a request: the order of their pages, their ports, and themselves.
pub(super) fn requested(attach: &Attach) -> impl Iterator<Item = Requested<'_>> {
    let consoles = attach.console.iter().map(Requested::Console);
    consoles.chain(attach.vifs.iter().map(Requested::Vif))
}

impl Requested<'_> {
    /// Appends the pages to map for the device.
    pub(super) fn add_pages(self, pages: &mut Vec<GrantRef>) {
        match self {
            Self::Console(device) => pages.extend(Console::pages(device)),
            Self::Vif(device) => pages.extend(Vif::pages(device)),
        }
    }

    /// Returns the port to bind for the device.
    pub(super) fn port(self) -> RemotePort {
        match self {
            Self::Console(device) => Console::port(device),
            Self::Vif(device) => Vif::port(device),
        }
    }

    /// Creates the device, whose pages begin at offset `base`, and moves `base` behind them.
    /// `None` if what it needs is not among the resources, which was checked.
    pub(super) fn create(
        self,
        memory: &impl SharedPage,
        base: &mut usize,
        resources: &mut Resources,
        now: Instant,
    ) -> Option<Kind> {
        let (kind, size) = match self {
            Self::Console(_) => {
                let log = resources.log.take()?;
                (Kind::Console(Console::attach(memory, *base, log, now)), Console::RING_SIZE)
            }
            Self::Vif(device) => {
                let bridge = resources.bridges.next()?;
                (Kind::Vif(Vif::attach(device, bridge, *base)), Vif::RING_SIZE)
            }
        };
        *base += size;
        Some(kind)
    }
}
