// SPDX-License-Identifier: GPL-3.0-or-later
//! Turns: each device that is ready is served one batch.
//!
//! All devices of a domain may share one event channel, so an event is a hint to look at each of
//! them. The channel is unmasked as soon as one of its devices waits for events. A device that
//! waits for a time alone is not woken by the events of the others. Of a guest that sends many
//! events for nothing, each further one is served later: the channel stays masked until then.

use std::time::{Duration, Instant};

use super::{Device, DeviceId, Domain, DomainIndex, Domains, Task};
use crate::console::Clients;
use crate::host::cx::Cx;
use crate::host::{DomId, Host, LocalPort, serving};
use crate::net::BridgeId;
use crate::turns::{After, Served, TurnId, Wake};

/// Most devices and taps that are served before clients get their turns.
const TURN: usize = 64;

/// How often in one turn the queue of devices is served: what the kernel reads and writes at once is
/// answered in the same turn.
const PASSES: usize = 2;

/// Pages that are copied, and frames that are read from and written to taps, before clients get their
/// turns: the device that exceeds this number is the last one of its turn. One vif copies at most 4
/// times the [pages](crate::net::transfer::PAGES) of a turn: those of waiting frames, of frames from
/// the guest, and of frames to one receiver or to a few. Long packets that are segmented for their
/// receiver take a page for each segment. A disk copies at most what its requests may take
/// ([`DOMAIN_PAGES`](crate::block::DOMAIN_PAGES)), and a batch.
const WORK: usize = 256;

impl<H: Host> Domains<H> {
    /// Queues the devices of a local port that has had an event: at once, or later if the guest has
    /// sent many events for nothing.
    pub fn event(&mut self, port: LocalPort) {
        let Some(index) = self.by_port.get(port.0) else { return };
        let delay = self.slots[index.0].backoff.count(self.last_turn);
        self.queue_devices(index, port, delay);
    }

    fn queue_devices(&mut self, domain: DomainIndex, port: LocalPort, delay: Option<Duration>) {
        for device in &self.slots[domain.0].devices {
            if device.port != Some(port) {
                continue;
            }
            match (device.turn, delay) {
                (Some(turn), None) => self.turns.event(turn),
                (Some(turn), Some(delay)) => self.turns.event_at(turn, self.last_turn + delay),
                // `configure` looks at its rings, and later events must come in.
                (None, None) => self.unmask.push(port),
                // `configure` or another device of the port unmasks it.
                (None, Some(_)) => {}
            }
        }
    }

    /// Queues all devices, because events may have been lost.
    pub fn events_lost(&mut self) {
        let ports: Vec<u32> = self.by_port.numbers().collect();
        for port in ports {
            if let Some(index) = self.by_port.get(port) {
                self.queue_devices(index, LocalPort(port), None);
            }
        }
    }

    /// Unmasks a port that belongs to no device, at the end of the next turn.
    pub fn unmask(&mut self, port: LocalPort) {
        self.unmask.push(port);
    }

    /// Queues a bridge's tap, which may have frames.
    pub fn tap_ready(&mut self, bridge: BridgeId) {
        if let Some(turn) = self.net.tap_turn(bridge) {
            self.turns.queue(turn);
        }
    }

    /// Returns whether devices or taps are ready now, operations on files must be started again, or
    /// pages of removed devices are to be unmapped.
    pub fn has_work(&self) -> bool {
        self.turns.ready() > 0 || self.disks.has_unsubmitted() || self.mapped.has_unused()
    }

    /// Returns when a device becomes ready even if no event comes.
    pub fn deadline(&self) -> Option<Instant> {
        [self.turns.deadline(), self.net.deadline()].into_iter().flatten().min()
    }

