// SPDX-License-Identifier: MIT OR Apache-2.0
//! The network: TCP over IPv4 on the guest's vif.
//!
//! [`Net::new`] sets up the interface as dom0 configured it. [`Net::serve`] then runs a
//! [`Service`]: it receives frames, finds their connection in a hash table, and calls the service
//! for each connection that changed. The work for a frame does not depend on the number of connections.
//! smoltcp implements the protocols and sees one connection at a time.
//!
//! All memory is allocated at start: frame buffers, which are granted to the backend once, and the
//! socket buffers of all connections. So the network keeps working when the heap is exhausted.

mod buffers;
mod connections;
mod ethernet;
mod netif;
mod rings;
mod segment;
mod serve;
mod stream;
#[cfg(test)]
mod tests;

use core::net::{Ipv4Addr, SocketAddrV4};
use core::num::NonZeroU16;

use noxs::{Ipv4Config, Vif};
use smoltcp::iface::{Config, Interface};
use smoltcp::wire::{HardwareAddress, IpCidr, Ipv4Cidr};

use self::buffers::LONG_PAGES;
use self::ethernet::{ETHERNET_HEADER, Station};
use self::netif::{Exchange, Netif};
pub use self::serve::{Next, Pending, Service};
pub use self::stream::Stream;
use crate::clock::Instant;
use crate::grant::{GrantError, GrantTable};
use crate::guest::Guest;
use crate::heap;
use crate::layout::PAGE_SIZE;

/// The fewest and the most frame buffers in each direction, and the divisor of the free memory that
/// they may take.
const MIN_FRAMES: usize = 16;
const MAX_FRAMES: usize = 256;
const FRAMES_PART: usize = 32;

/// The most buffers for long frames that are sent, and the divisor of the free memory that they may
/// take.
const MAX_LONG_FRAMES: usize = 2;
const LONG_FRAMES_PART: usize = 64;

/// Why the network cannot be set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetError {
    /// The configuration has no `vif`.
    NoVif,
    /// The `vif` has no `ip=`.
    NoAddress,
    /// Memory or grant entries do not suffice for the buffers.
    Memory,
    /// Xen refuses to map the grant table.
    GrantTable {
        /// Xen's error number.
        errno: i64,
    },
}

impl core::fmt::Display for NetError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::NoVif => f.write_str("no network interface: add vif = ['...'] to the config"),
            Self::NoAddress => f.write_str("no address: add ip=ADDRESS/PREFIX to the vif"),
            Self::Memory => f.write_str("not enough memory for the network's buffers"),
            Self::GrantTable { errno } => {
                write!(f, "cannot map the grant table: Xen error {errno}")
            }
        }
    }
}

impl From<GrantError> for NetError {
    fn from(error: GrantError) -> Self {
        match error {
            GrantError::NoFrame => Self::Memory,
            GrantError::Xen(error) => Self::GrantTable { errno: error.errno },
        }
    }
}

/// The guest's network interface.
pub struct Net {
    netif: Netif,
    interface: Interface,
    /// The same interface, for packets that the backend segments.
    long_interface: Interface,
    station: Station,
}

fn smoltcp_time(now: Instant) -> smoltcp::time::Instant {
    smoltcp::time::Instant::from_micros(i64::try_from(now.as_nanos() / 1000).unwrap_or(i64::MAX))
}

impl Net {
    /// Starts the first network interface and announces it to the neighbours.
    ///
    /// # Errors
    /// The guest has no interface, the interface has no address, or memory does not suffice.
    #[inline(never)]
    pub fn new(mut guest: Guest) -> Result<Self, NetError> {
        let vif = *guest.vif().ok_or(NetError::NoVif)?;
        let ipv4 = vif.ipv4.ok_or(NetError::NoAddress)?;
        let (seed, started) = (guest.seed().swap_bytes(), guest.started());
        Self::connect(&vif, ipv4, guest.grants()?, seed, started)
    }

    /// Starts an interface that has an address.
    fn connect(
        vif: &Vif,
        ipv4: Ipv4Config,
        table: &mut GrantTable,
        seed: u64,
        now: Instant,
    ) -> Result<Self, NetError> {
        let free = heap::usage().free;
        let frames = (free / FRAMES_PART / PAGE_SIZE).clamp(MIN_FRAMES, MAX_FRAMES);
        let long = (free / LONG_FRAMES_PART / (LONG_PAGES * PAGE_SIZE)).min(MAX_LONG_FRAMES);
        let mut netif = Netif::new(vif, frames, long, table).ok_or(NetError::Memory)?;
        let interface = |netif: &mut Netif, segments| {
            let mut config = Config::new(HardwareAddress::Ip);
            config.random_seed = seed;
            let header = [0; ETHERNET_HEADER];
            let (tx, mtu) = (&mut netif.tx, netif.mtu);
            let mut device = Exchange { packet: None, header, tx, mtu, segments };
            let mut interface = Interface::new(config, &mut device, smoltcp_time(now));
            interface.update_ip_addrs(|addresses| {
                let cidr = IpCidr::Ipv4(Ipv4Cidr::new(ipv4.address, ipv4.prefix));
                // Adding cannot fail: the list is empty and has room for one.
                let _ = addresses.push(cidr);
            });
            interface
        };
        // Only the first one accepts connections, so their sequence numbers differ.
        let plain = interface(&mut netif, None);
        let long_interface = interface(&mut netif, Some(NonZeroU16::MAX));
        let station = Station { mac: vif.mac, ip: ipv4.address };
        netif.tx.send_bytes(&station.announcement());
        // Most clients come through the gateway. The request makes it learn this guest's address;
        // its reply does not matter.
        if let Some(gateway) = ipv4.gateway {
            netif.tx.send_bytes(&station.request(gateway));
        }
        netif.start();
        Ok(Self { netif, interface: plain, long_interface, station })
    }

    /// Returns the interface's address.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        self.station.ip
    }

    /// Returns the interface's address with a port, for messages.
    #[must_use]
    pub fn socket_address(&self, port: u16) -> SocketAddrV4 {
        SocketAddrV4::new(self.station.ip, port)
    }
}
