//! The socket: clients, their requests, and the streams that some connections turn into.
//!
//! Whatever a client does, nobody waits for it: nothing is read from a client that has not taken
//! its last reply, a console's client that does not read loses the oldest output, and when there
//! are too many clients the one that has been silent longest has to go.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::mem;
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Instant;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use nix::errno::Errno;
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use noxs_control::{DomainId, Reply, Request};
use slab::Slab;

use crate::console::{ClientId, Clients};
use crate::domains::Domains;
use crate::host::Host;
use crate::level::Level;
use crate::packet::{self, Packet};
use crate::session::{self, Answer, Session};

/// Clients that may be connected at a time.
pub const MAX_CLIENTS: usize = 256;

/// Token of the first client; all others are below.
pub const FIRST_TOKEN: usize = 1 << 32;

/// Output that waits for a console's client, in bytes.
const OUTPUT_WAITING: usize = 64 * 1024;

/// Bytes of a console's output that go into one packet.
const OUTPUT_PACKET: usize = 4096;

/// Bytes of input that a console's client may put into one packet.
pub const INPUT_PACKET: usize = 4096;

/// What a connection is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Requests,
    Console(DomainId),
    Watch,
}

#[derive(Debug)]
struct Client {
    socket: UnixStream,
    mode: Mode,
    /// Something is there to be read.
    readable: bool,
    /// What it sends is wanted now.
    reads: bool,
    /// It is in the ready queue.
    queued: bool,
    /// The reply that the socket would not take yet.
    reply: Option<Vec<u8>>,
    /// Console output that the socket would not take yet.
    output: VecDeque<u8>,
    /// Bytes of output that had to be dropped since the last that was sent.
    lost: usize,
    /// What the poll tells about it, if anything. That there is room only if something waits for
    /// it: otherwise each reply that a client reads would wake this process for nothing.
    awaited: Option<Interest>,
    last_heard: Instant,
}

/// All clients.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    registry: Registry,
    /// Names the listener in the poll.
    token: Token,
    /// How the poll tells of it.
    by_level: bool,
    clients: Slab<Client>,
    /// Clients that are to be looked at in the next turn.
    ready: VecDeque<usize>,
    /// Clients whose connection ends with this turn.
    closing: Vec<usize>,
    watchers: usize,
    buffer: Vec<u8>,
}

impl Server {
    /// A server for a listening, non-blocking socket. The caller waits for it under this token, as
    /// for the clients that are registered.
    ///
    /// # Errors
    /// The kernel has no means to wait.
    pub fn new(listener: UnixListener, registry: Registry, token: Token) -> io::Result<Self> {
        registry.register(&mut Level(listener.as_raw_fd()), token, Interest::READABLE)?;
        Ok(Self {
            listener,
            registry,
            token,
            by_level: true,
            clients: Slab::new(),
            ready: VecDeque::new(),
            closing: Vec::new(),
            watchers: 0,
            buffer: vec![0; noxs_control::MAX_PACKET + 1],
        })
    }

