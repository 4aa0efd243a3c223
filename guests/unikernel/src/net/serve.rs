// SPDX-License-Identifier: MIT OR Apache-2.0
//! Serves a TCP port: the loop over frames, connections and deadlines.

use alloc::vec::Vec;
use core::cmp::Reverse;

use smoltcp::iface::SocketSet;
use smoltcp::socket::tcp::{Socket, State};
use smoltcp::time::Duration;
use smoltcp::wire::IpAddress;

use super::connections::{Connections, Place};
use super::ethernet::{ETHERNET_HEADER, is_ipv6};
use super::link::Link;
use super::netif::Exchange;
use super::segment::{Content, inspect};
use super::stream::Stream;
use super::{Net, NetError, smoltcp_time};
use crate::clock::Instant;
use crate::event::{self, Port};
use crate::println;

/// The most frames to receive before their connections are served. Several requests of a client are
/// answered together, and no client waits for long.
const BURST: usize = 64;

/// The time without a segment after which a keep-alive is sent.
const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// The time without a segment after which the connection is closed.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(300);

/// How long a client may take for one request, and for taking more of an answer.
const REQUEST_TIMEOUT: core::time::Duration = core::time::Duration::from_secs(60);

/// The delay before a connection is served again if smoltcp has something to send but does not.
const RETRY: core::time::Duration = core::time::Duration::from_millis(10);

/// What to do with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Keep it: the service is called again when bytes were received, when there is room to send,
    /// and when the client has finished. If another client needs the place, it is closed when its
    /// client has sent nothing for a minute, or nothing at all for 5 s.
    Continue,
    /// Keep it as well. A request or an answer is incomplete, and there has been no progress since
    /// this time: no request was completed and nothing of the answer was taken. Closed if that
    /// lasts for a minute, or after 5 s if another client needs the place.
    Unfinished {
        /// The time of the last progress, or when the request began.
        since: Instant,
    },
    /// Close it when all sent bytes have arrived.
    Close,
}

/// What a service does beside its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pending {
    /// Nothing.
    Nothing,
    /// There is more to do at once.
    More,
    /// It waits for an event of this port, which it has requested.
    Event(Port),
}

/// A guest's service on its TCP port.
pub trait Service {
    /// What the service stores for a connection. Dropped when the connection is closed.
    type Session;

    /// Called once, when the network has allocated its memory and before it serves clients. So what is
    /// allocated here leaves as many connections as usual.
    fn start(&mut self) {}

