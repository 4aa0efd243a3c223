//! The socket and its clients.
//!
//! Whatever a client does, nobody else waits for it: a packet that is malformed, too long or of
//! another version costs its sender the connection, and so does an answer that is not taken. When
//! there are too many clients, the one that has been silent longest has to go.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};

use chaos::clients::chaosd::protocol::{self, MAX_PACKET, Refusal, Reply, Request};
use chaos::failure::FailureClass;
use chaos::timings::Timings;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, getsockopt, send, sockopt::PeerCredentials};
use slab::Slab;

use crate::packet;

/// Clients that may be connected at a time.
pub const MAX_CLIENTS: usize = 64;

/// Token of the listener.
pub const LISTENER: Token = Token(0);

/// Token of the first client. Those in between are the caller's.
pub const FIRST_CLIENT: usize = 16;

/// Who asks.
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

#[derive(Debug)]
struct Client {
    socket: UnixStream,
    peer: Peer,
    /// It waits for its turn.
    queued: bool,
    /// When it was heard last, in requests.
    heard: u64,
}

/// The listener and all clients.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    clients: Slab<Client>,
    /// Clients that may have sent something, each once.
    turns: VecDeque<usize>,
    requests: u64,
    buffer: Vec<u8>,
}

impl Server {
    /// Serves the clients of a listener, which must not block.
    ///
    /// # Errors
    /// The listener cannot be waited for.
    pub fn new(listener: UnixListener, registry: &Registry) -> io::Result<Self> {
        let fd = listener.as_raw_fd();
        registry.register(&mut SourceFd(&fd), LISTENER, Interest::READABLE)?;
        let (clients, turns, buffer) = (Slab::new(), VecDeque::new(), vec![0; MAX_PACKET]);
        Ok(Self { listener, clients, turns, requests: 0, buffer })
    }

    /// Takes all clients that want to connect.
    ///
    /// # Errors
    /// A client cannot be waited for.
    pub fn accept(&mut self, registry: &Registry) -> io::Result<()> {
        loop {
            let socket = match self.listener.accept() {
                Ok((socket, _)) => socket,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    // It gave up meanwhile, or there are no descriptors: those of clients that go
                    // are free for the next one.
                    tracing::warn!("a client cannot be taken: {error}");
                    return Ok(());
                }
            };
            let Ok(credentials) = getsockopt(&socket, PeerCredentials) else { continue };
            let peer = Peer { pid: credentials.pid(), uid: credentials.uid() };
            if self.clients.len() >= MAX_CLIENTS {
                self.drop_most_silent(registry);
            }
            let entry = self.clients.vacant_entry();
            let token = Token(FIRST_CLIENT + entry.key());
            let fd = socket.as_raw_fd();
            registry.register(&mut SourceFd(&fd), token, Interest::READABLE)?;
            // What it has sent before it was registered raises an event, too.
            entry.insert(Client { socket, peer, queued: false, heard: self.requests });
        }
    }

    fn drop_most_silent(&mut self, registry: &Registry) {
        let silent = self.clients.iter().min_by_key(|(_, client)| client.heard);
        if let Some((key, client)) = silent {
            tracing::warn!("too many clients: that of process {} has to go", client.peer.pid);
            self.close(key, registry);
        }
    }

    /// A client may have sent something.
    pub fn readable(&mut self, token: Token) {
        let key = token.0.wrapping_sub(FIRST_CLIENT);
        if let Some(client) = self.clients.get_mut(key).filter(|client| !client.queued) {
            client.queued = true;
            self.turns.push_back(key);
        }
    }

    /// Whether a client waits for its turn.
    #[must_use]
    pub fn has_turns(&self) -> bool {
        !self.turns.is_empty()
    }

    /// Serves one request of the client whose turn it is.
    pub fn turn(&mut self, service: &mut impl Serve, registry: &Registry) {
        let Some(key) = self.turns.pop_front() else { return };
        let Some(client) = self.clients.get_mut(key) else { return };
        client.queued = false;
        let mut timings = Timings::start();
        let packet = match packet::receive(&client.socket.as_fd(), &mut self.buffer) {
            Ok(packet) => packet,
            Err(Errno::EAGAIN) => return,
            Err(Errno::EINTR) => return self.again(key),
            Err(_) => return self.close(key, registry),
        };
        let Peer { pid, uid } = client.peer;
        if packet.length == 0 {
            return self.close(key, registry);
        }
        if packet.cut {
            tracing::warn!("process {pid} (user {uid}) has sent too long a packet");
            return self.close(key, registry);
        }
        let request = match protocol::decode(&self.buffer[..packet.length]) {
            Ok(request) => request,
            Err(error) => {
                tracing::warn!("process {pid} (user {uid}): {error}");
                return self.close(key, registry);
            }
        };
        self.requests += 1;
        client.heard = self.requests;
        timings.stage("receive");
        let reply = service.serve(client.peer, request, packet.files, timings);
        let sent = protocol::encode(&reply).or_else(|| {
            let message = "the answer is too long for a packet".to_owned();
            protocol::encode(&Reply::Refused(Refusal { class: FailureClass::Failed, message }))
        });
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        let sent = sent.map(|packet| send(client.socket.as_raw_fd(), &packet, flags));
        service.after();
        match sent {
            Some(Ok(_)) => self.again(key),
            _ => {
                tracing::warn!("process {pid} (user {uid}) does not take its answer");
                self.close(key, registry);
            }
        }
    }

    /// There may be more: events are told once only.
    fn again(&mut self, key: usize) {
        self.readable(Token(FIRST_CLIENT + key));
    }

    fn close(&mut self, key: usize, registry: &Registry) {
        if let Some(client) = self.clients.try_remove(key) {
            let fd = client.socket.as_raw_fd();
            // The end of the descriptor deregisters it anyway.
            let _ = registry.deregister(&mut SourceFd(&fd));
        }
    }
}