    /// Takes one who wants to connect; as long as there are others, the poll says so.
    pub fn accept<H: Host>(&mut self, backend: &mut Domains<H>, now: Instant) {
        let socket = match self.listener.accept() {
            Ok((socket, _)) => socket,
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::WouldBlock | ErrorKind::Interrupted | ErrorKind::ConnectionAborted
                ) =>
            {
                return;
            }
            Err(error) => {
                tracing::warn!("cannot accept a connection: {error}");
                return self.listen(false);
            }
        };
        self.listen(true);
        if self.clients.len() >= MAX_CLIENTS {
            self.evict(backend);
        }
        if self.clients.len() >= MAX_CLIENTS {
            tracing::warn!("{MAX_CLIENTS} consoles and watches are open; one more is refused");
            return;
        }
        if tracing::enabled!(tracing::Level::DEBUG)
            && let Ok(peer) = getsockopt(&socket, PeerCredentials)
        {
            tracing::debug!("client: process {} of user {}", peer.pid(), peer.uid());
        }
        let entry = self.clients.vacant_entry();
        let token = Token(FIRST_TOKEN + entry.key());
        let mut source = Level(socket.as_raw_fd());
        let registered = self.registry.register(&mut source, token, Interest::READABLE);
        if let Err(error) = registered {
            tracing::warn!("cannot wait for a client: {error}");
            return;
        }
        entry.insert(Client {
            socket,
            mode: Mode::Requests,
            readable: false,
            reads: true,
            queued: false,
            reply: None,
            output: VecDeque::new(),
            lost: 0,
            awaited: Some(Interest::READABLE),
            last_heard: now,
        });
    }

    /// Has the poll tell of the listener by level or, as long as clients cannot be taken, only when
    /// one more wants to connect: otherwise it would tell of the same one for ever.
    fn listen(&mut self, by_level: bool) {
        if by_level == self.by_level {
            return;
        }
        let fd = self.listener.as_raw_fd();
        let listening = match by_level {
            true => self.registry.reregister(&mut Level(fd), self.token, Interest::READABLE),
            false => self.registry.reregister(&mut SourceFd(&fd), self.token, Interest::READABLE),
        };
        match listening {
            Ok(()) => self.by_level = by_level,
            Err(error) => tracing::warn!("cannot wait for connections in another way: {error}"),
        }
    }

    /// Closes the connection that has made no request for the longest time.
    fn evict<H: Host>(&mut self, backend: &mut Domains<H>) {
        let idle = self.clients.iter().filter(|(_, client)| client.mode == Mode::Requests);
        if let Some((key, _)) = idle.min_by_key(|(_, client)| client.last_heard) {
            tracing::warn!("too many clients: the one that is silent longest has to go");
            self.drop_client(key, backend);
        }
    }

    /// Something happened on a client's socket.
    pub fn client_event(&mut self, token: Token, readable: bool) {
        let key = token.0.wrapping_sub(FIRST_TOKEN);
        if let Some(client) = self.clients.get_mut(key) {
            client.readable |= readable;
            self.queue(key);
        }
    }

    fn queue(&mut self, key: usize) {
        if let Some(client) = self.clients.get_mut(key)
            && !client.queued
        {
            client.queued = true;
            self.ready.push_back(key);
        }
    }

    /// Whether a turn has something to do now.
    #[must_use]
    pub fn has_work(&self) -> bool {
        !self.ready.is_empty() || !self.closing.is_empty()
    }

    /// Serves the clients that are ready.
    pub fn turn<H: Host>(
        &mut self,
        backend: &mut Domains<H>,
        session: &mut Session<'_>,
        now: Instant,
    ) {
        for _ in 0..self.ready.len() {
            let Some(key) = self.ready.pop_front() else { break };
            if let Some(client) = self.clients.get_mut(key) {
                client.queued = false;
                self.serve(key, backend, session, now);
            }
        }
        while let Some(key) = self.closing.pop() {
            self.drop_client(key, backend);
        }
        if self.watchers == 0
            && let Some(port) = session.domain_exception.take()
        {
            // Another process may want the interrupt now.
            backend.host.unbind(port);
        }
    }

    fn serve<H: Host>(
        &mut self,
        key: usize,
        backend: &mut Domains<H>,
        session: &mut Session<'_>,
        now: Instant,
    ) {
        let Some(client) = self.clients.get_mut(key) else { return };
        if client.flush(key, &self.registry).is_err() {
            return self.drop_client(key, backend);
        }
        if mem::take(&mut client.readable) && client.may_read(backend) {
            match packet::receive(&client.socket, &mut self.buffer) {
                Ok(Some(packet)) => {
                    client.last_heard = now;
                    if self.take(key, packet, backend, session, now).is_none() {
                        return self.drop_client(key, backend);
                    }
                }
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                Ok(None) | Err(_) => return self.drop_client(key, backend),
            }
        }
        let Some(client) = self.clients.get_mut(key) else { return };
        client.reads = client.may_read(backend);
        if client.await_more(key, &self.registry).is_err() {
            self.drop_client(key, backend);
        }
    }

    /// Does what a packet says; `None` if that costs its sender the connection.
    fn take<H: Host>(
        &mut self,
        key: usize,
        packet: Packet,
        backend: &mut Domains<H>,
        session: &mut Session<'_>,
        now: Instant,
    ) -> Option<()> {
        match self.clients.get(key)?.mode {
            Mode::Requests => {
                let request = understand(&packet, &self.buffer)?;
                let from = session::From { client: ClientId(key), file: packet.file };
                let answer = session.answer(request, from, backend, self, now);
                self.reply(key, &answer);
                Some(())
            }
            Mode::Console(id) => {
                let input = &self.buffer[..packet.length];
                let fits = !packet.cut && input.len() <= INPUT_PACKET;
                (fits && backend.input(id, input).is_ok()).then_some(())
            }
            // A watch has nothing to say.
            Mode::Watch => None,
        }
    }

    fn reply(&mut self, key: usize, answer: &Answer) {
        let Some(client) = self.clients.get_mut(key) else { return };
        let packet = match answer {
            Answer::Reply(reply) => noxs_control::encode(reply),
            Answer::Console(id) => {
                client.mode = Mode::Console(*id);
                noxs_control::encode(&Reply::Done)
            }
            Answer::Watch => {
                client.mode = Mode::Watch;
                self.watchers += 1;
                noxs_control::encode(&Reply::Done)
            }
        };
        client.reply = Some(packet);
        if client.flush(key, &self.registry).is_err() {
            self.closing.push(key);
        }
    }

    /// Tells each watcher that some domain may have ended.
    pub fn domain_ended(&mut self) {
        for (_, client) in self.clients.iter().filter(|(_, client)| client.mode == Mode::Watch) {
            // A watcher whose socket is full has packets to read, so that it looks anyway.
            let _ = packet::send(&client.socket, &[0]);
        }
    }

    fn drop_client<H: Host>(&mut self, key: usize, backend: &mut Domains<H>) {
        // Closing the socket takes it out of the poll.
        let Some(client) = self.clients.try_remove(key) else { return };
        match client.mode {
            Mode::Console(id) => backend.close_console(id, ClientId(key)),
            Mode::Watch => self.watchers -= 1,
            Mode::Requests => {}
        }
    }
}

