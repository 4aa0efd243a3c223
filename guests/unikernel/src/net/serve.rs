//! Serving a TCP port: the loop that frames, connections and deadlines go through.

use alloc::vec::Vec;

use smoltcp::iface::{PollResult, SocketSet};
use smoltcp::socket::tcp::{Socket, State};
use smoltcp::time::Duration;

use super::connections::{Connections, Full};
use super::ethernet::Received;
use super::netif::Exchange;
use super::segment::{Content, inspect};
use super::stream::Stream;
use super::{Net, NetError, smoltcp_time};
use crate::clock::Instant;
use crate::event;

/// Most frames that are taken before the connections they are for are looked at: several requests
/// of a client are then answered together, and no client waits for long.
const BURST: usize = 64;

/// After this time without a word a client is asked whether it is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// After this time without a word the connection is given up.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(300);

/// How soon a connection is looked at again that smoltcp wants to send on but does not.
const RETRY: core::time::Duration = core::time::Duration::from_millis(10);

/// What is to become of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// It goes on: the service is asked again when bytes have come, when there is room to send
    /// again, and when the client has finished.
    Continue,
    /// It ends when all that was sent has arrived.
    Close,
}

/// What a guest does with its connections.
pub trait Service {
    /// What the service keeps for one connection. Dropped when the connection ends.
    type Session;

    /// A client has connected.
    fn open(&mut self, stream: &mut Stream<'_>) -> Self::Session;

    /// Something has happened to a connection (the first time: right after it was opened).
    fn ready(&mut self, session: &mut Self::Session, stream: &mut Stream<'_>) -> Next;

    /// When [`expire`](Self::expire) is to be called; asked for after each round.
    fn deadline(&self) -> Option<Instant> {
        None
    }

    /// The deadline has come.
    fn expire(&mut self, _now: Instant) {}
}

/// A service at work.
pub(super) struct Server<'a, S: Service> {
    pub(super) net: &'a mut Net,
    pub(super) service: S,
    port: u16,
    pub(super) connections: Connections<S::Session>,
    /// Connections to look at.
    queue: Vec<u16>,
    /// No connection wants to be looked at before; the earliest of their deadlines or earlier.
    next_deadline: Option<Instant>,
}

impl Net {
    /// Serves a TCP port for ever. Returns only if it cannot begin, and tells why.
    #[inline(never)]
    pub fn serve<S: Service>(&mut self, port: u16, service: S) -> NetError {
        let interface_port = self.netif.port;
        let Some(mut server) = Server::new(self, port, service) else { return NetError::Memory };
        loop {
            event::serve_power();
            if let Some(wait) = server.round(Instant::now()) {
                event::wait(&[interface_port], wait.deadline);
            }
        }
    }
}

/// Nothing is left to do before the interface's next event or this deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wait {
    pub(super) deadline: Option<Instant>,
}

impl<'a, S: Service> Server<'a, S> {
    /// Takes the memory for connections; `None` if there is none.
    pub(super) fn new(net: &'a mut Net, port: u16, service: S) -> Option<Self> {
        let connections = Connections::new()?;
        let queue = Vec::with_capacity(connections.capacity());
        Some(Self { net, service, port, connections, queue, next_deadline: None })
    }

    /// Does all there is to do now. Then gives what there is to wait for, if anything; `None` to
    /// go on at once.
    pub(super) fn round(&mut self, now: Instant) -> Option<Wait> {
        let more = self.receive(now);
        self.look_at_due(now);
        let blocked = self.look_at_queued(now);
        self.net.netif.flush();
        if self.service.deadline().is_some_and(|deadline| deadline <= now) {
            self.service.expire(now);
        }
        // Without room to send nothing is received either: an answer would be lost.
        let for_room = blocked || !self.net.netif.tx.has_room();
        if (more && !for_room) || self.net.netif.prepare_to_wait(for_room) {
            return None;
        }
        let deadlines = [self.next_deadline, self.service.deadline()];
        Some(Wait { deadline: deadlines.into_iter().flatten().min() })
    }

    /// Takes a burst of frames; tells whether there may be more.
    fn receive(&mut self, now: Instant) -> bool {
        for _ in 0..BURST {
            if !self.net.netif.tx.has_room() || !self.receive_one(now) {
                return false;
            }
        }
        true
    }

