// SPDX-License-Identifier: MIT OR Apache-2.0
//! The table of connections: finds the connection of a segment, in memory that is allocated at
//! start.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::hash::{Hash, Hasher};
use core::mem::MaybeUninit;
use core::slice::{self, ChunksExactMut, IterMut};

use hashbrown::HashMap;
use smoltcp::iface::{SocketHandle, SocketSet, SocketStorage};
use smoltcp::socket::tcp;
use smoltcp::socket::tcp::State;
use smoltcp::time::Duration;
use smoltcp::wire::IpAddress;

use super::ethernet::{ETHERNET_HEADER, Header};
use super::segment::Segment;
use crate::clock::Instant;
use crate::heap;

/// The size of a connection's receive buffer in bytes: a little more than four full segments of
/// Ethernet frames.
const RX_BUFFER: usize = 6 * 1024;

/// The size of a connection's send buffer in bytes.
const TX_BUFFER: usize = 8 * 1024;

/// The size of the receive buffer and of the send buffer of a large connection, in bytes: a packet of
/// 64 KiB and some more.
const LARGE_BUFFER: usize = 72 * 1024;

/// The most large connections, and the divisor of the connections' memory that they may take. A new
/// client gets a large one if one is free.
const MAX_LARGE: usize = 8;
const LARGE_PART: usize = 3;

/// The divisor of the free memory that connections may take.
const MEMORY_PART: usize = 4;

/// The most connections at the same time.
const MAX_CONNECTIONS: usize = 1024;

/// The fewest connections, if there is memory for them.
const MIN_CONNECTIONS: usize = 4;

/// The part of the slots, at least one, that the service gets no connection in: they take clients
/// that open a connection or are refused when the service has all that it can get.
const SPARE_PART: usize = 16;

/// How long a client has for its first request, and for completing each one, if another client
/// needs the place. Real ones take milliseconds.
const PATIENCE: core::time::Duration = core::time::Duration::from_secs(5);

/// How long a client may send no request, if another one needs the place.
const IDLE_PATIENCE: core::time::Duration = core::time::Duration::from_secs(60);

/// How long a client may take to open a connection.
const OPEN_TIMEOUT: Duration = Duration::from_secs(20);

/// The time after which a half-open connection may be evicted for a new one, if all slots are used.
/// Real clients answer sooner.
const HALF_OPEN: core::time::Duration = core::time::Duration::from_secs(2);

/// All slots are used by connections that the service handles or is about to handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// Whether there is a place for one more connection of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// There is.
    Free,
    /// The one of this slot, whose connection is being closed.
    Of(u16),
    /// There is none.
    None,
}

/// A client: the interface that it is reached by, because networks on different bridges may have
/// the same addresses, its address and its port. One number, which is hashed faster than three; an
/// IPv6 address is a second one. A client of the guest's link-local address is another than one of its
/// other IPv6 address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Remote {
    number: u64,
    #[cfg(feature = "ipv6")]
    address: Option<u128>,
}

impl Remote {
    fn new(link: usize, segment: &Segment) -> Self {
        let (address, port) = segment.remote;
        let number = (link as u64) << 48 | u64::from(port);
        #[cfg(feature = "ipv6")]
        let number = number | u64::from(segment.to_link_local) << 63;
        match address {
            IpAddress::Ipv4(address) => {
                Self { number: number | u64::from(address.to_bits()) << 16, ..Self::default() }
            }
            #[cfg(feature = "ipv6")]
            IpAddress::Ipv6(address) => Self { number, address: Some(address.to_bits()) },
        }
    }
}

impl Hash for Remote {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.number);
        #[cfg(feature = "ipv6")]
        if let Some(address) = self.address {
            state.write_u128(address);
        }
    }
}

/// A slot of the table: a connection, or room for one.
pub(crate) struct Connection<S> {
    /// The connection's socket, in a set of its own, so that smoltcp processes no other.
    pub(crate) sockets: SocketSet<'static>,
    pub(crate) handle: SocketHandle,
    /// What the service stores for it; `None` before it is established and after it is closed.
    pub(crate) session: Option<S>,
    /// The client.
    remote: Remote,
    /// The number of the interface by which it is reached.
    pub(crate) link: usize,
    /// The Ethernet header of frames to the client.
    pub(crate) header: Header,
    /// When its first segment was received.
    begun: Instant,
    /// When the service last took bytes of the client, if it ever did.
    pub(crate) heard: Option<Instant>,
    /// Since when a request or an answer of the client is incomplete, if one is.
    pub(crate) unfinished: Option<Instant>,
    /// When smoltcp must process it again, if at all.
    pub(crate) deadline: Option<Instant>,
    /// Whether it is in the queue of connections to serve.
    pub(crate) queued: bool,
    /// Whether the slot is in use.
    pub(crate) used: bool,
    /// Whether the client takes segments as long as the interface's MTU allows, so that it is sent
    /// long packets.
    pub(crate) takes_long: bool,
}

