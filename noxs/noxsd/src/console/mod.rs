// SPDX-License-Identifier: GPL-3.0-or-later
//! A console: its ring, its log, and the clients that are connected to it.
//!
//! [`ring`] takes output out of the guest's page and puts input into it, [`log`] is the bounded
//! file that keeps output, [`viewers`] are the clients. A restarted noxsd continues where the rings'
//! indices stand and appends to the log; see [`Console::attach`].

#[cfg(test)]
pub(crate) mod frontend;
pub mod log;
pub mod ring;
pub mod viewers;

use std::io;
use std::time::Instant;

use noxs_control::{ConsoleDevice, ConsoleRole, ConsoleStatus, ConsoleUse, Refusal};
use xen_ring::SharedPage;

pub use self::log::ConsoleLog;
pub use self::ring::ConsoleFault;
use self::ring::{ConsoleRing, OUTPUT_SIZE, Output};
use self::viewers::Viewers;
use crate::host::PAGE_SIZE;
use crate::host::cx::Cx;
use crate::host::{DomId, GrantRef, Host, RemotePort};
use crate::turns::{After, Served};

/// How many times a console takes out the contents of the output ring in one turn.
const OUTPUTS: usize = 8;

/// Identifies a client. The caller chooses the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientId(pub usize);

/// The clients that consoles are connected to.
pub trait Clients {
    /// Sends output. Drops some if the client does not read.
    fn output(&mut self, client: ClientId, output: &[u8]);

    /// Closes the connection, because the console no longer exists.
    fn close(&mut self, client: ClientId);

    /// Reports that the console has room for input again.
    fn input_wanted(&mut self, client: ClientId);
}

/// An attached console.
#[derive(Debug)]
pub struct Console {
    ring: ConsoleRing,
    log: ConsoleLog,
    viewers: Viewers,
    status: ConsoleStatus,
    /// The log could not be written, which noxsd has already logged.
    log_failed: bool,
}

impl Console {
    /// Ring pages of a console.
    pub const PAGES: usize = 1;

    /// Bytes of its ring pages.
    pub const RING_SIZE: usize = Self::PAGES * PAGE_SIZE;

    /// Returns the pages to map for a console, in the order that [`attach`](Self::attach) expects.
    #[must_use]
    pub fn pages(device: &ConsoleDevice) -> [GrantRef; Self::PAGES] {
        [GrantRef(device.ring)]
    }

    /// Returns the port to bind for a console.
    #[must_use]
    pub fn port(device: &ConsoleDevice) -> RemotePort {
        RemotePort(device.port)
    }

    /// Creates a console whose page is at offset `base` of the domain's memory. Continues where the
    /// rings' indices stand and at the end of the log, for a new guest as for one that an earlier
    /// noxsd served.
    pub fn attach(memory: &impl SharedPage, base: usize, log: ConsoleLog, now: Instant) -> Self {
        Self {
            ring: ConsoleRing::attach(memory, base, now),
            log,
            viewers: Viewers::default(),
            status: ConsoleStatus::default(),
            log_failed: false,
        }
    }

    /// Moves a batch of output to the log and the clients, and input to the guest.
    ///
    /// # Errors
    /// The guest wrote an impossible index.
    pub fn serve<H: Host>(
        &mut self,
        cx: &mut Cx<'_, H>,
        clients: &mut impl Clients,
    ) -> Result<Served, ConsoleFault> {
        let mut after = After::Turn;
        let mut moved = false;
        let mut buffer = [0; OUTPUT_SIZE];
        for _ in 0..OUTPUTS {
            match self.ring.take_output(cx.memory, &mut buffer, cx.now)? {
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
                    self.status.from_guest_bytes += length as u64;
                    self.viewers.output(&buffer[..length], clients);
                    let written = self.log.append(&buffer[..length]);
                    self.report(cx.domid, written);
                }
            }
        }
        let typed = self.ring.put_input(cx.memory)?;
        if typed > 0 {
            self.status.to_guest_bytes += typed as u64;
            moved = true;
            if let Some(client) = self.viewers.writer() {
                clients.input_wanted(client);
            }
        }
        if moved {
            cx.notify();
        }
        Ok(Served { after, progress: moved })
    }

    /// Logs that the console's log cannot be written, once until it can be written again.
    fn report(&mut self, domid: DomId, written: io::Result<()>) {
        match written {
            Ok(()) => self.log_failed = false,
            Err(error) if !self.log_failed => {
                self.log_failed = true;
                tracing::warn!("the console log of domain {domid} lacks output: {error}");
            }
            Err(_) => {}
        }
    }

    /// Connects a client. Returns whether it types, and what it gets that was printed before: after
    /// it comes what is printed from now on.
    ///
    /// # Errors
    /// The console has as many clients as it may have.
    pub fn open(
        &mut self,
        domid: DomId,
        client: ClientId,
        usage: ConsoleUse,
    ) -> Result<(ConsoleRole, Vec<u8>), Refusal> {
        let connected = self.viewers.open(client, usage)?;
        let history = self.log.newest(connected.history).unwrap_or_else(|error| {
            tracing::warn!("cannot read the console log of domain {domid}: {error}");
            Vec::new()
        });
        Ok((connected.role, history))
    }

    /// Disconnects this client, if it is connected. Returns the client that types instead of it, if
    /// there is one.
    pub fn close(&mut self, client: ClientId) -> Option<ClientId> {
        self.viewers.close(client)
    }

    /// Closes the clients' connections, because the console is being released.
    pub fn release(&mut self, clients: &mut impl Clients) {
        self.viewers.release(clients);
    }

    /// Returns whether this client types.
    #[must_use]
    pub fn is_writer(&self, client: ClientId) -> bool {
        self.viewers.writer() == Some(client)
    }

    /// Returns how many bytes of input the console can queue now.
    #[must_use]
    pub fn input_room(&self) -> usize {
        self.ring.input_room()
    }

    /// Queues input, which the next turn moves to the guest. What exceeds
    /// [`input_room`](Self::input_room) is lost.
    pub fn queue_input(&mut self, input: &[u8]) {
        self.ring.queue_input(input);
    }

    /// Returns how much has passed.
    #[must_use]
    pub fn status(&self) -> ConsoleStatus {
        self.status
    }
}