    /// Handles a new connection.
    fn open(&mut self, stream: &mut Stream<'_>) -> Self::Session;

    /// Handles a change of a connection. The first call follows [`open`](Self::open).
    fn ready(&mut self, session: &mut Self::Session, stream: &mut Stream<'_>) -> Next;

    /// Returns what to send to a client for which there is no place: the service has all the
    /// connections that it can get, and their clients use them.
    fn refusal(&self) -> &'static [u8] {
        b""
    }

    /// Returns whether the sessions hold too much memory: some of them must be closed. Called after
    /// each [`ready`](Self::ready), so it must be fast.
    fn holds_too_much(&self) -> bool {
        false
    }

    /// Returns how much of that memory a session holds, in bytes. The session that holds the most
    /// is closed first; those that hold nothing are not closed.
    fn held(&self, _session: &Self::Session) -> usize {
        0
    }

    /// Handles that a session is about to be closed because it [holds too much](Self::held).
    fn closing(&mut self, _session: &Self::Session, _stream: &Stream<'_>) {}

    /// Continues what the service does beside its connections, such as saving data. Called in each
    /// round, so it must not take long.
    fn work(&mut self, _now: Instant) -> Pending {
        Pending::Nothing
    }

    /// Handles that dom0 has added disks or removed some: [`Guest::disks`](crate::Guest::disks) returns
    /// those that there are now. Returns `false` if the service cannot use a new one.
    #[cfg(feature = "hot-plug")]
    fn change_disks(
        &mut self,
        _guest: &mut crate::Guest,
        _change: &crate::hot_plug::Change,
    ) -> bool {
        false
    }

    /// Returns when to call [`expire`](Self::expire). Called after each round.
    fn deadline(&self) -> Option<Instant> {
        None
    }

    /// Handles the deadline.
    fn expire(&mut self, _now: Instant) {}
}

/// A running service.
pub(super) struct Server<'a, S: Service> {
    pub(super) net: &'a mut Net,
    pub(super) service: S,
    port: u16,
    pub(super) connections: Connections<S::Session>,
    /// Connections to serve.
    queue: Vec<u16>,
    /// The earliest deadline of the connections, or a time before it.
    next_deadline: Option<Instant>,
    /// Whether it was printed that a fragment was dropped.
    pub(super) fragments_reported: bool,
}

impl Net {
    /// Serves a TCP port. Returns only if it cannot start, with the cause.
    #[inline(never)]
    pub fn serve<S: Service>(&mut self, port: u16, service: S) -> NetError {
        let mut ports = self.ports();
        let Some(mut server) = Server::new(self, port, service) else { return NetError::Memory };
        server.service.start();
        loop {
            event::serve_power();
            #[cfg(feature = "hot-plug")]
            if let Some(change) = crate::hot_plug::take() {
                server.change_devices(change, Instant::now());
                ports = server.net.ports();
            }
            if let Some(wait) = server.round(Instant::now()) {
                match wait.port {
                    // Devices often share a port.
                    Some(port) if !ports.contains(&port) => {
                        ports.push(port);
                        event::wait(&ports, wait.deadline);
                        ports.pop();
                    }
                    _ => event::wait(&ports, wait.deadline),
                }
            }
        }
    }
}

/// There is no work before the interfaces' next event, this deadline, or an event of this port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wait {
    pub(super) deadline: Option<Instant>,
    pub(super) port: Option<Port>,
}

impl<'a, S: Service> Server<'a, S> {
    /// Allocates the memory for connections. Returns `None` if there is not enough.
    pub(super) fn new(net: &'a mut Net, port: u16, service: S) -> Option<Self> {
        let connections = Connections::new()?;
        let queue = Vec::with_capacity(connections.capacity());
        Some(Self {
            net,
            service,
            port,
            connections,
            queue,
            next_deadline: None,
            fragments_reported: false,
        })
    }

    /// Does the work that there is now. Returns what to wait for, or `None` if there is more work.
    pub(super) fn round(&mut self, now: Instant) -> Option<Wait> {
        for number in 0..self.net.links.len() {
            if !self.net.links[number].is_open() {
                continue;
            }
            let more = self.receive(number, now);
            let link = &mut self.net.links[number];
            (link.more, link.blocked) = (more, false);
        }
        self.queue_due(now);
        self.serve_queued(now);
        for link in self.net.links.iter_mut().filter(|link| link.is_open()) {
            link.netif.flush();
        }
        if self.service.deadline().is_some_and(|deadline| deadline <= now) {
            self.service.expire(now);
        }
        let pending = self.service.work(now);
        if self.net.links.iter_mut().any(Link::prepare_to_wait) {
            return None;
        }
        let port = match pending {
            Pending::Nothing => None,
            Pending::More => return None,
            Pending::Event(port) => Some(port),
        };
        let deadlines = [self.next_deadline, self.service.deadline()];
        Some(Wait { deadline: deadlines.into_iter().flatten().min(), port })
    }

    /// Receives a burst of frames of one interface. Returns whether there may be more.
    fn receive(&mut self, number: usize, now: Instant) -> bool {
        for _ in 0..BURST {
            if !self.net.links[number].netif.tx.has_room() || !self.receive_one(number, now) {
                return false;
            }
        }
        true
    }

