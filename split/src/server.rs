// SPDX-License-Identifier: GPL-3.0-or-later
//! The socket and its clients.
//!
//! No client can block another. A client that sends a malformed packet, one that is too long or one
//! of another version, or that does not read its reply, is disconnected. When there are too many
//! clients, the one that has been silent longest is disconnected.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};

use chaos::clients::chaosd::protocol::{self, MAX_PACKET, Refusal, Reply, Request};
use chaos::failure::FailureClass;
use chaos::timings::Timings;
use daemon::clients::{Clients, Limits};
use daemon::encoding::DecodeError;
use daemon::packet::{self, MAX_FILES};
use mio::{Registry, Token};
use nix::errno::Errno;
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

/// The most clients that may be connected at the same time.
pub const MAX_CLIENTS: usize = 64;

/// The listener's token.
pub const LISTENER: Token = Token(0);

/// The first client's token. The tokens in between are the caller's.
pub const FIRST_CLIENT: usize = 16;

/// The client that sent a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its process ID.
    pub pid: i32,
    /// Its user ID.
    pub uid: u32,
}

/// A service that answers requests.
pub trait Serve {
    /// Answers a request. `timings` started when the request was readable.
    fn serve(
        &mut self,
        peer: Peer,
        request: Request,
        files: Vec<OwnedFd>,
        timings: Timings,
    ) -> Reply;

    /// Does work that can wait until the reply is sent.
    fn after(&mut self) {}
}

/// The listener and all clients.
#[derive(Debug)]
pub struct Server {
    clients: Clients<Peer>,
    buffer: Vec<u8>,
}

impl Server {
    /// Serves the clients of a listening, non-blocking socket.
    ///
    /// # Errors
    /// The kernel cannot wait for the socket.
    pub fn new(listener: UnixListener, registry: Registry) -> io::Result<Self> {
        let limits = Limits { listener: LISTENER, first: FIRST_CLIENT, clients: MAX_CLIENTS };
        let clients = Clients::new(listener, registry, limits)?;
        Ok(Self { clients, buffer: vec![0; MAX_PACKET] })
    }

    /// Accepts one connection.
    pub fn accept(&mut self) {
        self.clients.accept(|_| true, peer);
    }

    /// Notes that a client may have sent something.
    pub fn readable(&mut self, token: Token) {
        if let Some(key) = self.clients.key(token) {
            self.clients.queue(key);
        }
    }

    /// Returns whether a client waits for its turn.
    #[must_use]
    pub fn has_turns(&self) -> bool {
        self.clients.turns() > 0
    }

    /// Serves one request of the client whose turn it is. Returns `true` if a client had a turn:
    /// then poll before other work, because more requests may have arrived.
    pub fn turn(&mut self, service: &mut impl Serve) -> bool {
        let Some(key) = self.clients.next_turn() else { return false };
        if self.serve(key, service).is_none() {
            self.clients.remove(key);
        }
        true
    }

    /// Serves one request, if there is one. Returns `None` if the client must be disconnected.
    fn serve(&mut self, key: usize, service: &mut impl Serve) -> Option<()> {
        let client = self.clients.get_mut(key)?;
        let peer = client.state;
        let Peer { pid, uid } = peer;
        let mut timings = Timings::start();
        let packet = match packet::receive(&client.socket, &mut self.buffer, MAX_FILES) {
            Ok(packet) => packet?,
            // If a request comes after all, the poll reports it again.
            Err(Errno::EAGAIN | Errno::EINTR) => return Some(()),
            Err(_) => return None,
        };
        if packet.cut {
            tracing::warn!(
                "disconnected process {pid} (user {uid}): it sent a packet of more than \
                 {MAX_PACKET} bytes, or too many files"
            );
            return None;
        }
        let request = match protocol::decode(&self.buffer[..packet.length]) {
            Ok(request) => request,
            Err(error) => {
                log_refusal(peer, error);
                return None;
            }
        };
        self.clients.heard(key);
        timings.stage("receive");
        let reply = service.serve(peer, request, packet.files, timings);
        let sent = protocol::encode(&reply).or_else(|| {
            let message = format!("the reply is too long: must be at most {MAX_PACKET} bytes");
            protocol::encode(&Reply::Refused(Refusal { class: FailureClass::Failed, message }))
        });
        let socket = &self.clients.get_mut(key)?.socket;
        let sent = sent.map(|packet| packet::send(socket, &packet, &[]));
        service.after();
        let Some(Ok(())) = sent else {
            tracing::warn!("disconnected process {pid} (user {uid}): it does not read its reply");
            return None;
        };
        Some(())
    }
}

fn peer(socket: &UnixStream) -> Option<Peer> {
    let credentials = getsockopt(socket, PeerCredentials).ok()?;
    Some(Peer { pid: credentials.pid(), uid: credentials.uid() })
}

fn log_refusal(Peer { pid, uid }: Peer, error: DecodeError) {
    match error {
        DecodeError::Version { found, known } => tracing::warn!(
            "disconnected process {pid} (user {uid}): it uses version {found} of the protocol, and \
             this chaosd version {known}; after an upgrade, restart chaosd"
        ),
        DecodeError::Malformed => {
            tracing::warn!("disconnected process {pid} (user {uid}): it sent a malformed request")
        }
    }
}
