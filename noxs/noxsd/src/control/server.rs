// SPDX-License-Identifier: GPL-3.0-or-later
//! The clients: their requests, and the consoles and watches that some connections turn into.
//!
//! No client can delay another: nothing is read from a client that has not taken its last reply, a
//! console's client that does not read loses the oldest output, and when there are too many clients
//! the one that has been silent longest is disconnected.

mod requests;
mod waiting;

use std::io;
use std::mem;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Instant;

use daemon::clients::{Clients as Connections, Limits};
use daemon::packet;
use mio::{Registry, Token};
use nix::errno::Errno;
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use noxs_control::{MAX_FILES, MAX_PACKET};

use self::waiting::Waiting;
use super::client::{Mode, State, await_more, flush};
use super::session::Session;
use crate::console::{ClientId, Clients};
use crate::domains::Domains;
use crate::host::Host;

/// Most clients that are connected at a time.
pub const MAX_CLIENTS: usize = 256;

/// Most clients that are consoles or watches, which are never disconnected for a new client. So
/// some are left for requests.
pub(super) const MAX_PINNED: usize = MAX_CLIENTS - 32;

/// Token of the first client. All tokens that are not clients' are below.
pub const FIRST_TOKEN: usize = 1 << 32;

/// What a client of a console gets when it becomes the one that types.
pub(super) const NOW_TYPES: &[u8] =
    b"\r\n[noxsd: the other client has left: your input goes to the guest now]\r\n";

/// All clients.
#[derive(Debug)]
pub struct Server {
    clients: Connections<State>,
    /// Clients that are disconnected at the end of this turn.
    closing: Vec<usize>,
    watchers: usize,
    buffer: Vec<u8>,
    /// Requests that wait for a disk.
    waiting: Vec<Waiting>,
    /// How many have waited so far.
    postponed: u64,
}

impl Server {
    /// Creates a server for a listening, non-blocking socket, which the poll reports as `listener`.
    ///
    /// # Errors
    /// The kernel cannot poll the socket.
    pub fn new(socket: UnixListener, registry: Registry, listener: Token) -> io::Result<Self> {
        let limits = Limits { listener, first: FIRST_TOKEN, clients: MAX_CLIENTS };
        Ok(Self {
            clients: Connections::new(socket, registry, limits)?,
            closing: Vec::new(),
            watchers: 0,
            buffer: vec![0; MAX_PACKET + 1],
            waiting: Vec::new(),
            postponed: 0,
        })
    }

    /// Accepts a connection. If there are too many, an old one is closed that is used for requests;
    /// a console or a watch is never closed for a new connection.
    pub fn accept(&mut self) {
        self.clients.accept(
            |state| state.mode == Mode::Requests,
            |socket| {
                log_peer(socket);
                Some(State::new())
            },
        );
    }

    /// Queues a client that the poll has reported: with a packet, or because it has closed its end.
    pub fn client_event(&mut self, token: Token, readable: bool, closed: bool) {
        let Some(key) = self.clients.key(token) else { return };
        if let Some(client) = self.clients.get_mut(key) {
            client.state.readable |= readable || closed;
            client.state.closed |= closed;
            self.clients.queue(key);
        }
    }

    /// Returns whether clients are ready now.
    #[must_use]
    pub fn has_work<H: Host>(&self, domains: &Domains<H>) -> bool {
        self.clients.turns() > 0
            || !self.closing.is_empty()
            || domains.has_lost_device()
            || self.is_over(domains)
    }

    /// Serves the clients that are ready.
    pub fn turn<H: Host>(
        &mut self,
        domains: &mut Domains<H>,
        session: &mut Session<'_>,
        now: Instant,
    ) {
        self.answer_waiting(domains, session, now);
        if domains.take_lost_device() {
            self.notify(Mode::WatchDevices);
        }
        for _ in 0..self.clients.turns() {
            if let Some(key) = self.clients.next_turn() {
                self.serve(key, domains, session, now);
            }
        }
        while let Some(key) = self.closing.pop() {
            self.drop_client(key, domains);
        }
        if self.watchers == 0
            && let Some(port) = session.domain_exception.take()
        {
            // Release the interrupt, which another process may want to bind.
            domains.host.unbind(port);
        }
    }

    fn serve<H: Host>(
        &mut self,
        key: usize,
        domains: &mut Domains<H>,
        session: &mut Session<'_>,
        now: Instant,
    ) {
        let Some((client, registry)) = self.clients.get_with_registry(key) else { return };
        if flush(client, registry).is_err() {
            return self.drop_client(key, domains);
        }
        let may_read = client.state.may_read(domains);
        if client.state.closed && !may_read {
            // What it has sent cannot be taken, perhaps never: a guest may read no input. Don't
            // keep the console busy until then.
            return self.drop_client(key, domains);
        }
        if mem::take(&mut client.state.readable) && may_read {
            match packet::receive(&client.socket, &mut self.buffer, MAX_FILES) {
                Ok(Some(packet)) => {
                    self.clients.heard(key);
                    if self.take(key, packet, domains, session, now).is_none() {
                        return self.drop_client(key, domains);
                    }
                }
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                Ok(None) | Err(_) => return self.drop_client(key, domains),
            }
        }
        let Some((client, registry)) = self.clients.get_with_registry(key) else { return };
        client.state.accepts_packets = client.state.may_read(domains);
        if await_more(client, registry).is_err() {
            self.drop_client(key, domains);
        }
    }

    /// Notifies each watcher that a domain may have shut down.
    pub fn notify_watchers(&mut self) {
        self.notify(Mode::Watch);
    }

    /// Notifies all clients that watch for one thing.
    fn notify(&self, mode: Mode) {
        for client in self.clients.iter().filter(|client| client.state.mode == mode) {
            // If the socket is full, the watcher has notifications to read anyway.
            let _ = packet::send(&client.socket, &[0], &[]);
        }
    }

    /// Returns whether no more consoles and watches can be connected.
    pub(super) fn is_full_of_pinned(&self) -> bool {
        let pinned = self.clients.iter().filter(|client| client.state.mode != Mode::Requests);
        pinned.count() >= MAX_PINNED
    }

    fn drop_client<H: Host>(&mut self, key: usize, domains: &mut Domains<H>) {
        let Some(client) = self.clients.remove(key) else { return };
        match client.state.mode {
            Mode::Console(id) => {
                if let Some(next) = domains.close_console(id, ClientId(key)) {
                    self.output(next, NOW_TYPES);
                }
            }
            Mode::Watch => self.watchers -= 1,
            Mode::Requests | Mode::WatchDevices => {}
        }
    }
}

impl Clients for Server {
    fn output(&mut self, client: ClientId, output: &[u8]) {
        let Some((state, registry)) = self.clients.get_with_registry(client.0) else { return };
        state.state.add_output(output);
        if flush(state, registry).is_err() {
            self.closing.push(client.0);
        }
    }

    fn close(&mut self, client: ClientId) {
        self.closing.push(client.0);
    }

    fn input_wanted(&mut self, client: ClientId) {
        self.clients.queue(client.0);
    }
}

fn log_peer(socket: &UnixStream) {
    if tracing::enabled!(tracing::Level::DEBUG)
        && let Ok(peer) = getsockopt(socket, PeerCredentials)
    {
        tracing::debug!("client: process {} of user {}", peer.pid(), peer.uid());
    }
}
