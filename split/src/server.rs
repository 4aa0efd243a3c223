//! The socket and its clients.
//!
//! No client can make another one wait: a packet that is malformed, too long or of another version
//! costs its sender the connection, and so does an answer that is not taken. When there are too
//! many clients, the one that has been silent longest is disconnected.

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

/// Clients that may be connected at a time.
pub const MAX_CLIENTS: usize = 64;

/// Token of the listener.
pub const LISTENER: Token = Token(0);

/// Token of the first client. Those in between are the caller's.
pub const FIRST_CLIENT: usize = 16;

/// The client that asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its process.
    pub pid: i32,
    /// Its user.
    pub uid: u32,
}

/// What answers requests.
pub trait Serve {
    /// Does what is asked for. `timings` began when the request was there to be read.
    fn serve(
        &mut self,
        peer: Peer,
        request: Request,
        files: Vec<OwnedFd>,
        timings: Timings,
    ) -> Reply;

    /// The answer is on its way: what may wait can be done now.
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

    /// Whether a client waits for its turn.
    #[must_use]
    pub fn has_turns(&self) -> bool {
        self.clients.turns() > 0
    }

    /// Serves one request of the client whose turn it is. Returns `true` if a client had the turn:
    /// more requests may have arrived meanwhile, which only the poll can say.
    pub fn turn(&mut self, service: &mut impl Serve) -> bool {
        let Some(key) = self.clients.next_turn() else { return false };
        if self.serve(key, service).is_none() {
            self.clients.remove(key);
        }
        true
    }

    /// Serves one request, if there is one. Returns `None` if the connection is over.
    fn serve(&mut self, key: usize, service: &mut impl Serve) -> Option<()> {
        let client = self.clients.get_mut(key)?;
        let peer = client.state;
        let Peer { pid, uid } = peer;
        let mut timings = Timings::start();
        let packet = match packet::receive(&client.socket, &mut self.buffer, MAX_FILES) {
            Ok(packet) => packet?,
            // If there is one after all, the poll reports it again.
            Err(Errno::EAGAIN | Errno::EINTR) => return Some(()),
            Err(_) => return None,
        };
        if packet.cut {
            tracing::warn!(
                "process {pid} (user {uid}) has sent a packet of more than {MAX_PACKET} bytes; it \
                 is disconnected"
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
            let message = "the answer is too long for a packet".to_owned();
            protocol::encode(&Reply::Refused(Refusal { class: FailureClass::Failed, message }))
        });
        let socket = &self.clients.get_mut(key)?.socket;
        let sent = sent.map(|packet| packet::send(socket, &packet, &[]));
        service.after();
        let Some(Ok(())) = sent else {
            tracing::warn!(
                "process {pid} (user {uid}) does not take its answer; it is disconnected"
            );
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
            "process {pid} (user {uid}) speaks version {found} of the protocol and this chaosd \
             version {known}; it is disconnected (after an upgrade, restart noxsd and chaosd)"
        ),
        DecodeError::Malformed => tracing::warn!(
            "process {pid} (user {uid}) has sent a malformed request; it is disconnected"
        ),
    }
}
