// SPDX-License-Identifier: MIT OR Apache-2.0
//! A TCP connection, as a service sees it.

use core::fmt;
use core::net::{IpAddr, SocketAddrV4};

use smoltcp::socket::tcp;
use smoltcp::wire::{IpAddress, IpEndpoint};

use crate::clock::Instant;

/// An address and a port.
///
/// Its text is that of [`SocketAddr`](core::net::SocketAddr). A type of its own, so that a guest
/// without IPv6 does not contain the code that formats IPv6 addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint(pub(super) IpEndpoint);

impl Endpoint {
    /// Returns the address.
    #[must_use]
    pub fn ip(&self) -> IpAddr {
        self.0.addr.into()
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.addr {
            IpAddress::Ipv4(address) => SocketAddrV4::new(address, self.0.port).fmt(f),
            #[cfg(feature = "ipv6")]
            IpAddress::Ipv6(address) => {
                core::net::SocketAddrV6::new(address, self.0.port, 0, 0).fmt(f)
            }
        }
    }
}

/// A connection to a client.
#[derive(Debug)]
pub struct Stream<'a> {
    pub(crate) socket: &'a mut tcp::Socket<'static>,
    pub(crate) now: Instant,
}

impl Stream<'_> {
    /// Returns the time at which the service was called. Costs nothing, unlike [`Instant::now`].
    #[must_use]
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Returns the client's address.
    #[must_use]
    pub fn peer(&self) -> Option<Endpoint> {
        self.socket.remote_endpoint().map(Endpoint)
    }

    /// Returns the number of received bytes that were not taken yet.
    #[must_use]
    pub fn received(&self) -> usize {
        self.socket.recv_queue()
    }

    /// Passes received bytes to `use_bytes`, which returns how many of them it takes. Repeats that
    /// as long as it takes all of them and there are more. Bytes that are not taken keep the TCP
    /// window small, which slows the client down.
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

    /// Returns how many bytes can be sent now.
    #[must_use]
    pub fn room(&self) -> usize {
        if self.socket.may_send() {
            self.socket.send_capacity() - self.socket.send_queue()
        } else {
            0
        }
    }

    /// Sends as many of the bytes as there is room for, and returns how many. The service is called
    /// again when there is more room.
    pub fn send(&mut self, bytes: &[u8]) -> usize {
        // An error means that the connection is closed: nothing is sent.
        self.socket.send_slice(bytes).unwrap_or(0)
    }

    /// Returns whether the client will send nothing more. Received bytes can still be taken.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        !self.socket.may_recv()
    }

    /// Closes the connection at once and discards unsent bytes.
    pub fn abort(&mut self) {
        self.socket.abort();
    }
}