    /// Serves devices and taps that are ready, each once.
    pub fn turn(&mut self, now: Instant, clients: &mut impl Clients) {
        self.last_turn = now;
        self.turns.expire(now);
        if self.net.deadline().is_some_and(|deadline| deadline <= now) {
            self.net.check_waiting(now);
        }
        self.net.begin_turn();
        self.disks.begin_turn();
        self.finish_io();
        for _ in 0..PASSES {
            let mut left = self.turns.ready().min(TURN);
            while self.net.work() + self.disks.work() < WORK
                && let Some((turn, task)) = self.turns.take_next(&mut left)
            {
                match task {
                    Task::Device(id) => self.serve(turn, id, now, clients),
                    Task::Tap(id) => self.serve_tap(turn, id, now, clients),
                    Task::Floods(id) => self.serve_floods(turn, id, now, clients),
                }
            }
            if !self.finish_io() {
                break;
            }
        }
        serving::end();
        self.mapped.begin_turn();
        if !self.unmask.is_empty() {
            self.host.unmask(&self.unmask);
            self.unmask.clear();
        }
    }

    fn serve(&mut self, turn: TurnId, id: DeviceId, now: Instant, clients: &mut impl Clients) {
        let Domain { id: domain, memory, devices, allowance, backoff, .. } =
            &mut *self.slots[id.domain.0];
        let Device { kind, port, memory: own, .. } = &mut devices[id.device.0];
        let Some(port) = *port else { return };
        let memory = own.as_ref().unwrap_or(memory);
        serving::begin(domain.handle);
        let domid = DomId(domain.domid);
        let shared = self.recent.serve(id.domain, now);
        let mut cx = Cx { host: &mut self.host, memory: &**memory, domid, port, now, shared };
        let served = kind.serve(&mut cx, &mut self.net, &mut self.disks, allowance, clients);
        let after = served.map(|Served { after, progress }| {
            if progress {
                backoff.progress();
                return after;
            }
            // The next turn would refuse or drop frames as this one did.
            match after {
                After::Turn => backoff.count(now).map_or(after, |delay| After::Time(now + delay)),
                _ => after,
            }
        });
        self.serve_receivers(now, clients);
        match after {
            // The ring was still empty after asking for an event. An event that has come since then
            // is delivered when the port is unmasked.
            Ok(After::Event) => self.unmask.push(port),
            Ok(After::Turn) => self.turns.queue(turn),
            Ok(After::Time(time)) => self.turns.wait_until(turn, time, Wake::AtTime),
            Ok(After::TimeOrEvent(time)) => {
                self.turns.wait_until(turn, time, Wake::AtEvents);
                self.unmask.push(port);
            }
            Err(fault) => {
                self.break_device(id, fault, now, clients);
                // Another device may use the same port and wait for events.
                if self.by_port.get(port.0).is_some() {
                    self.unmask.push(port);
                }
            }
        }
    }

    /// Starts operations on files, and queues the disks for which some are finished. Returns whether
    /// there are any.
    fn finish_io(&mut self) -> bool {
        let ready = self.turns.ready();
        for turn in self.disks.finish(&mut self.host) {
            self.turns.queue(turn);
        }
        self.turns.ready() > ready
    }

    fn serve_tap(&mut self, turn: TurnId, id: BridgeId, now: Instant, clients: &mut impl Clients) {
        serving::end();
        match self.net.serve_tap(id, &mut self.host, now) {
            Ok(After::Turn) => self.turns.queue(turn),
            Ok(_) => {}
            Err(fault) => {
                if self.warnings.allows(now) {
                    tracing::warn!("{fault}");
                }
            }
        }
        self.serve_receivers(now, clients);
    }

    fn serve_floods(
        &mut self,
        turn: TurnId,
        id: BridgeId,
        now: Instant,
        clients: &mut impl Clients,
    ) {
        serving::end();
        if self.net.serve_floods(id, &mut self.host, now) == After::Turn {
            self.turns.queue(turn);
        }
        self.serve_receivers(now, clients);
    }

    /// Queues the vifs for which frames have begun to wait, and the bridges whose floods continue.
    /// Breaks the vifs whose ring turned out to be broken when a frame came.
    fn serve_receivers(&mut self, now: Instant, clients: &mut impl Clients) {
        for turn in self.net.take_woken() {
            self.turns.queue(turn);
        }
        while let Some((turn, fault)) = self.net.take_fault() {
            if let Some(Task::Device(id)) = self.turns.owner(turn) {
                self.break_device(id, fault.into(), now, clients);
            }
        }
    }
}
