//! Moving frames between guests and taps.

use std::io::{ErrorKind, Read, Write};
use std::mem;
use std::time::Instant;

use super::serve::After;
use super::{Backend, Clients, Delivery, Place, Scratch, Which, Work};
use crate::host::ring::BrokenRing;
use crate::host::{BATCH, Host};
use crate::net::frame::Facts;
use crate::net::switch::{End, PortId, Route, Switch};

/// Copies in one request to the kernel; a frame for all of many guests takes several.
const COPIES: usize = 256;

impl<H: Host> Backend<H> {
    /// Takes a batch of frames out of a guest and sends them on their way.
    pub(super) fn serve_vif(
        &mut self,
        port: u32,
        index: usize,
        number: usize,
        now: Instant,
        clients: &mut impl Clients,
    ) -> Result<After, String> {
        self.deliver_waiting(port, index, number).map_err(|error| error.to_string())?;
        let Scratch { frames, taken, copies, deliveries, .. } = &mut self.scratch;
        let domain = &mut *self.domains[index];
        let (domid, memory) = (domain.id.domid, &domain.memory);
        let vif = &mut domain.vifs[number].backend;
        let bridge = &mut self.bridges[vif.switch];
        copies.clear();
        vif.take(memory, domid, BATCH, now, taken, copies).map_err(|error| error.to_string())?;
        if !copies.is_empty() {
            self.host.fetch(frames, copies);
        }
        let own = End::Port(vif.port);
        for (request, copy) in taken.requests.iter().zip(copies.iter()) {
            let frame = &frames.get(copy.frame)[..usize::from(copy.length)];
            let Some(facts) = vif.sent(memory, request, copy.done.then_some(frame)) else {
                continue;
            };
            bridge.table.note(vif.port, &facts);
            let route = bridge.table.route(&facts, own);
            let to_tap = match route {
                // It is a copy for each of many: a guest may cause only so many.
                route if route.floods() => {
                    if !vif.may_flood(now) {
                        continue;
                    }
                    true
                }
                route => route == Route::One(End::Tap),
            };
            if to_tap && bridge.tap.write(frame).is_err() {
                // The tap's queue is full, or somebody has set it down.
                vif.traffic.dropped_frames += 1;
            }
            address(&bridge.table, route, own, copy.frame, copy.length, deliveries);
        }
        if vif.push_sent(memory) {
            self.host.notify(port);
        }
        let not_before = taken.not_before;
        self.deliver(now, clients);

        let domain = &mut *self.domains[index];
        let vif = &mut domain.vifs[number].backend;
        let posted = vif.arm_posted(&domain.memory).map_err(|error| error.to_string())?;
        if let Some(time) = not_before {
            // Frames for the guest do not wait for what the guest may send.
            return Ok(match (posted, vif.waiting.is_empty()) {
                (0, true) => After::Time(time),
                (0, false) => After::TimeOrEvent(time),
                _ => After::Turn,
            });
        }
        let requests = vif.arm(&domain.memory).map_err(|error| error.to_string())?;
        Ok(if requests + posted == 0 { After::Event } else { After::Turn })
    }

    /// Takes a batch of frames out of a tap and sends them on their way.
    pub(super) fn serve_tap(&mut self, switch: usize, now: Instant, clients: &mut impl Clients) {
        let Scratch { frames, deliveries, .. } = &mut self.scratch;
        let bridge = &mut self.bridges[switch];
        bridge.tap_queued = false;
        let mut more = true;
        for frame in 0..BATCH {
            let length = match bridge.tap.read(frames.get_mut(frame)) {
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => {
                    if error.kind() != ErrorKind::WouldBlock && self.warnings.take(1, now).is_ok() {
                        tracing::warn!("cannot read the tap of bridge {}: {error}", bridge.name);
                    }
                    more = false;
                    break;
                }
            };
            let Some(facts) = Facts::of(&frames.get(frame)[..length]) else { continue };
            let route = bridge.table.route(&facts, End::Tap);
            if route.floods()
                && !bridge.table.targets(route).is_empty()
                && bridge.flood.take(1, now).is_err()
            {
                continue;
            }
            let length = u16::try_from(length).unwrap_or(u16::MAX);
            address(&bridge.table, route, End::Tap, frame, length, deliveries);
        }
        if more {
            bridge.tap_queued = true;
            self.ready.push_back(Work::Tap(switch));
        }
        self.deliver(now, clients);
    }

