//! The table of connections: which one a segment belongs to, and room for all from the start.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::mem::MaybeUninit;
use core::slice::{self, ChunksExactMut, IterMut};

use hashbrown::HashMap;
use smoltcp::iface::{SocketHandle, SocketSet, SocketStorage};
use smoltcp::socket::tcp;
use smoltcp::socket::tcp::State;
use smoltcp::time::Duration;
use smoltcp::wire::Ipv4Address;

use super::ethernet::{ETHERNET_HEADER, Header};
use super::segment::Segment;
use crate::clock::Instant;
use crate::heap;

/// Bytes of a connection's receive buffer: four segments of an Ethernet frame each, and some more.
const RX_BUFFER: usize = 6 * 1024;

/// Bytes of a connection's send buffer.
const TX_BUFFER: usize = 8 * 1024;

/// Part of the free memory that connections may take.
const MEMORY_PART: usize = 4;

/// Most connections a guest serves at a time.
const MAX_CONNECTIONS: usize = 1024;

/// Fewest, if memory for them can be had at all.
const MIN_CONNECTIONS: usize = 4;

/// How long a client may take to open a connection.
const OPEN_TIMEOUT: Duration = Duration::from_secs(20);

/// After this time a connection that is not open yet gives way to a new one, if all room is used:
/// clients that are there answer sooner.
const HALF_OPEN: core::time::Duration = core::time::Duration::from_secs(2);

/// All room is used by connections that a service has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// A client's address and port.
pub(crate) type Remote = (Ipv4Address, u16);

/// One connection, or room for one.
pub(crate) struct Connection<S> {
    /// The one socket, in a set of its own: smoltcp looks at no other.
    pub(crate) sockets: SocketSet<'static>,
    pub(crate) handle: SocketHandle,
    /// What the service keeps for it; none before it is established and after it is closed.
    pub(crate) session: Option<S>,
    /// Whose it is.
    pub(crate) remote: Remote,
    /// How frames to it begin.
    pub(crate) header: Header,
    /// When its first segment came.
    begun: Instant,
    /// When smoltcp or nobody wants to look at it again.
    pub(crate) deadline: Option<Instant>,
    /// It is in the queue of those to look at.
    pub(crate) queued: bool,
    /// It is in use.
    pub(crate) used: bool,
}

impl<S> Connection<S> {
    pub(crate) fn socket(&mut self) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(self.handle)
    }
}

/// All connections.
pub(crate) struct Connections<S> {
    /// At most [`MAX_CONNECTIONS`], so that 16 bits number them.
    pub(crate) slots: Vec<Connection<S>>,
    /// Slots that were used and are not now.
    free: Vec<u16>,
    by_remote: HashMap<Remote, u16>,
    /// Memory of the slots that were not used yet.
    storage: IterMut<'static, MaybeUninit<SocketStorage<'static>>>,
    buffers: ChunksExactMut<'static, u8>,
}

impl<S> Connections<S> {
    /// Takes the memory for as many connections as are sensible for this guest. `None` if there is
    /// none.
    pub(crate) fn new() -> Option<Self> {
        let wanted = heap::usage().free / MEMORY_PART / (RX_BUFFER + TX_BUFFER);
        let count = wanted.clamp(MIN_CONNECTIONS, MAX_CONNECTIONS);
        let buffers = heap::take(count * (RX_BUFFER + TX_BUFFER), 64)?;
        // Nothing is written before it is used: most guests serve few connections.
        let storage = Box::leak(Box::<[SocketStorage<'static>]>::new_uninit_slice(count));
        Some(Self {
            slots: Vec::with_capacity(count),
            free: Vec::with_capacity(count),
            // Twice the room: the table then never has to grow, whatever was removed.
            by_remote: HashMap::with_capacity(count * 2),
            storage: storage.iter_mut(),
            buffers: buffers.chunks_exact_mut(RX_BUFFER + TX_BUFFER),
        })
    }

    /// How many connections there can be at a time.
    pub(crate) fn capacity(&self) -> usize {
        self.slots.len() + self.storage.len()
    }

    /// The connection a segment is for, which may be a new one; `None` for a segment that is for
    /// none and has to be refused.
    pub(crate) fn slot_for(
        &mut self,
        segment: &Segment,
        port: u16,
        now: Instant,
    ) -> Result<Option<u16>, Full> {
        if segment.local_port != port {
            return Ok(None);
        }
        if let Some(slot) = self.by_remote.get(&segment.remote).copied() {
            let socket = self.slots[usize::from(slot)].socket();
            // The client uses its port again, sooner than the last connection is forgotten here.
            if segment.opens && socket.state() == State::TimeWait {
                socket.abort();
                listen(socket, port);
            }
            return Ok(Some(slot));
        }
        if !segment.opens {
            return Ok(None);
        }
        let slot =
            self.free.pop().or_else(|| self.add_slot()).or_else(|| self.evict(now)).ok_or(Full)?;
        let connection = &mut self.slots[usize::from(slot)];
        connection.remote = segment.remote;
        connection.begun = now;
        connection.used = true;
        listen(connection.socket(), port);
        self.by_remote.insert(segment.remote, slot);
        Ok(Some(slot))
    }

    /// Forgets a connection, whose socket is closed.
    pub(crate) fn close(&mut self, slot: u16) {
        let connection = &mut self.slots[usize::from(slot)];
        if core::mem::take(&mut connection.used) {
            connection.session = None;
            connection.deadline = None;
            self.by_remote.remove(&connection.remote);
            self.free.push(slot);
        }
    }

    fn add_slot(&mut self) -> Option<u16> {
        let slot = u16::try_from(self.slots.len()).ok()?;
        let storage = self.storage.next()?.write(SocketStorage::EMPTY);
        let (rx, tx) = self.buffers.next()?.split_at_mut(RX_BUFFER);
        let mut sockets = SocketSet::new(slice::from_mut(storage));
        let mut socket = tcp::Socket::new(tcp::SocketBuffer::new(rx), tcp::SocketBuffer::new(tx));
        // A service sends whole answers: waiting for more to go with them only costs time.
        socket.set_nagle_enabled(false);
        let handle = sockets.add(socket);
        let remote = (Ipv4Address::UNSPECIFIED, 0);
        self.slots.push(Connection {
            sockets,
            handle,
            session: None,
            remote,
            header: [0; ETHERNET_HEADER],
            begun: Instant::from_nanos(0),
            deadline: None,
            queued: false,
            used: false,
        });
        Some(slot)
    }

    /// Takes the room of a connection that no service has: one that this side has closed and that
    /// waits for the client, or one that a client began to open some time ago and left. Only looked
    /// for when all room is used.
    fn evict(&mut self, now: Instant) -> Option<u16> {
        let slot = self.slots.iter_mut().position(|one| {
            let left = match one.socket().state() {
                // The service does not know of it yet, but is about to.
                State::Listen | State::Established | State::CloseWait => false,
                State::SynReceived => now.since(one.begun) >= HALF_OPEN,
                _ => true,
            };
            one.used && one.session.is_none() && left
        })?;
        let slot = u16::try_from(slot).ok()?;
        self.slots[usize::from(slot)].socket().abort();
        self.close(slot);
        self.free.pop()
    }
}

/// Lets a closed socket take the connection that the next segment opens.
fn listen(socket: &mut tcp::Socket<'_>, port: u16) {
    socket.set_timeout(Some(OPEN_TIMEOUT));
    socket.set_keep_alive(None);
    // Fails for an open socket and for port 0. Then the segment is refused, as its sender sees.
    let _ = socket.listen(port);
}