impl<S> Connection<S> {
    pub(crate) fn socket(&mut self) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(self.handle)
    }

    /// Returns how soon the connection must leave its place to another client, if it must at `now`:
    /// those with an incomplete request or without any come first, then those that have been idle
    /// for the longest time.
    fn turn_to_leave(&self, now: Instant) -> Option<(bool, Instant)> {
        self.session.as_ref()?;
        let (idle, since, patience) = match (self.unfinished, self.heard) {
            (None, Some(heard)) => (true, heard, IDLE_PATIENCE),
            (unfinished, _) => (false, unfinished.unwrap_or(self.begun), PATIENCE),
        };
        (now.since(since) >= patience).then_some((idle, since))
    }
}

/// All connections.
pub(crate) struct Connections<S> {
    /// At most [`MAX_CONNECTIONS`], so that 16 bits number them.
    pub(crate) slots: Vec<Connection<S>>,
    /// Slots that were used before and are free now: the large ones, and the others.
    free_large: Vec<u16>,
    free: Vec<u16>,
    /// How many connections the service has, and the most that it can get.
    sessions: usize,
    most_sessions: usize,
    by_remote: HashMap<Remote, u16>,
    /// Memory for slots that were never used.
    storage: IterMut<'static, MaybeUninit<SocketStorage<'static>>>,
    large_buffers: ChunksExactMut<'static, u8>,
    buffers: ChunksExactMut<'static, u8>,
    /// How many slots, the first ones, are large.
    large: usize,
}