    /// Copies frames into the pages that their receivers have posted, and tells them.
    fn deliver(&mut self, now: Instant, clients: &mut impl Clients) {
        let mut deliveries = mem::take(&mut self.scratch.deliveries);
        for part in deliveries.chunks(COPIES) {
            self.deliver_part(part, now, clients);
        }
        deliveries.clear();
        self.scratch.deliveries = deliveries;
    }

    fn deliver_part(&mut self, part: &[Delivery], now: Instant, clients: &mut impl Clients) {
        let mut broken: Vec<(PortId, Place, BrokenRing)> = Vec::new();
        let Scratch { frames, copies, answers, touched, late, .. } = &mut self.scratch;
        copies.clear();
        answers.clear();
        touched.clear();
        late.clear();
        for delivery in part {
            let Some(place) = self.interfaces.get(delivery.to.0 as usize).copied() else {
                continue;
            };
            let Which::Vif(number) = place.device else { continue };
            let domain = &mut *self.domains[place.domain];
            let vif = &mut domain.vifs[number];
            if broken.iter().any(|(port, ..)| *port == delivery.to) {
                continue;
            }
            let Delivery { frame, length, .. } = *delivery;
            if !vif.backend.accepts(length) {
                continue;
            }
            // Frames that wait come first.
            let posted = match vif.backend.waiting.is_empty() {
                true => vif.backend.posted(&domain.memory),
                false => Ok(None),
            };
            match posted {
                Ok(Some(posted)) => {
                    copies.push(posted.copy(domain.id.domid, frame, length));
                    answers.push((place, posted.id));
                    // Frames for one guest mostly come one after the other.
                    if touched.last() != Some(&delivery.to) {
                        touched.push(delivery.to);
                    }
                }
                Ok(None) if delivery.may_wait => late.push((place, *delivery)),
                Ok(None) => vif.backend.traffic.dropped_frames += 1,
                Err(error) => broken.push((delivery.to, place, error)),
            }
        }
        if !copies.is_empty() {
            self.host.deliver(frames, copies);
        }
        for ((place, id), copy) in answers.iter().zip(copies.iter()) {
            let Which::Vif(number) = place.device else { continue };
            let domain = &mut *self.domains[place.domain];
            domain.vifs[number].backend.received(&domain.memory, *id, copy);
        }
        for port in touched.iter() {
            let place = self.interfaces.get(port.0 as usize).copied();
            let Some(Place { domain, device: Which::Vif(number) }) = place else { continue };
            let domain = &mut *self.domains[domain];
            let vif = &mut domain.vifs[number];
            // A second push without new responses wants no event.
            if vif.backend.push_received(&domain.memory)
                && let Some(port) = vif.turns.port
            {
                self.host.notify(port);
            }
        }
        // Those that found no page.
        for (place, Delivery { frame, length, .. }) in mem::take(&mut self.scratch.late) {
            self.keep_waiting(place, frame, length);
        }
        for (_, place, error) in broken {
            self.break_device(place, error.to_string(), now, clients);
        }
    }
}

/// Lists the guests that a frame goes to.
fn address(
    table: &Switch,
    route: Route,
    from: End,
    frame: usize,
    length: u16,
    deliveries: &mut Vec<Delivery>,
) {
    if let Route::One(End::Port(to)) = route {
        deliveries.push(Delivery { to, frame, length, may_wait: true });
    }
    for to in table.targets(route) {
        if End::Port(*to) != from {
            deliveries.push(Delivery { to: *to, frame, length, may_wait: false });
        }
    }
}
