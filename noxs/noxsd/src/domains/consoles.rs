// SPDX-License-Identifier: GPL-3.0-or-later
//! Connects clients to consoles, and passes their input on.

use noxs_control::{ConsoleRole, ConsoleUse, DomainId, Refusal};

use super::Domains;
use crate::console::{ClientId, Console};
use crate::host::{DomId, Host};
use crate::turns::TurnId;

impl<H: Host> Domains<H> {
    /// Connects a client to a domain's console. Returns whether it types, and what it gets that was
    /// printed before.
    ///
    /// # Errors
    /// There is no such console, or too many clients are connected to it.
    pub fn open_console(
        &mut self,
        id: DomainId,
        client: ClientId,
        usage: ConsoleUse,
    ) -> Result<(ConsoleRole, Vec<u8>), Refusal> {
        let (console, _) = self.served_console(id)?;
        console.open(DomId(id.domid), client, usage)
    }

    /// Disconnects a client from a domain's console. Returns the client that types instead of it,
    /// if there is one.
    pub fn close_console(&mut self, id: DomainId, client: ClientId) -> Option<ClientId> {
        let (console, _) = self.served_console(id).ok()?;
        console.close(client)
    }

    /// Returns how many bytes of input a console can queue now.
    pub fn input_room(&self, id: DomainId) -> usize {
        let Ok(index) = self.find(id) else { return 0 };
        let mut devices = self.slots[index.0].devices.iter();
        devices.find_map(|device| device.kind.console()).map_or(0, Console::input_room)
    }

    /// Sends input to a console, if the client types. What exceeds
    /// [`input_room`](Self::input_room) is lost.
    ///
    /// # Errors
    /// There is no such console.
    pub fn input(&mut self, id: DomainId, client: ClientId, input: &[u8]) -> Result<(), Refusal> {
        let (console, turn) = self.served_console(id)?;
        if console.is_writer(client) {
            console.queue_input(input);
            self.turns.queue(turn);
        }
        Ok(())
    }

    /// Returns a domain's console and the owner of its turns, unless the guest has lost it.
    fn served_console(&mut self, id: DomainId) -> Result<(&mut Console, TurnId), Refusal> {
        let index = self.find(id)?;
        let mut devices = self.slots[index.0].devices.iter_mut();
        let console = devices.find_map(|device| Some((device.kind.console_mut()?, device.turn?)));
        console.ok_or(Refusal::NoDevice)
    }
}
