// SPDX-License-Identifier: GPL-3.0-or-later
//! Root's socket and its clients.
//!
//! No client can block another. A client that sends a malformed packet, one that is too long or one
//! of another version, or that does not read its reply, is disconnected. When there are too many
//! clients, the one that has been silent longest is disconnected, of those that do not wait for a
//! reply. Other users have a socket of their own, see [`member_server`](crate::member_server).

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;

use chaos::clients::chaosd::protocol::{self, MAX_PACKET, Refusal, Reply, Request};
use chaos::failure::FailureClass;
use chaos::timings::Timings;
use daemon::clients::{Clients, Limits};
use daemon::encoding::DecodeError;
use daemon::packet::{self, MAX_FILES};
use mio::{Interest, Registry, Token};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, getsockopt, recv, sockopt::PeerCredentials};
use nix::unistd::geteuid;

use crate::members::ROOT;
use crate::uploads::UploadedFile;

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

/// The files of a request.
#[derive(Debug)]
pub enum Files {
    /// Descriptors that root has passed.
    Passed(Vec<OwnedFd>),
    /// Files that another user has uploaded since the last create.
    Uploaded(Vec<Arc<UploadedFile>>),
}

/// The answer to a request.
#[derive(Debug)]
pub enum Answer {
    /// It is carried out or refused.
    Now(Reply),
    /// It is being carried out; the service will have a reply with this number.
    Later(u64),
}

/// A service that answers requests.
pub trait Serve {
    /// Answers a request. `timings` started when the request was readable.
    fn serve(&mut self, peer: Peer, request: Request, files: Files, timings: Timings) -> Answer;

    /// Drops the uploaded files that are out of use, to make room for another one.
    fn drop_uploads(&mut self) {}

    /// Does work that can wait until the reply is sent.
    fn after(&mut self) {}
}

/// A client, as the server remembers it.
#[derive(Debug)]
struct ClientState {
    peer: Peer,
    /// Its socket, which is open as long as the client is connected.
    socket: RawFd,
    /// Whether it waits for a reply that the service gives later.
    waits: bool,
}

/// The listener and all clients.
#[derive(Debug)]
pub struct Server {
    clients: Clients<ClientState>,
    buffer: Vec<u8>,
    /// The clients that wait, by the number of the reply.
    waiting: HashMap<u64, usize>,
}

impl Server {
    /// Serves the clients of a listening, non-blocking socket.
    ///
    /// # Errors
    /// The kernel cannot wait for the socket.
    pub fn new(listener: UnixListener, registry: Registry) -> io::Result<Self> {
        let places = Limits { listener: LISTENER, first: FIRST_CLIENT, clients: MAX_CLIENTS };
        let clients = Clients::new(listener, registry, places)?;
        Ok(Self { clients, buffer: vec![0; MAX_PACKET], waiting: HashMap::new() })
    }

    /// Accepts one connection.
    pub fn accept(&mut self) {
        self.clients.accept(is_idle, |socket| {
            // The mode of the socket lets no other user in.
            let peer = peer(socket).filter(|peer| peer.uid == ROOT)?;
            Some(ClientState { peer, socket: socket.as_raw_fd(), waits: false })
        });
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
        if client.state.waits {
            // The poll reports only its end now. It reports that without pause, so remove it.
            if has_ended(&client.socket) {
                self.waiting.retain(|_, waiting| *waiting != key);
                return None;
            }
            return Some(());
        }
        let peer = client.state.peer;
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
                 {MAX_PACKET} bytes, or more than {MAX_FILES} files"
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
        let answer = match request {
            Request::Upload { .. } => {
                let message = "root passes the files of a create as descriptors".to_owned();
                Answer::Now(refused(FailureClass::WrongInput, message))
            }
            request => service.serve(peer, request, Files::Passed(packet.files), timings),
        };
        let reply = match answer {
            Answer::Now(reply) => reply,
            Answer::Later(number) => return self.wait(key, number),
        };
        let sent = self.send(key, &reply);
        service.after();
        sent
    }

    /// Keeps a client whose reply comes later: it is neither read from nor evicted until then.
    fn wait(&mut self, key: usize, number: u64) -> Option<()> {
        let (client, registry) = self.clients.get_with_registry(key)?;
        client.wait_for(None, registry).ok()?;
        client.state.waits = true;
        self.waiting.insert(number, key);
        Some(())
    }

    /// Sends a reply that was promised with [`Answer::Later`].
    pub fn answer(&mut self, number: u64, reply: &Reply) {
        let Some(key) = self.waiting.remove(&number) else { return };
        if self.answer_client(key, reply).is_none() {
            self.clients.remove(key);
        }
    }

    fn answer_client(&mut self, key: usize, reply: &Reply) -> Option<()> {
        let (client, registry) = self.clients.get_with_registry(key)?;
        client.state.waits = false;
        client.wait_for(Some(Interest::READABLE), registry).ok()?;
        self.send(key, reply)
    }

    /// Sends a reply. Returns `None` if the client must be disconnected.
    fn send(&mut self, key: usize, reply: &Reply) -> Option<()> {
        let client = self.clients.get_mut(key)?;
        let sent = send(&client.socket, reply);
        if sent.is_none() {
            let Peer { pid, uid } = client.state.peer;
            tracing::warn!("disconnected process {pid} (user {uid}): {UNREAD}");
        }
        sent
    }
}

/// Why a client is disconnected whose reply cannot be sent.
pub(crate) const UNREAD: &str = "it does not read its reply";

/// Sends a reply without waiting. Returns `None` if the client must be disconnected.
pub(crate) fn send(socket: &UnixStream, reply: &Reply) -> Option<()> {
    let packet = protocol::encode(reply).or_else(|| {
        let message = format!("the reply is too long: must be at most {MAX_PACKET} bytes");
        protocol::encode(&refused(FailureClass::Failed, message))
    });
    packet::send(socket, &packet?, &[]).ok()
}

/// Returns whether the other end of a connection was closed.
fn has_ended(socket: &UnixStream) -> bool {
    let mut fds = [PollFd::new(socket.as_fd(), PollFlags::empty())];
    let ended = PollFlags::POLLHUP | PollFlags::POLLERR;
    poll(&mut fds, PollTimeout::ZERO).is_ok()
        && fds[0].revents().is_some_and(|events| events.intersects(ended))
}

/// Returns whether a client has sent nothing that is not answered yet, so that it may be
/// disconnected in favour of another one.
fn is_idle(client: &ClientState) -> bool {
    if client.waits {
        return false;
    }
    let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
    matches!(recv(client.socket, &mut [0], flags), Ok(0) | Err(Errno::EAGAIN))
}

/// Returns the reply that refuses a request.
pub(crate) fn refused(class: FailureClass, message: String) -> Reply {
    Reply::Refused(Refusal { class, message })
}

/// Returns who has connected.
pub(crate) fn peer(socket: &UnixStream) -> Option<Peer> {
    let credentials = getsockopt(socket, PeerCredentials).ok()?;
    let (pid, uid) = (credentials.pid(), credentials.uid());
    // chaosd runs as root. Only tests run as another user, whose clients are as trusted.
    Some(Peer { pid, uid: if uid == geteuid().as_raw() { ROOT } else { uid } })
}

/// Logs why a client whose packet is not a request is disconnected.
pub(crate) fn log_refusal(Peer { pid, uid }: Peer, error: DecodeError) {
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