    /// Receives one frame. Returns whether there was one.
    fn receive_one(&mut self, number: usize, now: Instant) -> bool {
        let Link { netif, interface, stations, .. } = &mut self.net.links[number];
        let segments = [false, true].map(|is_ipv6| netif.segments(is_ipv6));
        let Some(frame) = netif.rx.receive() else { return false };
        let Some(header) = stations.accept(frame.bytes, &mut netif.tx) else { return true };
        let segments = segments[usize::from(is_ipv6(&header))];
        let packet = &mut frame.bytes[ETHERNET_HEADER..];
        let slot = match inspect(packet, frame.validated) {
            Content::Damaged => return true,
            Content::Fragment { from } => {
                self.report_fragment(from);
                return true;
            }
            Content::Other => None,
            Content::Segment(segment) => {
                let Ok(slot) = self.connections.slot_for(number, &segment, self.port, now) else {
                    // All slots are used by clients that are being served: this one will retry.
                    return true;
                };
                if let (Some(slot), Some(mss)) = (slot, segment.mss) {
                    // Shorter segments than those of the interface's MTU are left to smoltcp.
                    let takes_long = segments.is_some_and(|size| mss.size >= size.get());
                    self.connections.slots[usize::from(slot)].takes_long = takes_long;
                    if takes_long {
                        mss.replace(packet, u16::MAX);
                    }
                }
                slot
            }
        };
        let mut none = SocketSet::new(&mut [][..]);
        let sockets = match slot {
            Some(slot) => {
                let connection = &mut self.connections.slots[usize::from(slot)];
                connection.header = header;
                &mut connection.sockets
            }
            None => &mut none,
        };
        let mut exchange = Exchange {
            packet: Some(packet),
            header,
            tx: &mut netif.tx,
            mtu: netif.mtu,
            segments: None,
        };
        interface.poll_ingress_single(smoltcp_time(now), &mut exchange, sockets);
        if let Some(slot) = slot {
            self.enqueue(slot);
        }
        true
    }

    /// Prints that a fragment was dropped, once: the sender sees only that nothing is answered.
    #[cold]
    fn report_fragment(&mut self, from: IpAddress) {
        if !core::mem::replace(&mut self.fragments_reported, true) {
            println!("vif: dropped a fragment of {from}'s: packets are not reassembled");
        }
    }

    fn enqueue(&mut self, slot: u16) {
        let connection = &mut self.connections.slots[usize::from(slot)];
        if !core::mem::replace(&mut connection.queued, true) {
            self.queue.push(slot);
        }
    }

    /// Queues the connections whose deadline has come. It scans all connections, but only when the
    /// earliest deadline has come: at most a hundred times a second with the shortest deadlines,
    /// those of delayed acknowledgements.
    fn queue_due(&mut self, now: Instant) {
        if self.next_deadline.is_none_or(|deadline| deadline > now) {
            return;
        }
        let mut next = None;
        for (connection, slot) in self.connections.slots.iter_mut().zip(0u16..) {
            let Some(deadline) = connection.deadline else { continue };
            if deadline > now {
                next = earlier(next, deadline);
            } else if !core::mem::replace(&mut connection.queued, true) {
                self.queue.push(slot);
            }
        }
        self.next_deadline = next;
    }

    /// Serves the queued connections. Those that have no room to send stay queued.
    fn serve_queued(&mut self, now: Instant) {
        let mut kept = 0;
        for index in 0..self.queue.len() {
            let slot = self.queue[index];
            if self.serve_connection(slot, now) {
                self.queue[kept] = slot;
                kept += 1;
            } else {
                self.connections.slots[usize::from(slot)].queued = false;
            }
        }
        self.queue.truncate(kept);
    }

