//! Connecting a domain's devices and letting go of them.

use std::io;
use std::time::Instant;

use noxs_control::{Attach, DomainId, Refusal, VifIdentity};
use xen::units::DomId;

use super::{Backend, Clients, ConsoleState, Device, Domain, Place, Prepared, Which};
use crate::console::log::ConsoleLog;
use crate::console::ring::Console;
use crate::host::Host;
use crate::host::memory::PAGE_SIZE;

/// Interfaces of one domain: with a console, their ring pages are mapped in one call.
pub(super) const MAX_VIFS: usize = (xen::gntdev::MAX_MAP - 1) / 2;

/// Whether the guest may be running already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guest {
    /// It was never started.
    New,
    /// An earlier noxsd served it.
    Running,
}

impl<H: Host> Backend<H> {
    /// Maps the rings of a domain and binds its ports. The console's log comes along. Serves the
    /// console, and the vifs if the request says who they are; otherwise
    /// [`configure`](Self::configure) tells.
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
        let identities = identities(attach)?;
        if let Some(identities) = &identities {
            let indices = attach.vifs.iter().map(|vif| vif.index);
            self.check_identities(indices.zip(switches.iter().copied()), identities)?;
        }

        let rings = attach.vifs.iter().flat_map(|vif| [vif.tx_ring, vif.rx_ring]);
        let rings: Vec<u32> =
            attach.console.iter().map(|console| console.ring).chain(rings).collect();
        let memory = self.host.map(domid, &rings).map_err(refusal("map the domain's rings"))?;
        let ports = attach.console.iter().map(|console| console.port);
        let ports = self.bind(domid, ports.chain(attach.vifs.iter().map(|vif| vif.port)))?;

        // From here on nothing fails. Ports and pages are in the same order: the console's first,
        // which is there if and only if its log is.
        let mut each = ports.iter().copied();
        let mut base = 0;
        let mut console = None;
        if let Some(log) = log
            && let Some(port) = each.next()
        {
            let state = ConsoleState {
                console: Console::attach(&memory, base, log, now),
                client: None,
                printed: 0,
                typed: 0,
                log_failed: false,
            };
            console = Some(Device::new(Some(port), state));
            base += PAGE_SIZE;
        }
        let mut prepared = Vec::with_capacity(attach.vifs.len());
        for ((vif, switch), port) in attach.vifs.iter().zip(switches).zip(each) {
            prepared.push(Prepared { index: vif.index, port: Some(port), switch, base });
            base += 2 * PAGE_SIZE;
        }
        let (id, vifs) = (attach.id, Vec::new());
        let domain = Box::new(Domain { id, memory, console, vifs, prepared, guest });
        let index = self.domains.insert(domain);
        self.by_domid.insert(domid.into(), index);
        self.enter(index, &ports);
        if let Some(identities) = identities {
            self.serve_prepared(index, &identities, now, clients);
        }
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

    /// Enters a new domain's ports into the table, so that the console is served.
    fn enter(&mut self, index: usize, ports: &[u32]) {
        for port in ports {
            self.channels.insert(*port, index);
        }
        let domain = &*self.domains[index];
        if domain.guest == Guest::Running && domain.console.is_some() {
            self.resume(Place { domain: index, device: Which::Console });
        }
    }

    /// A guest that runs may have sent its last event to the noxsd before this one, and may wait
    /// for an event that that one did not send any more.
    pub(super) fn resume(&mut self, place: Place) {
        self.queue(place);
        if let Some(Some(port)) = self.domains[place.domain].port(place.device).copied() {
            self.host.notify(port);
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
            let switch = self.by_name.get(&vif.bridge);
            switches.push(*switch.ok_or_else(|| Refusal::NoSwitch(vif.bridge.clone()))?);
            if attach.vifs[..number].iter().any(|earlier| earlier.index == vif.index) {
                return invalid(format!("there are two vifs {}", vif.index));
            }
        }
        Ok(switches)
    }

    /// Binds all ports or none; those that are the same once. Gives dom0's end of each.
    fn bind(&mut self, domid: u16, ports: impl Iterator<Item = u32>) -> Result<Vec<u32>, Refusal> {
        let mut bound: Vec<(u32, u32)> = Vec::with_capacity(1);
        let mut local = Vec::with_capacity(MAX_VIFS + 1);
        for port in ports {
            if let Some((_, own)) = bound.iter().find(|(remote, _)| *remote == port) {
                local.push(*own);
                continue;
            }
            match self.host.bind(domid, port) {
                Ok(own) => {
                    bound.push((port, own));
                    local.push(own);
                }
                Err(error) => {
                    for (_, own) in bound {
                        self.host.unbind(own);
                    }
                    return Err(refusal("bind the domain's event channel")(error));
                }
            }
        }
        Ok(local)
    }
}

/// Who the vifs are: known of all or of none.
fn identities(attach: &Attach) -> Result<Option<Vec<VifIdentity>>, Refusal> {
    let known: Vec<VifIdentity> = attach.vifs.iter().filter_map(|vif| vif.identity).collect();
    match (known.len(), attach.vifs.len()) {
        (known, all) if known == all => {}
        (0, _) => return Ok(None),
        (known, all) => {
            return Err(Refusal::Invalid(format!("{known} of {all} vifs have an identity")));
        }
    }
    Ok(Some(known))
}

fn refusal(what: &'static str) -> impl Fn(io::Error) -> Refusal {
    move |error| Refusal::System { what: what.to_owned(), errno: error.to_string() }
}
