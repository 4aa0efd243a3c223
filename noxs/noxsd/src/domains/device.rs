//! Devices, and how they come to their turns.
//!
//! All devices of a domain may share one event channel: an event is a hint to look at each of
//! them. The channel is let in again as soon as one of its devices waits for events; a device that
//! waits for a time does not hear those of the others.

use std::collections::BTreeSet;
use std::time::Instant;

use super::{Backend, Domain, Place, Which, Work};
use crate::host::Host;

/// A device of a domain that is served.
#[derive(Debug)]
pub(super) struct Device<T> {
    pub(super) turns: Turns,
    /// Why it was taken from its guest.
    pub(super) broken: Option<String>,
    /// The ring's state.
    pub(super) backend: T,
}

/// How a device comes to its turns.
#[derive(Debug)]
pub(super) struct Turns {
    /// dom0's end of its event channel, unless the device was taken from its guest.
    pub(super) port: Option<u32>,
    /// Whether it is in the ready queue.
    pub(super) queued: bool,
    /// When it is to be looked at again.
    timer: Option<Instant>,
    /// Whether it waits for that time, whatever events come.
    deaf: bool,
}

/// An interface whose rings are mapped and whose port is bound, and no more.
#[derive(Clone, Copy, Debug)]
pub(super) struct Prepared {
    /// Number in its domain.
    pub(super) index: u16,
    /// dom0's end of its event channel.
    pub(super) port: Option<u32>,
    /// Which switch it will be on.
    pub(super) switch: usize,
    /// Offset of its rings in the domain's shared memory.
    pub(super) base: usize,
}

/// What a device waits for besides a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hears {
    Events,
    Nothing,
}

impl<T> Device<T> {
    pub(super) fn new(port: Option<u32>, backend: T) -> Self {
        let turns = Turns { port, queued: false, timer: None, deaf: false };
        Self { turns, broken: None, backend }
    }
}

impl<M> Domain<M> {
    pub(super) fn devices(&self) -> impl Iterator<Item = Which> + use<M> {
        let console = self.console.is_some().then_some(Which::Console);
        let vifs = (0..self.vifs.len()).map(Which::Vif);
        let prepared = (0..self.prepared.len()).map(Which::Prepared);
        console.into_iter().chain(vifs).chain(prepared)
    }

    /// How a device comes to its turns; `None` if it is not served.
    pub(super) fn turns(&mut self, device: Which) -> Option<&mut Turns> {
        match device {
            Which::Console => Some(&mut self.console.as_mut()?.turns),
            Which::Vif(number) => Some(&mut self.vifs.get_mut(number)?.turns),
            Which::Prepared(_) => None,
        }
    }

    /// dom0's end of a device's event channel.
    pub(super) fn port(&mut self, device: Which) -> Option<&mut Option<u32>> {
        match device {
            Which::Prepared(number) => Some(&mut self.prepared.get_mut(number)?.port),
            _ => Some(&mut self.turns(device)?.port),
        }
    }
}

impl<H: Host> Backend<H> {
    /// An event came on a local port: a hint to look.
    pub fn event(&mut self, port: u32) {
        let Some(index) = self.channels.get(port) else { return };
        for device in self.domains[index].devices() {
            let domain = &mut *self.domains[index];
            if domain.port(device).is_none_or(|own| *own != Some(port)) {
                continue;
            }
            match domain.turns(device) {
                Some(turns) if turns.deaf => {}
                Some(_) => self.queue(Place { domain: index, device }),
                // Whoever configures the device looks at its rings; later events must come in.
                None => self.scratch.unmask.push(port),
            }
        }
    }

    /// Looks at all devices, because events may have been lost.
    pub fn events_lost(&mut self) {
        let ports: Vec<u32> = self.channels.numbers().collect();
        for port in ports {
            self.event(port);
        }
    }

    /// Gives a device a turn.
    pub(super) fn queue(&mut self, place: Place) {
        let turns = self.domains.get_mut(place.domain).and_then(|it| it.turns(place.device));
        if let Some(turns) = turns
            && !turns.queued
        {
            turns.queued = true;
            self.ready.push_back(Work::Device(place));
        }
    }

    /// A device's turn begins. Gives its port; `None` if it is there no more.
    pub(super) fn begin_turn(&mut self, place: Place) -> Option<u32> {
        let turns = self.domains.get_mut(place.domain)?.turns(place.device)?;
        turns.queued = false;
        turns.stop_waiting(place, &mut self.timers);
        turns.port
    }

    /// Has a device looked at again then.
    pub(super) fn wait_until(&mut self, time: Instant, place: Place, hears: Hears) {
        if let Some(turns) = self.domains[place.domain].turns(place.device) {
            turns.stop_waiting(place, &mut self.timers);
            turns.timer = Some(time);
            turns.deaf = hears == Hears::Nothing;
            self.timers.insert((time, place));
        }
    }

    /// Gives the devices a turn whose time has come.
    pub(super) fn expire(&mut self, now: Instant) {
        while let Some((_, place)) = self.timers.first().copied().filter(|(time, _)| *time <= now) {
            self.timers.pop_first();
            if let Some(turns) = self.domains[place.domain].turns(place.device) {
                turns.timer = None;
                turns.deaf = false;
            }
            self.queue(place);
        }
    }

    /// Takes a device out of all tables, and lets go of its port if no other device has it.
    pub(super) fn release(&mut self, place: Place) {
        let Place { domain: index, device } = place;
        let domain = &mut *self.domains[index];
        if let Some(turns) = domain.turns(device) {
            turns.stop_waiting(place, &mut self.timers);
        }
        let Some(port) = domain.port(device).and_then(Option::take) else { return };
        if let Which::Vif(number) = device {
            let vif = &mut domain.vifs[number].backend;
            self.waiting_bytes -= vif.waiting.iter().map(|frame| frame.len()).sum::<usize>();
            vif.waiting.clear();
            vif.waiting.shrink_to_fit();
            self.bridges[vif.switch].table.remove(vif.port, vif.mac, vif.ipv4);
            self.interfaces.remove(vif.port.0 as usize);
        }
        let mut others = domain.devices();
        if !others.any(|other| domain.port(other).is_some_and(|own| *own == Some(port))) {
            self.channels.remove(port);
            self.host.unbind(port);
        }
    }
}

impl Turns {
    fn stop_waiting(&mut self, place: Place, timers: &mut BTreeSet<(Instant, Place)>) {
        self.deaf = false;
        if let Some(time) = self.timer.take() {
            timers.remove(&(time, place));
        }
    }
}