impl Clients for Server {
    fn output(&mut self, client: ClientId, output: &[u8]) {
        let Some(state) = self.clients.get_mut(client.0) else { return };
        state.output.extend(output);
        let excess = state.output.len().saturating_sub(OUTPUT_WAITING);
        state.output.drain(..excess);
        state.lost += excess;
        if state.flush(client.0, &self.registry).is_err() {
            self.closing.push(client.0);
        }
    }

    fn close(&mut self, client: ClientId) {
        self.closing.push(client.0);
    }

    fn input_wanted(&mut self, client: ClientId) {
        self.queue(client.0);
    }
}

impl Client {
    /// Whether a packet of its can be taken now.
    fn may_read<H: Host>(&self, backend: &Domains<H>) -> bool {
        match self.mode {
            Mode::Requests | Mode::Watch => self.reply.is_none(),
            Mode::Console(id) => backend.input_room(id) >= INPUT_PACKET,
        }
    }

    /// Sends what waits, as far as the socket takes it. If something is left, the poll tells when
    /// to go on.
    fn flush(&mut self, key: usize, registry: &Registry) -> io::Result<()> {
        self.send_waiting()?;
        self.await_more(key, registry)
    }

    /// Has the poll tell what is wanted of this client: packets, room, both or nothing.
    fn await_more(&mut self, key: usize, registry: &Registry) -> io::Result<()> {
        let waits = self.reply.is_some() || !self.output.is_empty();
        let wanted = match (self.reads, waits) {
            (true, false) => Some(Interest::READABLE),
            (true, true) => Some(Interest::READABLE | Interest::WRITABLE),
            (false, true) => Some(Interest::WRITABLE),
            (false, false) => None,
        };
        if wanted == self.awaited {
            return Ok(());
        }
        let (mut source, token) = (Level(self.socket.as_raw_fd()), Token(FIRST_TOKEN + key));
        match (self.awaited, wanted) {
            (None, Some(interest)) => registry.register(&mut source, token, interest)?,
            (Some(_), Some(interest)) => registry.reregister(&mut source, token, interest)?,
            (_, None) => registry.deregister(&mut source)?,
        }
        self.awaited = wanted;
        Ok(())
    }

    fn send_waiting(&mut self) -> Result<(), Errno> {
        if let Some(reply) = &self.reply {
            match packet::send(&self.socket, reply) {
                Ok(()) => self.reply = None,
                Err(Errno::EAGAIN) => return Ok(()),
                Err(errno) => return Err(errno),
            }
        }
        while !self.output.is_empty() {
            let length = self.output.len().min(OUTPUT_PACKET);
            let note = match self.lost {
                0 => Vec::new(),
                lost => format!("\r\n[noxsd: {lost} bytes of output lost]\r\n").into_bytes(),
            };
            let packet = [&note[..], &self.output.make_contiguous()[..length]].concat();
            match packet::send(&self.socket, &packet) {
                Ok(()) => {
                    self.output.drain(..length);
                    self.lost = 0;
                }
                Err(Errno::EAGAIN) => return Ok(()),
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }
}

/// Decodes a request, or says why it costs its sender the connection.
fn understand(packet: &Packet, buffer: &[u8]) -> Option<Request> {
    if packet.cut || packet.length > noxs_control::MAX_PACKET {
        tracing::warn!("a client sent a packet that is too long or has several files with it");
        return None;
    }
    match noxs_control::decode(&buffer[..packet.length]) {
        Ok(request) => Some(request),
        Err(error) => {
            tracing::warn!("a client sent no request: {error}");
            None
        }
    }
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
