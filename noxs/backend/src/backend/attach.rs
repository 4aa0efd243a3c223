//! Connecting a domain's devices and letting go of them.

use std::io;
use std::time::Instant;

use noxs::control::{Attach, DomainId, Refusal, VifDevice};
use xen::units::DomId;

use super::{Backend, Clients, ConsoleState, Device, Domain, Place, Which, Work};
use crate::console::Console;
use crate::console_log::ConsoleLog;
use crate::host::Host;
use crate::memory::PAGE_SIZE;
use crate::net::{self, Vif};
use crate::switch::PortId;

/// Interfaces of one domain: with a console, their ring pages are mapped in one call.
const MAX_VIFS: usize = (xen::gntdev::MAX_MAP - 1) / 2;

/// Whether the guest may be running already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guest {
    /// It was never started.
    New,
    /// An earlier noxsd served it.
    Running,
}

impl<H: Host> Backend<H> {
    /// Maps the rings of a domain and binds its ports. The console's log comes along.
    ///
    /// # Errors
    /// Why not; then nothing of it is left.
    pub fn attach(
        &mut self,
        attach: &Attach,
        log: Option<ConsoleLog>,
        guest: Guest,
        now: Instant,
        clients: &mut impl Clients,
    ) -> Result<(), Refusal> {
        let domid = attach.id.domid;
        if let Some(index) = self.by_domid.get(domid.into()) {
            let old = self.domains[index].id;
            if old == attach.id {
                return Err(Refusal::Invalid(format!("domain {domid} is attached already")));
            }
            // The number has been given to a new domain: the old one is gone.
            self.detach(old, clients)?;
        }
        let switches = self.check(attach, log.is_some())?;

        let rings = attach.vifs.iter().flat_map(|vif| [vif.tx_ring, vif.rx_ring]);
        let rings: Vec<u32> =
            attach.console.iter().map(|console| console.ring).chain(rings).collect();
        let memory = self.host.map(domid, &rings).map_err(refusal("map the domain's rings"))?;
        let console_port = attach.console.iter().map(|console| console.port);
        let ports = self.bind(domid, console_port.chain(attach.vifs.iter().map(|vif| vif.port)))?;

        // From here on nothing fails. Ports and pages are in the same order: the console's first,
        // which is there if and only if its log is.
        let mut ports = ports.into_iter();
        let mut base = 0;
        let mut console = None;
        if let Some(log) = log
            && let Some(port) = ports.next()
        {
            let state = ConsoleState {
                console: Console::attach(&memory, base, log, now),
                client: None,
                printed: 0,
                typed: 0,
                log_failed: false,
            };
            console = Some(Device::new(port, state));
            base += PAGE_SIZE;
        }
        let mut vifs = Vec::with_capacity(attach.vifs.len());
        for ((device, switch), port) in attach.vifs.iter().zip(switches).zip(ports) {
            let vif = Vif::attach(&memory, base, device, switch, now);
            vifs.push(Device::new(port, vif));
            base += 2 * PAGE_SIZE;
        }
        let domain = Box::new(Domain { id: attach.id, memory, console, vifs });
        let index = self.domains.insert(domain);
        self.by_domid.insert(domid.into(), index);
        self.start(index, guest, now, clients);
        tracing::debug!(
            "domain {domid} attached: {} console, {} vif",
            usize::from(attach.console.is_some()),
            attach.vifs.len()
        );
        Ok(())
    }

    /// Lets go of everything of a domain.
    ///
    /// # Errors
    /// There is no such domain.
    pub fn detach(&mut self, id: DomainId, clients: &mut impl Clients) -> Result<(), Refusal> {
        let index = self.find(id)?;
        let devices = self.domains[index].devices();
        for device in devices {
            self.release(Place { domain: index, device });
        }
        self.by_domid.remove(id.domid.into());
        self.broken.remove(&index);
        let domain = self.domains.remove(index);
        if let Some(client) = domain.console.as_ref().and_then(|console| console.backend.client) {
            clients.close(client);
        }
        tracing::debug!("domain {} detached", id.domid);
        Ok(())
    }

