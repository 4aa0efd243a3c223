//! Vifs that are told who they are, and served from then on.

use std::mem;
use std::time::Instant;

use noxs_control::{DomainId, Refusal, VifIdentity};

use super::{Backend, Clients, Device, Guest, Place, Which};
use crate::host::Host;
use crate::net::switch::PortId;
use crate::net::vif::{self as net, Vif};

impl<H: Host> Backend<H> {
    /// Tells a domain's vifs, which are attached without that, who they are. What the guest has
    /// put into their rings meanwhile is served.
    ///
    /// # Errors
    /// Why not; then no vif is changed.
    pub fn configure(
        &mut self,
        id: DomainId,
        identities: &[VifIdentity],
        now: Instant,
        clients: &mut impl Clients,
    ) -> Result<(), Refusal> {
        let index = self.find(id)?;
        let domain = &*self.domains[index];
        let (domid, prepared) = (id.domid, &domain.prepared);
        if prepared.is_empty() {
            return Err(Refusal::Invalid(match domain.vifs.len() {
                0 => format!("domain {domid} has no vif to configure"),
                _ => format!("the vifs of domain {domid} are configured already"),
            }));
        }
        if prepared.len() != identities.len() {
            return Err(Refusal::Invalid(format!(
                "domain {domid} has {} vifs, not {}",
                prepared.len(),
                identities.len()
            )));
        }
        self.check_identities(prepared.iter().map(|vif| (vif.index, vif.switch)), identities)?;
        self.serve_prepared(index, identities, now, clients);
        tracing::debug!("domain {domid} configured: {} vif", identities.len());
        Ok(())
    }

    /// Checks who the vifs, given by their numbers and switches, want to be.
    pub(super) fn check_identities(
        &self,
        vifs: impl Iterator<Item = (u16, usize)> + Clone,
        identities: &[VifIdentity],
    ) -> Result<(), Refusal> {
        let invalid = |text: String| Err(Refusal::Invalid(text));
        let vifs = vifs.zip(identities);
        for (number, ((index, switch), identity)) in vifs.clone().enumerate() {
            let VifIdentity { mac, mtu, rate, .. } = *identity;
            if mac.is_multicast() || mac.0 == [0; 6] {
                return invalid(format!("{mac} cannot be the address of vif {index}"));
            }
            if !net::MTU.contains(&mtu) {
                let (least, most) = (net::MTU.start(), net::MTU.end());
                return invalid(format!(
                    "vif {index} has MTU {mtu}; {least} to {most} is possible"
                ));
            }
            if rate.is_some_and(|rate| rate.bytes == 0 || rate.interval_us == 0) {
                return invalid(format!("vif {index} has a rate with a zero in it"));
            }
            let earlier = |((_, other), identity): ((u16, usize), &VifIdentity)| {
                other == switch && identity.mac == mac
            };
            if self.bridges[switch].table.has(mac) || vifs.clone().take(number).any(earlier) {
                return Err(Refusal::MacInUse(mac));
            }
        }
        Ok(())
    }

    /// Serves a domain's vifs from now on. The identities were checked.
    pub(super) fn serve_prepared(
        &mut self,
        index: usize,
        identities: &[VifIdentity],
        now: Instant,
        clients: &mut impl Clients,
    ) {
        let domain = &mut *self.domains[index];
        let prepared = mem::take(&mut domain.prepared);
        domain.vifs.reserve_exact(prepared.len());
        for (number, (vif, identity)) in prepared.into_iter().zip(identities).enumerate() {
            let domain = &mut *self.domains[index];
            let port = vif.port;
            let place = Place { domain: index, device: Which::Vif(number) };
            let interface = self.interfaces.insert(place);
            let interface = PortId(u32::try_from(interface).unwrap_or(u32::MAX));
            let on = (vif.switch, interface);
            let mut backend = Vif::attach(&domain.memory, vif.base, vif.index, identity, on, now);
            // A fresh page asks for no event: without this the guest would not send one.
            let waiting = backend.arm(&domain.memory);
            domain.vifs.push(Device::new(port, backend));
            let guest = domain.guest;
            let table = &mut self.bridges[vif.switch].table;
            let added = table.add(interface, identity.mac, identity.ipv4);
            debug_assert_eq!(added, Ok(()), "checked before");
            match waiting {
                Err(error) => self.break_device(place, error.to_string(), now, clients),
                Ok(_) if guest == Guest::Running => self.resume(place),
                Ok(0) => {}
                Ok(_) => self.queue(place),
            }
        }
    }
}
