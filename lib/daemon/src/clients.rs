// SPDX-License-Identifier: MIT OR Apache-2.0
//! The clients of a daemon: accepting, eviction, turns.
//!
//! No client can block another: each turn serves one packet of one client, and when there are too
//! many clients, the one that has been silent longest is disconnected. The daemon decides what to
//! do with a packet, and what to store for each client: the parameter `T`.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use slab::Slab;

use crate::level::Level;

/// A connection, and what the daemon stores for its client.
#[derive(Debug)]
pub struct Client<T> {
    /// The connection.
    pub socket: UnixStream,
    /// What the daemon stores.
    pub state: T,
    token: Token,
    /// What the poll waits for beside the end of the connection.
    awaited: Option<Interest>,
    /// Whether it is in the queue.
    queued: bool,
    /// The time of its last request, on [`Clients::clock`].
    last_request: u64,
}

/// The tokens of the clients in the poll, and their maximum number.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The listener's token.
    pub listener: Token,
    /// The first client's token; the others follow.
    pub first: usize,
    /// The most clients that may be connected at the same time.
    pub clients: usize,
}

/// The listener and all clients.
#[derive(Debug)]
pub struct Clients<T> {
    listener: UnixListener,
    registry: Registry,
    limits: Limits,
    /// Whether the poll reports the listener by level; by edge otherwise.
    by_level: bool,
    clients: Slab<Client<T>>,
    /// Clients that wait for their turn, each once.
    turns: VecDeque<usize>,
    /// Counts connections and requests.
    clock: u64,
}

impl<T> Clients<T> {
    /// Waits for clients on a listening, non-blocking socket.
    ///
    /// # Errors
    /// The listener cannot be added to the poll.
    pub fn new(listener: UnixListener, registry: Registry, limits: Limits) -> io::Result<Self> {
        let mut source = Level(listener.as_raw_fd());
        registry.register(&mut source, limits.listener, Interest::READABLE)?;
        Ok(Self {
            listener,
            registry,
            limits,
            by_level: true,
            clients: Slab::new(),
            turns: VecDeque::new(),
            clock: 0,
        })
    }

    /// Accepts one connection; as long as more wait, the poll reports the listener.
    ///
    /// If there are too many clients, the one that has been silent longest, of those that
    /// `is_evictable`, is disconnected first. `greet` creates the new client's state, or refuses
    /// the client with `None`.
    pub fn accept(
        &mut self,
        is_evictable: impl Fn(&T) -> bool,
        greet: impl FnOnce(&UnixStream) -> Option<T>,
    ) {
        let socket = match self.listener.accept() {
            Ok((socket, _)) => socket,
            Err(error) if is_transient(error.kind()) => return,
            Err(error) => {
                tracing::warn!("cannot accept a connection: {error}");
                return self.listen(false);
            }
        };
        self.listen(true);
        // First: a client that is refused must not cost another one its connection.
        let Some(state) = greet(&socket) else { return };
        if self.clients.len() >= self.limits.clients && !self.evict(is_evictable) {
            tracing::warn!(
                "refused a client: {} are connected, the maximum, and all are in use",
                self.limits.clients
            );
            return;
        }
        let entry = self.clients.vacant_entry();
        let token = Token(self.limits.first + entry.key());
        let mut source = Level(socket.as_raw_fd());
        if let Err(error) = self.registry.register(&mut source, token, Interest::READABLE) {
            tracing::warn!("cannot wait for a client: {error}");
            return;
        }
        self.clock += 1;
        let (last_request, awaited) = (self.clock, Some(Interest::READABLE));
        entry.insert(Client { socket, state, token, awaited, queued: false, last_request });
    }

    /// Reports the listener by level or, while no client can be accepted, by edge: by level the
    /// poll would report the same waiting client without end.
    fn listen(&mut self, by_level: bool) {
        if by_level == self.by_level {
            return;
        }
        let (fd, token) = (self.listener.as_raw_fd(), self.limits.listener);
        let listening = if by_level {
            self.registry.reregister(&mut Level(fd), token, Interest::READABLE)
        } else {
            self.registry.reregister(&mut SourceFd(&fd), token, Interest::READABLE)
        };
        match listening {
            Ok(()) => self.by_level = by_level,
            Err(error) => tracing::warn!("cannot change how to wait for connections: {error}"),
        }
    }

