//! All attached domains and all switches, and what is to be done for them.
//!
//! Work is found by events and timers and done in turns: in a turn each device that has something
//! to do gets one batch, so that a guest that floods waits for itself. Nothing here walks over all
//! guests, but for frames that are for all.

mod attach;
mod configure;
mod device;
mod forward;
mod serve;
mod status;
#[cfg(test)]
pub(crate) mod tests;
mod waiting;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::fs::File;
use std::time::{Duration, Instant};

pub use attach::Guest;
use device::{Device, Prepared};
use noxs_control::{DomainId, Refusal};
use slab::Slab;

use crate::console::ring::Console;
use crate::host::{Frames, GrantCopy, Host};
use crate::net::switch::{PortId, Switch};
use crate::net::vif::{Taken, Vif};
use crate::turns::bucket::Bucket;
use crate::turns::id_table::IdTable;

/// A client that is connected to a console. The number is the caller's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientId(pub usize);

/// Where the output of consoles goes that clients are connected to.
pub trait Clients {
    /// Sends output, or drops some if the client does not read.
    fn output(&mut self, client: ClientId, output: &[u8]);

    /// The console is gone.
    fn close(&mut self, client: ClientId);

    /// The console has room for input again.
    fn input_wanted(&mut self, client: ClientId);
}

/// Frames to all that the world behind a tap may cause: that many in [`TAP_FLOOD_INTERVAL`].
const TAP_FLOOD_FRAMES: u64 = 1000;
const TAP_FLOOD_INTERVAL: Duration = Duration::from_secs(1);

/// Lines about broken guests: that many in [`WARNING_INTERVAL`].
const WARNINGS: u64 = 20;
const WARNING_INTERVAL: Duration = Duration::from_secs(10);

/// Domids are below (`DOMID_FIRST_RESERVED`).
const MAX_DOMAINS: usize = 0x7ff0;

/// dom0's event channel ports are below (`EVTCHN_FIFO_NR_CHANNELS`).
const MAX_PORTS: usize = 1 << 17;

/// An attached domain.
#[derive(Debug)]
struct Domain<M> {
    id: DomainId,
    memory: M,
    console: Option<Device<ConsoleState>>,
    /// The interfaces that are served.
    vifs: Vec<Device<Vif>>,
    /// The interfaces that nobody has told yet who they are; then none is served.
    prepared: Vec<Prepared>,
    guest: Guest,
}

/// A console and who uses it.
#[derive(Debug)]
struct ConsoleState {
    console: Console,
    client: Option<ClientId>,
    printed: u64,
    typed: u64,
    /// The log could not be written; said once.
    log_failed: bool,
}

/// Where a device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    domain: usize,
    device: Which,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Which {
    Console,
    Vif(usize),
    Prepared(usize),
}

/// A switch and its tap.
#[derive(Debug)]
struct Bridge {
    name: String,
    table: Switch,
    tap: File,
    tap_queued: bool,
    flood: Bucket,
}

/// Something that is to be looked at.
#[derive(Clone, Copy, Debug)]
enum Work {
    Device(Place),
    Tap(usize),
}

/// See the module's text.
#[derive(Debug)]
pub struct Backend<H: Host> {
    /// dom0's side of Xen.
    pub host: H,
    domains: Slab<Box<Domain<H::Memory>>>,
    by_domid: IdTable<usize>,
    /// Whose each port is.
    channels: IdTable<usize>,
    /// The interfaces that are served, by the numbers that the switches know them by.
    interfaces: Slab<Place>,
    bridges: Vec<Bridge>,
    by_name: HashMap<String, usize>,
    /// Bytes of frames that wait for their receivers.
    waiting_bytes: usize,
    /// Domains that have lost a device.
    broken: BTreeSet<usize>,
    ready: VecDeque<Work>,
    timers: BTreeSet<(Instant, Place)>,
    warnings: Bucket,
    scratch: Scratch,
}

/// Memory that is used again in each turn.
#[derive(Debug, Default)]
struct Scratch {
    frames: Frames,
    taken: Taken,
    copies: Vec<GrantCopy>,
    unmask: Vec<u32>,
    deliveries: Vec<Delivery>,
    answers: Vec<(Place, u16)>,
    touched: Vec<PortId>,
    late: Vec<(Place, Delivery)>,
}

