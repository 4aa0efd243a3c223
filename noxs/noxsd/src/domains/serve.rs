//! Turns: finding what is to be done, and the consoles' part of it.

use std::io;
use std::time::Instant;

use noxs_control::{DomainId, Refusal};

use super::device::{Device, Hears};
use super::{Backend, Clients, Place, Which, Work};
use crate::console::ring::{OUTPUT_SIZE, Output};
use crate::host::Host;

/// Devices and taps that are served in one turn; then the sockets get theirs.
const TURN: usize = 64;

/// Ringfuls of output that a console gives in one turn.
const OUTPUTS: usize = 8;

/// What a device wants after it was served.
pub(super) enum After {
    /// Its next event.
    Event,
    /// Another turn.
    Turn,
    /// To be looked at again, but not before; its own port stays masked until then.
    Time(Instant),
    /// To be looked at again then, or at its next event.
    TimeOrEvent(Instant),
}

impl<H: Host> Backend<H> {
    /// Lets events of a port that is no device's come in again.
    pub fn unmask(&mut self, port: u32) {
        self.scratch.unmask.push(port);
    }

    /// There may be frames in a tap.
    pub fn tap_ready(&mut self, switch: usize) {
        let Some(bridge) = self.bridges.get_mut(switch) else { return };
        if !bridge.tap_queued {
            bridge.tap_queued = true;
            self.ready.push_back(Work::Tap(switch));
        }
    }

    /// Whether a turn has something to do now.
    pub fn has_work(&self) -> bool {
        !self.ready.is_empty()
    }

    /// When there is something to do at the latest without any event.
    pub fn deadline(&self) -> Option<Instant> {
        self.timers.first().map(|(deadline, _)| *deadline)
    }

    /// Serves what is ready, each device once.
    pub fn turn(&mut self, now: Instant, clients: &mut impl Clients) {
        self.expire(now);
        for _ in 0..self.ready.len().min(TURN) {
            match self.ready.pop_front() {
                Some(Work::Device(place)) => self.serve(place, now, clients),
                Some(Work::Tap(switch)) => self.serve_tap(switch, now, clients),
                None => break,
            }
        }
        if !self.scratch.unmask.is_empty() {
            self.host.unmask(&self.scratch.unmask);
            self.scratch.unmask.clear();
        }
    }

    fn serve(&mut self, place: Place, now: Instant, clients: &mut impl Clients) {
        // A device that is gone since then has no turn any more.
        let Some(port) = self.begin_turn(place) else { return };
        let after = match place.device {
            Which::Console => self.serve_console(place.domain, now, clients),
            Which::Vif(number) => self.serve_vif(port, place.domain, number, now, clients),
            // It is never queued.
            Which::Prepared(_) => return,
        };
        match after {
            // The ring was empty after the guest was told to send an event for more, so an event
            // that came meanwhile is delivered as soon as the port is unmasked.
            Ok(After::Event) => self.scratch.unmask.push(port),
            Ok(After::Turn) => self.queue(place),
            Ok(After::Time(time)) => self.wait_until(time, place, Hears::Nothing),
            Ok(After::TimeOrEvent(time)) => {
                self.wait_until(time, place, Hears::Events);
                self.scratch.unmask.push(port);
            }
            Err(why) => {
                self.break_device(place, why, now, clients);
                // Another device may have the same port, and wait for its events.
                if self.channels.get(port).is_some() {
                    self.scratch.unmask.push(port);
                }
            }
        }
    }

    fn serve_console(
        &mut self,
        index: usize,
        now: Instant,
        clients: &mut impl Clients,
    ) -> Result<After, String> {
        let domain = &mut *self.domains[index];
        let Some(Device { turns, backend: state, .. }) = &mut domain.console else {
            return Ok(After::Event);
        };
        let Some(port) = turns.port else { return Ok(After::Event) };
        let mut after = After::Turn;
        let mut moved = false;
        let mut buffer = [0; OUTPUT_SIZE];
        for _ in 0..OUTPUTS {
            let output = state.console.take_output(&domain.memory, &mut buffer, now);
            match output.map_err(|error| error.to_string())? {
                Output::Nothing => {
                    after = After::Event;
                    break;
                }
                Output::NotBefore(time) => {
                    after = After::Time(time);
                    break;
                }
                Output::Bytes(length) => {
                    moved = true;
                    state.printed += length as u64;
                    if let Some(client) = state.client {
                        clients.output(client, &buffer[..length]);
                    }
                    let written = state.console.log.append(&buffer[..length]);
                    report(domain.id, &mut state.log_failed, written);
                }
            }
        }
        let given = state.console.give_input(&domain.memory).map_err(|error| error.to_string())?;
        if given > 0 {
            state.typed += given as u64;
            moved = true;
            if let Some(client) = state.client {
                clients.input_wanted(client);
            }
        }
        if moved {
            self.host.notify(port);
        }
        Ok(after)
    }

    /// How many bytes of input a console takes now.
    pub fn input_room(&self, id: DomainId) -> usize {
        let console = self.find(id).ok().and_then(|index| self.domains[index].console.as_ref());
        console.map_or(0, |console| console.backend.console.input_room())
    }

    /// Gives input to a console; no more than [`input_room`](Self::input_room) says.
    ///
    /// # Errors
    /// There is no such console.
    pub fn input(&mut self, id: DomainId, input: &[u8]) -> Result<(), Refusal> {
        let index = self.find(id)?;
        let Some(console) = &mut self.domains[index].console else {
            return Err(Refusal::NoDevice);
        };
        if console.turns.port.is_none() {
            return Err(Refusal::NoDevice);
        }
        console.backend.console.queue_input(input);
        self.queue(Place { domain: index, device: Which::Console });
        Ok(())
    }
}

/// Says once that a log cannot be written.
fn report(id: DomainId, failed: &mut bool, written: io::Result<()>) {
    match written {
        Ok(()) => *failed = false,
        Err(error) if !*failed => {
            *failed = true;
            tracing::warn!("the console log of domain {} lacks output: {error}", id.domid);
        }
        Err(_) => {}
    }
}