    /// Disconnects the client that has been silent longest. Returns `false` if none is evictable.
    fn evict(&mut self, is_evictable: impl Fn(&T) -> bool) -> bool {
        let candidates = self.clients.iter().filter(|(_, client)| is_evictable(&client.state));
        let Some((key, _)) = candidates.min_by_key(|(_, client)| client.last_request) else {
            return false;
        };
        tracing::warn!(
            "disconnected the client that was silent longest: {} are connected, the maximum",
            self.limits.clients
        );
        self.remove(key);
        true
    }

    /// Returns the key of the client with a token of the poll, if it is still connected.
    #[must_use]
    pub fn key(&self, token: Token) -> Option<usize> {
        let key = token.0.wrapping_sub(self.limits.first);
        self.clients.contains(key).then_some(key)
    }

    /// Queues a client for a turn, unless it is queued already.
    pub fn queue(&mut self, key: usize) {
        if let Some(client) = self.clients.get_mut(key)
            && !client.queued
        {
            client.queued = true;
            self.turns.push_back(key);
        }
    }

    /// Returns the number of queued turns, including those of clients that have disconnected.
    #[must_use]
    pub fn turns(&self) -> usize {
        self.turns.len()
    }

    /// Takes the next turn from the queue and returns its client. `None` if the queue is empty, or
    /// if the client has disconnected.
    pub fn next_turn(&mut self) -> Option<usize> {
        let key = self.turns.pop_front()?;
        self.clients.get_mut(key)?.queued = false;
        Some(key)
    }

    /// Notes that a client has made a request.
    pub fn heard(&mut self, key: usize) {
        self.clock += 1;
        if let Some(client) = self.clients.get_mut(key) {
            client.last_request = self.clock;
        }
    }

    /// Returns a client.
    #[must_use]
    pub fn get_mut(&mut self, key: usize) -> Option<&mut Client<T>> {
        self.clients.get_mut(key)
    }

    /// Returns a client, and the poll's registry.
    #[must_use]
    pub fn get_with_registry(&mut self, key: usize) -> Option<(&mut Client<T>, &Registry)> {
        self.clients.get_mut(key).map(|client| (client, &self.registry))
    }

    /// Returns all clients.
    pub fn iter(&self) -> impl Iterator<Item = &Client<T>> {
        self.clients.iter().map(|(_, client)| client)
    }

    /// Removes a client. Dropping the returned value closes its connection and removes it from the
    /// poll.
    pub fn remove(&mut self, key: usize) -> Option<Client<T>> {
        self.clients.try_remove(key)
    }
}

impl<T> Client<T> {
    /// Makes the poll wait for packets, for room, for both or only for the end of the connection,
    /// which it always reports.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn wait_for(&mut self, wanted: Option<Interest>, registry: &Registry) -> io::Result<()> {
        if wanted == self.awaited {
            return Ok(());
        }
        let mut source = Level(self.socket.as_raw_fd());
        match wanted {
            Some(interest) => registry.reregister(&mut source, self.token, interest)?,
            None => source.only_end(registry, self.token)?,
        }
        self.awaited = wanted;
        Ok(())
    }
}