    /// Calls the service for a connection, and sends what there is to send. Returns whether there
    /// is more to send than there is room for, which blocks its interface.
    fn serve_connection(&mut self, slot: u16, now: Instant) -> bool {
        let connection = &mut self.connections.slots[usize::from(slot)];
        if !connection.used {
            return false;
        }
        let has_session = connection.session.is_some();
        let socket = connection.socket();
        // Still listening: the segment did not open the connection.
        if socket.state() == State::Listen {
            socket.abort();
        }
        if !has_session && socket.may_send() {
            self.admit(slot, now);
        }
        self.call_service(slot, now);
        while self.service.holds_too_much() && self.close_largest(now) {}
        let connection = &mut self.connections.slots[usize::from(slot)];
        let time = smoltcp_time(now);
        let link = &mut self.net.links[connection.link];
        link.send(connection, time);
        if connection.socket().state() == State::Closed {
            self.connections.close(slot);
            return false;
        }
        let due = link.interface.poll_at(time, &connection.sockets);
        let deadline = due.map(|due| {
            let micros = u64::try_from(due.total_micros()).unwrap_or(0);
            Instant::from_nanos(micros.saturating_mul(1000))
        });
        let due_now = deadline.is_some_and(|deadline| deadline <= now);
        if due_now && !link.netif.tx.has_room() {
            connection.deadline = None;
            link.blocked = true;
            return true;
        }
        let deadline = if due_now { Some(now + RETRY) } else { deadline };
        let timeout = connection.unfinished.map(|since| since + REQUEST_TIMEOUT);
        connection.deadline = timeout.map_or(deadline, |timeout| earlier(deadline, timeout));
        if let Some(deadline) = connection.deadline {
            self.next_deadline = earlier(self.next_deadline, deadline);
        }
        false
    }

    /// Hands an established connection over to the service, or refuses it.
    #[cold]
    #[inline(never)]
    fn admit(&mut self, slot: u16, now: Instant) {
        let place = self.connections.make_place(now);
        if let Place::Of(other) = place {
            // Have it sent that the connection is closed.
            self.connections.slots[usize::from(other)].deadline = Some(now);
            self.next_deadline = earlier(self.next_deadline, now);
        }
        let socket = self.connections.slots[usize::from(slot)].socket();
        let mut stream = Stream { socket, now };
        if place == Place::None {
            // Nothing was sent before, so there is room for a line.
            stream.send(self.service.refusal());
            stream.socket.close();
            return;
        }
        stream.socket.set_keep_alive(Some(KEEP_ALIVE));
        stream.socket.set_timeout(Some(SILENCE_TIMEOUT));
        let session = self.service.open(&mut stream);
        self.connections.begin_session(slot, session);
    }

    /// Closes the connection whose session holds the most memory; of several, the one that has made
    /// no progress for the longest time. Returns whether there was one.
    #[cold]
    #[inline(never)]
    fn close_largest(&mut self, now: Instant) -> bool {
        let mut largest = None;
        for (connection, slot) in self.connections.slots.iter().zip(0u16..) {
            let Some(session) = &connection.session else { continue };
            let rank = (self.service.held(session), connection.unfinished.map(Reverse));
            if rank.0 > 0 && largest.is_none_or(|(most, _)| rank > most) {
                largest = Some((rank, slot));
            }
        }
        let Some((_, slot)) = largest else { return false };
        let connection = &mut self.connections.slots[usize::from(slot)];
        let socket = connection.sockets.get_mut::<Socket<'static>>(connection.handle);
        let mut stream = Stream { socket, now };
        if let Some(session) = &connection.session {
            self.service.closing(session, &stream);
        }
        // The client may be sending. A reset is the only answer that stops it.
        stream.abort();
        // Have the reset sent.
        connection.deadline = Some(now);
        self.next_deadline = earlier(self.next_deadline, now);
        self.connections.end_session(slot);
        true
    }

    /// Calls the service for a connection that it has, and closes the connection if it must be.
    fn call_service(&mut self, slot: u16, now: Instant) {
        let connection = &mut self.connections.slots[usize::from(slot)];
        let Some(session) = &mut connection.session else { return };
        let socket = connection.sockets.get_mut::<Socket<'static>>(connection.handle);
        let mut stream = Stream { socket, now };
        let received = stream.received();
        let next = self.service.ready(session, &mut stream);
        if stream.received() < received {
            connection.heard = Some(now);
        }
        connection.unfinished = match next {
            Next::Continue => None,
            Next::Unfinished { since } if now.since(since) < REQUEST_TIMEOUT => Some(since),
            Next::Unfinished { .. } | Next::Close => return self.connections.end_session(slot),
        };
    }
}

/// Returns the earlier of two deadlines, of which the first may be missing.
fn earlier(one: Option<Instant>, other: Instant) -> Option<Instant> {
    Some(one.map_or(other, |one| one.min(other)))
}
