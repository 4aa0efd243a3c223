//! One TCP connection, as a service sees it.

use core::net::SocketAddrV4;

use smoltcp::socket::tcp;
use smoltcp::wire::IpAddress;

use crate::clock::Instant;

/// A connection to a client.
#[derive(Debug)]
pub struct Stream<'a> {
    pub(crate) socket: &'a mut tcp::Socket<'static>,
    pub(crate) now: Instant,
}

impl Stream<'_> {
    /// When the service was asked. Costs nothing, unlike [`Instant::now`].
    #[must_use]
    pub fn now(&self) -> Instant {
        self.now
    }

    /// The client's address.
    #[must_use]
    pub fn peer(&self) -> Option<SocketAddrV4> {
        let endpoint = self.socket.remote_endpoint()?;
        let IpAddress::Ipv4(address) = endpoint.addr;
        Some(SocketAddrV4::new(address, endpoint.port))
    }

    /// Bytes that have come and are not taken yet.
    #[must_use]
    pub fn received(&self) -> usize {
        self.socket.recv_queue()
    }

    /// Shows received bytes to `use_bytes`, which tells how many of them it takes. Does so again
    /// while it takes all that it is shown and there are more. What is not taken keeps the window
    /// small: the client is slowed down.
    pub fn receive(&mut self, mut use_bytes: impl FnMut(&[u8]) -> usize) {
        while self.socket.can_recv() {
            let all = self.socket.recv(|bytes| {
                let taken = use_bytes(bytes).min(bytes.len());
                (taken, taken == bytes.len())
            });
            if all != Ok(true) {
                return;
            }
        }
    }

    /// How many bytes can be sent now.
    #[must_use]
    pub fn room(&self) -> usize {
        if self.socket.may_send() {
            self.socket.send_capacity() - self.socket.send_queue()
        } else {
            0
        }
    }

    /// Sends as many of the bytes as there is room for, and tells how many. The service is asked
    /// again when there is more room.
    pub fn send(&mut self, bytes: &[u8]) -> usize {
        // An error means that the connection is over: nothing is sent.
        self.socket.send_slice(bytes).unwrap_or(0)
    }

    /// Whether the client will send nothing more; what has come may still be taken.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        !self.socket.may_recv()
    }

    /// Ends the connection at once, without sending what is left.
    pub fn abort(&mut self) {
        self.socket.abort();
    }
}