impl<S> Connections<S> {
    /// Allocates the memory for connections; their number depends on the free memory. Returns
    /// `None` if there is not enough.
    pub(crate) fn new() -> Option<Self> {
        const SMALL: usize = RX_BUFFER + TX_BUFFER;
        const LARGE: usize = 2 * LARGE_BUFFER;
        let memory = heap::usage().free / MEMORY_PART;
        let large = (memory / LARGE_PART / LARGE).min(MAX_LARGE);
        let small =
            ((memory - large * LARGE) / SMALL).clamp(MIN_CONNECTIONS, MAX_CONNECTIONS - large);
        let buffers = heap::take(large * LARGE + small * SMALL, 64)?;
        let (large_buffers, buffers) = buffers.split_at_mut(large * LARGE);
        let count = large + small;
        // Initialized only on first use, because most guests serve few connections.
        let storage = Box::leak(Box::<[SocketStorage<'static>]>::new_uninit_slice(count));
        Some(Self {
            slots: Vec::with_capacity(count),
            free_large: Vec::with_capacity(large),
            free: Vec::with_capacity(count),
            sessions: 0,
            most_sessions: count - (count / SPARE_PART).max(1),
            // Twice the capacity, so that the table never has to grow, whatever was removed.
            by_remote: HashMap::with_capacity(count * 2),
            storage: storage.iter_mut(),
            large_buffers: large_buffers.chunks_exact_mut(LARGE),
            buffers: buffers.chunks_exact_mut(SMALL),
            large,
        })
    }

    /// Returns the most connections that there can be at the same time.
    pub(crate) fn capacity(&self) -> usize {
        self.slots.len() + self.storage.len()
    }

    /// Returns the most connections that the service can have at the same time.
    #[cfg(test)]
    pub(crate) fn most_sessions(&self) -> usize {
        self.most_sessions
    }

    /// Returns the slot of a segment's connection on an interface, which may be new; `None` if the
    /// segment belongs to no connection and must be refused.
    pub(crate) fn slot_for(
        &mut self,
        link: usize,
        segment: &Segment,
        port: u16,
        now: Instant,
    ) -> Result<Option<u16>, Full> {
        if segment.local_port != port {
            return Ok(None);
        }
        let remote = Remote::new(link, segment);
        if let Some(slot) = self.by_remote.get(&remote).copied() {
            let socket = self.slots[usize::from(slot)].socket();
            // The client reuses its port while the last connection is still in TIME-WAIT here.
            if segment.opens && socket.state() == State::TimeWait {
                socket.abort();
                listen(socket, port);
            }
            return Ok(Some(slot));
        }
        if !segment.opens {
            return Ok(None);
        }
        let slot = match self.free_large.pop().or_else(|| self.add_large()) {
            Some(slot) => slot,
            None => {
                let free = self.free.pop().or_else(|| self.add_slot());
                free.or_else(|| self.evict(now)).ok_or(Full)?
            }
        };
        let connection = &mut self.slots[usize::from(slot)];
        connection.remote = remote;
        connection.link = link;
        connection.begun = now;
        connection.used = true;
        connection.takes_long = false;
        listen(connection.socket(), port);
        self.by_remote.insert(remote, slot);
        Ok(Some(slot))
    }

    /// Frees the slot of a connection whose socket is closed.
    pub(crate) fn close(&mut self, slot: u16) {
        self.end_session(slot);
        let connection = &mut self.slots[usize::from(slot)];
        if core::mem::take(&mut connection.used) {
            connection.deadline = None;
            self.by_remote.remove(&connection.remote);
            let is_large = usize::from(slot) < self.large;
            if is_large { &mut self.free_large } else { &mut self.free }.push(slot);
        }
    }

    /// Hands a connection that was just established over to the service.
    pub(crate) fn begin_session(&mut self, slot: u16, session: S) {
        let connection = &mut self.slots[usize::from(slot)];
        connection.session = Some(session);
        connection.heard = None;
        connection.unfinished = None;
        self.sessions += 1;
    }

    /// Takes a connection from the service, if it has it, and closes it when all sent bytes have
    /// arrived.
    pub(crate) fn end_session(&mut self, slot: u16) {
        let connection = &mut self.slots[usize::from(slot)];
        if connection.session.take().is_some() {
            connection.unfinished = None;
            connection.socket().close();
            self.sessions -= 1;
        }
    }

    /// Returns whether the service can have one more connection. If it has all that it can get,
    /// closes one whose client has not used it for long; the caller must then process the slot,
    /// which is returned.
    pub(crate) fn make_place(&mut self, now: Instant) -> Place {
        if self.sessions < self.most_sessions {
            return Place::Free;
        }
        let turns = self.slots.iter().zip(0u16..);
        let next = turns.filter_map(|(one, slot)| Some((one.turn_to_leave(now)?, slot))).min();
        let Some((_, slot)) = next else { return Place::None };
        self.end_session(slot);
        Place::Of(slot)
    }

    fn add_large(&mut self) -> Option<u16> {
        let buffers = self.large_buffers.next()?.split_at_mut(LARGE_BUFFER);
        self.add(buffers)
    }

    fn add_slot(&mut self) -> Option<u16> {
        let buffers = self.buffers.next()?.split_at_mut(RX_BUFFER);
        self.add(buffers)
    }

    /// Adds a slot with a receive and a send buffer.
    fn add(&mut self, (rx, tx): (&'static mut [u8], &'static mut [u8])) -> Option<u16> {
        let slot = u16::try_from(self.slots.len()).ok()?;
        let storage = self.storage.next()?.write(SocketStorage::EMPTY);
        let mut sockets = SocketSet::new(slice::from_mut(storage));
        let mut socket = tcp::Socket::new(tcp::SocketBuffer::new(rx), tcp::SocketBuffer::new(tx));
        // A service sends complete answers, so waiting for more data (Nagle) only adds latency.
        socket.set_nagle_enabled(false);
        // An acknowledgement goes with the answer, if there is one, because connections are served
        // before anything is sent. So one that is sent alone has nothing to wait for.
        socket.set_ack_delay(None);
        let handle = sockets.add(socket);
        let remote = Remote::default();
        self.slots.push(Connection {
            sockets,
            handle,
            session: None,
            remote,
            link: 0,
            header: [0; ETHERNET_HEADER],
            begun: Instant::from_nanos(0),
            heard: None,
            unfinished: None,
            deadline: None,
            queued: false,
            used: false,
            takes_long: false,
        });
        Some(slot)
    }

    /// Frees the slot of a connection that the service does not handle: one that this side has
    /// closed and that waits for the client, or one that a client has left half-open. Called only
    /// when all slots are used.
    fn evict(&mut self, now: Instant) -> Option<u16> {
        let slot = self.slots.iter_mut().position(|one| {
            let evictable = match one.socket().state() {
                // The service is about to be called for it.
                State::Listen | State::Established | State::CloseWait => false,
                State::SynReceived => now.since(one.begun) >= HALF_OPEN,
                _ => true,
            };
            one.used && one.session.is_none() && evictable
        })?;
        let slot = u16::try_from(slot).ok()?;
        self.slots[usize::from(slot)].socket().abort();
        self.close(slot);
        self.free_large.pop().or_else(|| self.free.pop())
    }
}

/// Makes a closed socket accept the connection that the next segment opens.
fn listen(socket: &mut tcp::Socket<'_>, port: u16) {
    socket.set_timeout(Some(OPEN_TIMEOUT));
    socket.set_keep_alive(None);
    // Fails for an open socket and for port 0. Then the segment is refused with a reset.
    let _ = socket.listen(port);
}