    /// Takes one frame, if there is one.
    fn receive_one(&mut self, now: Instant) -> bool {
        let netif = &mut self.net.netif;
        let Some(frame) = netif.rx.receive() else { return false };
        let (packet, header) = match self.net.station.receive(frame.bytes) {
            Some(Received::Ipv4 { packet, answer }) => (packet, answer),
            Some(Received::ArpRequest(asker)) => {
                netif.tx.send_bytes(&self.net.station.reply(asker));
                return true;
            }
            None => return true,
        };
        let slot = match inspect(packet, frame.validated) {
            Content::Damaged => return true,
            Content::Other => None,
            Content::Segment(segment) => {
                match self.connections.slot_for(&segment, self.port, now) {
                    Ok(slot) => slot,
                    // All room is used by clients that are being served: this one tries again.
                    Err(Full) => return true,
                }
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
        let mut exchange =
            Exchange { packet: Some(packet), header, tx: &mut netif.tx, mtu: netif.mtu };
        self.net.interface.poll_ingress_single(smoltcp_time(now), &mut exchange, sockets);
        if let Some(slot) = slot {
            self.enqueue(slot);
        }
        true
    }

    fn enqueue(&mut self, slot: u16) {
        let connection = &mut self.connections.slots[usize::from(slot)];
        if !core::mem::replace(&mut connection.queued, true) {
            self.queue.push(slot);
        }
    }

    /// Puts the connections whose deadline has come into the queue. Looks at all of them, but only
    /// when the earliest deadline has come: with the shortest ones (delayed acknowledgements) that
    /// is a hundred times a second at most.
    fn look_at_due(&mut self, now: Instant) {
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

    /// Looks at the queued connections. Those that cannot send for lack of room stay queued; tells
    /// whether there are any.
    fn look_at_queued(&mut self, now: Instant) -> bool {
        let mut kept = 0;
        for place in 0..self.queue.len() {
            let slot = self.queue[place];
            if self.look_at(slot, now) {
                self.queue[kept] = slot;
                kept += 1;
            } else {
                self.connections.slots[usize::from(slot)].queued = false;
            }
        }
        self.queue.truncate(kept);
        kept != 0
    }

    /// Asks the service what to do with a connection and sends what there is to send. Tells
    /// whether there is more to send than there is room for.
    fn look_at(&mut self, slot: u16, now: Instant) -> bool {
        let connection = &mut self.connections.slots[usize::from(slot)];
        if !connection.used {
            return false;
        }
        let socket = connection.sockets.get_mut::<Socket<'static>>(connection.handle);
        // Still listening: the segment that should have opened the connection did not.
        if socket.state() == State::Listen {
            socket.abort();
        }
        let mut stream = Stream { socket, now };
        if connection.session.is_none() && stream.socket.may_send() {
            stream.socket.set_keep_alive(Some(KEEP_ALIVE));
            stream.socket.set_timeout(Some(SILENCE_TIMEOUT));
            connection.session = Some(self.service.open(&mut stream));
        }
        if let Some(session) = &mut connection.session
            && self.service.ready(session, &mut stream) == Next::Close
        {
            stream.socket.close();
            connection.session = None;
        }
        let netif = &mut self.net.netif;
        let header = connection.header;
        let mut exchange = Exchange { packet: None, header, tx: &mut netif.tx, mtu: netif.mtu };
        let (time, sockets) = (smoltcp_time(now), &mut connection.sockets);
        while self.net.interface.poll_egress(time, &mut exchange, sockets) != PollResult::None {}
        if connection.socket().state() == State::Closed {
            self.connections.close(slot);
            return false;
        }
        let due = self.net.interface.poll_at(time, &connection.sockets);
        let deadline = due.map(|due| {
            let micros = u64::try_from(due.total_micros()).unwrap_or(0);
            Instant::from_nanos(micros.saturating_mul(1000))
        });
        let due_now = deadline.is_some_and(|deadline| deadline <= now);
        if due_now && !self.net.netif.tx.has_room() {
            connection.deadline = None;
            return true;
        }
        connection.deadline = if due_now { Some(now + RETRY) } else { deadline };
        if let Some(deadline) = connection.deadline {
            self.next_deadline = earlier(self.next_deadline, deadline);
        }
        false
    }
}

/// The earlier of a deadline that may not be there and one that is.
fn earlier(one: Option<Instant>, other: Instant) -> Option<Instant> {
    Some(one.map_or(other, |one| one.min(other)))
}