    /// Enters a new domain's devices into the tables and arms its rings.
    fn start(&mut self, index: usize, guest: Guest, now: Instant, clients: &mut impl Clients) {
        let mut broken = Vec::new();
        let devices = self.domains[index].devices();
        for device in devices {
            let domain = &mut *self.domains[index];
            let (port, queued, waiting) = match device {
                Which::Console => {
                    let Some(console) = &mut domain.console else { continue };
                    (console.port, &mut console.queued, Ok(0))
                }
                Which::Vif(number) => {
                    let vif = &mut domain.vifs[number];
                    // A fresh page asks for no event: without this the guest would not send one.
                    let waiting = vif.backend.arm(&domain.memory);
                    (vif.port, &mut vif.queued, waiting)
                }
            };
            let Some(port) = port else { continue };
            // A guest that runs may have sent its last event to the noxsd before this one, and may
            // wait for an event that that one did not send any more.
            if guest == Guest::Running || !matches!(waiting, Ok(0)) {
                *queued = true;
                self.ready.push_back(Work::Port(port));
            }
            if guest == Guest::Running {
                self.host.notify(port);
            }
            if let Which::Vif(number) = device {
                let vif = &domain.vifs[number].backend;
                let added = self.bridges[vif.switch].table.add(PortId(port), vif.mac, vif.ipv4);
                debug_assert_eq!(added, Ok(()), "checked before");
            }
            let place = Place { domain: index, device };
            self.places.insert(port, place);
            if let Err(error) = waiting {
                broken.push((place, error));
            }
        }
        for (place, error) in broken {
            self.break_device(place, error.to_string(), now, clients);
        }
    }

    /// Checks a request as far as that is possible without doing it. Gives the vifs' switches.
    fn check(&self, attach: &Attach, has_log: bool) -> Result<Vec<usize>, Refusal> {
        let invalid = |text: String| Err(Refusal::Invalid(text));
        match (attach.console, has_log) {
            (Some(_), false) => return invalid("a console needs a log: no file came along".into()),
            (None, true) => return invalid("a file came along, but there is no console".into()),
            _ => {}
        }
        if !DomId(attach.id.domid).is_guest() {
            return invalid(format!("{} is no guest's number", attach.id.domid));
        }
        if attach.console.is_none() && attach.vifs.is_empty() {
            return invalid("there is no device to attach".into());
        }
        if attach.vifs.len() > MAX_VIFS {
            return invalid(format!("{} vifs; {MAX_VIFS} are possible", attach.vifs.len()));
        }
        let mut switches = Vec::with_capacity(attach.vifs.len());
        for (number, vif) in attach.vifs.iter().enumerate() {
            let VifDevice { index, mac, mtu, .. } = *vif;
            if mac.is_multicast() || mac.0 == [0; 6] {
                return invalid(format!("{mac} cannot be the address of vif {index}"));
            }
            if !net::MTU.contains(&mtu) {
                let (least, most) = (net::MTU.start(), net::MTU.end());
                return invalid(format!(
                    "vif {index} has MTU {mtu}; {least} to {most} is possible"
                ));
            }
            if vif.rate.is_some_and(|rate| rate.bytes == 0 || rate.interval_us == 0) {
                return invalid(format!("vif {index} has a rate with a zero in it"));
            }
            let switch = *self
                .by_name
                .get(&vif.bridge)
                .ok_or_else(|| Refusal::NoSwitch(vif.bridge.clone()))?;
            for earlier in &attach.vifs[..number] {
                if earlier.index == index {
                    return invalid(format!("there are two vifs {index}"));
                }
                if earlier.mac == mac && earlier.bridge == vif.bridge {
                    return Err(Refusal::MacInUse(mac));
                }
            }
            if self.bridges[switch].table.has(mac) {
                return Err(Refusal::MacInUse(mac));
            }
            switches.push(switch);
        }
        Ok(switches)
    }

    /// Binds all ports or none.
    fn bind(&mut self, domid: u16, ports: impl Iterator<Item = u32>) -> Result<Vec<u32>, Refusal> {
        let mut bound = Vec::with_capacity(MAX_VIFS + 1);
        for port in ports {
            match self.host.bind(domid, port) {
                Ok(port) => bound.push(port),
                Err(error) => {
                    for port in bound {
                        self.host.unbind(port);
                    }
                    return Err(refusal("bind the domain's event channel")(error));
                }
            }
        }
        Ok(bound)
    }
}

fn refusal(what: &'static str) -> impl Fn(io::Error) -> Refusal {
    move |error| Refusal::System { what: what.to_owned(), errno: error.to_string() }
}