/// Returns whether the next attempt to accept a connection may succeed.
fn is_transient(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::Interrupted | ErrorKind::ConnectionAborted)
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;
    use std::time::Duration;

    use mio::{Events, Poll};
    use nix::errno::Errno;
    use nix::sys::socket::{
        AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, recv, socket,
    };
    use tempfile::TempDir;

    use super::*;
    use crate::{listener, packet};

    const LIMITS: Limits = Limits { listener: Token(0), first: 16, clients: 3 };

    /// A daemon that stores for each client whether it may be evicted.
    struct Bed {
        poll: Poll,
        clients: Clients<bool>,
        folder: TempDir,
    }

    impl Bed {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let listener = listener::listen(&folder.path().join("socket"), None).unwrap();
            let poll = Poll::new().unwrap();
            let registry = poll.registry().try_clone().unwrap();
            let clients = Clients::new(listener, registry, LIMITS).unwrap();
            Self { poll, clients, folder }
        }

        fn client(&mut self, is_evictable: bool) -> OwnedFd {
            let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
            let client = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None).unwrap();
            let address = UnixAddr::new(&self.folder.path().join("socket")).unwrap();
            connect(client.as_raw_fd(), &address).unwrap();
            assert!(self.events().contains(&LIMITS.listener));
            self.clients.accept(|is_evictable| *is_evictable, |_| Some(is_evictable));
            client
        }

        fn events(&mut self) -> Vec<Token> {
            let mut events = Events::with_capacity(8);
            self.poll.poll(&mut events, Some(Duration::ZERO)).unwrap();
            events.iter().map(mio::event::Event::token).collect()
        }
    }

    fn is_connected(client: &OwnedFd) -> bool {
        recv(client.as_raw_fd(), &mut [0], MsgFlags::empty()) == Err(Errno::EAGAIN)
    }

    #[test]
    fn a_packet_is_reported_until_it_is_received() {
        let mut bed = Bed::new();
        let client = bed.client(true);
        packet::send(&client, b"x", &[]).unwrap();
        for _ in 0..2 {
            let [token] = bed.events()[..] else { panic!("one event") };
            let key = bed.clients.key(token).unwrap();
            bed.clients.queue(key);
            bed.clients.queue(key);
            assert_eq!(bed.clients.turns(), 1, "each client is queued once");
            assert_eq!(bed.clients.next_turn(), Some(key));
        }
        let key = bed.clients.key(Token(LIMITS.first)).unwrap();
        let socket = &bed.clients.get_mut(key).unwrap().socket;
        assert_eq!(packet::receive(socket, &mut [0; 4], 0).unwrap().unwrap().length, 1);
        assert_eq!(bed.events(), []);
        assert_eq!(bed.clients.next_turn(), None);
    }

    #[test]
    fn the_client_that_is_silent_longest_is_evicted_unless_it_must_stay() {
        let mut bed = Bed::new();
        let pinned = bed.client(false);
        let (active, silent) = (bed.client(true), bed.client(true));
        let key = bed.clients.key(Token(LIMITS.first + 1)).unwrap();
        bed.clients.heard(key);
        let _fourth = bed.client(false);
        assert!(is_connected(&pinned) && is_connected(&active) && !is_connected(&silent));
        let _fifth = bed.client(false);
        assert!(is_connected(&pinned) && !is_connected(&active));
        let refused = bed.client(true);
        assert!(is_connected(&pinned) && !is_connected(&refused));
    }

    #[test]
    fn interest_in_a_client_can_be_changed_and_ends_with_its_removal() {
        let mut bed = Bed::new();
        let client = bed.client(true);
        packet::send(&client, b"x", &[]).unwrap();
        let (state, registry) = bed.clients.get_with_registry(0).unwrap();
        state.wait_for(None, registry).unwrap();
        assert_eq!(bed.events(), []);
        let (state, registry) = bed.clients.get_with_registry(0).unwrap();
        state.wait_for(Some(Interest::READABLE), registry).unwrap();
        assert_eq!(bed.events(), [Token(LIMITS.first)]);
        drop(bed.clients.remove(0));
        assert_eq!(bed.events(), []);
        assert!(!is_connected(&client));
    }

    #[test]
    fn the_end_of_a_connection_is_reported_though_nothing_is_awaited() {
        let mut bed = Bed::new();
        let client = bed.client(true);
        packet::send(&client, b"x", &[]).unwrap();
        let (state, registry) = bed.clients.get_with_registry(0).unwrap();
        state.wait_for(None, registry).unwrap();
        drop(client);
        assert_eq!(bed.events(), [Token(LIMITS.first)]);
    }
}