/// A frame on its way to a guest.
#[derive(Clone, Copy, Debug)]
struct Delivery {
    to: PortId,
    frame: usize,
    length: u16,
    /// It may wait for a page. Frames for all do not: many guests never look at them.
    may_wait: bool,
}

impl<H: Host> Backend<H> {
    /// A backend without switches and domains.
    pub fn new(host: H, now: Instant) -> Self {
        Self {
            host,
            domains: Slab::new(),
            by_domid: IdTable::new(MAX_DOMAINS),
            channels: IdTable::new(MAX_PORTS),
            interfaces: Slab::new(),
            bridges: Vec::new(),
            by_name: HashMap::new(),
            waiting_bytes: 0,
            broken: BTreeSet::new(),
            ready: VecDeque::new(),
            timers: BTreeSet::new(),
            warnings: Bucket::new(WARNINGS, WARNING_INTERVAL, 1, now),
            scratch: Scratch::default(),
        }
    }

    /// Adds a switch. Gives its number, which [`tap_ready`](Self::tap_ready) wants.
    ///
    /// # Errors
    /// There is a switch of that name.
    pub fn add_switch(&mut self, name: &str, tap: File, now: Instant) -> Result<usize, Refusal> {
        if self.by_name.contains_key(name) {
            return Err(Refusal::Invalid(format!("there is a switch for bridge {name} already")));
        }
        let number = self.bridges.len();
        self.by_name.insert(name.to_owned(), number);
        self.bridges.push(Bridge {
            name: name.to_owned(),
            table: Switch::default(),
            tap,
            tap_queued: false,
            flood: Bucket::new(TAP_FLOOD_FRAMES, TAP_FLOOD_INTERVAL, 1, now),
        });
        Ok(number)
    }

    /// Whether there is a switch for the bridge.
    pub fn has_switch(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// Connects a client to a domain's console.
    ///
    /// # Errors
    /// There is no such console, or another client uses it.
    pub fn open_console(&mut self, id: DomainId, client: ClientId) -> Result<(), Refusal> {
        let index = self.find(id)?;
        match &mut self.domains[index].console {
            Some(console) if console.turns.port.is_none() => Err(Refusal::NoDevice),
            Some(Device { backend, .. }) if backend.client.is_none() => {
                backend.client = Some(client);
                Ok(())
            }
            Some(_) => Err(Refusal::ConsoleBusy),
            None => Err(Refusal::NoDevice),
        }
    }

    /// Lets a client go that was connected to a domain's console.
    pub fn close_console(&mut self, id: DomainId, client: ClientId) {
        let Ok(index) = self.find(id) else { return };
        if let Some(console) = &mut self.domains[index].console
            && console.backend.client == Some(client)
        {
            console.backend.client = None;
        }
    }

    fn find(&self, id: DomainId) -> Result<usize, Refusal> {
        let index = self.by_domid.get(id.domid.into()).ok_or(Refusal::NoDevice)?;
        if self.domains[index].id == id { Ok(index) } else { Err(Refusal::NoDevice) }
    }

    /// Takes a device from its guest and says why, in the log and in its status.
    fn break_device(
        &mut self,
        place: Place,
        why: String,
        now: Instant,
        clients: &mut impl Clients,
    ) {
        let domain = &mut *self.domains[place.domain];
        let (domid, name) = (domain.id.domid, place.device.name(domain));
        if self.warnings.take(1, now).is_ok() {
            tracing::warn!("domain {domid} loses its {name}: {why}");
        }
        match place.device {
            Which::Console => {
                let Some(console) = &mut domain.console else { return };
                console.broken = Some(why);
                if let Some(client) = console.backend.client.take() {
                    clients.close(client);
                }
            }
            Which::Vif(number) => domain.vifs[number].broken = Some(why),
            // Nobody has looked at its rings.
            Which::Prepared(_) => return,
        }
        self.release(place);
        self.broken.insert(place.domain);
    }
}
