// SPDX-License-Identifier: MIT OR Apache-2.0
//! The network: TCP over IPv4, and with the feature `ipv6` also over IPv6, on the guest's vifs.
//!
//! [`Net::new`] sets up the interfaces as dom0 configured them. [`Net::serve`] then runs a
//! [`Service`]: it receives frames, finds their connection in a hash table, and calls the service
//! for each connection that changed. The work for a frame does not depend on the number of connections.
//! smoltcp implements the protocols and sees one connection at a time.
//!
//! A guest with several vifs serves its port on each vif that has an address. An answer leaves by
//! the interface that the packet came in by, so there are no routes. An interface answers for its
//! own address only.
//!
//! All memory is allocated at start: frame buffers, which are granted to the backend once, and the
//! socket buffers of all connections. So the network keeps working when the heap is exhausted.

mod buffers;
mod connections;
mod ethernet;
#[cfg(feature = "hot-plug")]
mod hot_plug;
mod link;
#[cfg(feature = "ipv6")]
mod neighbour;
mod netif;
mod rings;
mod segment;
mod serve;
mod stream;
#[cfg(test)]
mod tests;

use alloc::vec::Vec;
use core::fmt;
use core::mem::ManuallyDrop;
use noxs::{MAX_VIFS, Vif};
use smoltcp::wire::IpEndpoint;

use self::buffers::LONG_PAGES;
use self::link::Link;
pub use self::serve::{Next, Pending, Service};
pub use self::stream::{Endpoint, Stream};
use crate::clock::Instant;
use crate::event::Port;
use crate::grant::{GrantError, GrantTable};
use crate::guest::Guest;
use crate::heap;
use crate::layout::PAGE_SIZE;

/// The fewest and the most frame buffers of an interface in each direction, the most of several
/// interfaces together, and the divisor of the free memory that those of all may take. The buffers
/// of several interfaces take as many grants as those of one.
const MIN_FRAMES: usize = 16;
const MAX_FRAMES: usize = 256;
const MAX_FRAMES_TOGETHER: usize = 240;
const FRAMES_PART: usize = 32;

const _: () = assert!(MAX_FRAMES_TOGETHER / MAX_VIFS >= MIN_FRAMES);

/// The most buffers of all interfaces for long frames that are sent, and the divisor of the free
/// memory that they may take.
const MAX_LONG_FRAMES: usize = 2;
const LONG_FRAMES_PART: usize = 64;

/// Why the network cannot be set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetError {
    /// The configuration has no `vif`.
    NoVif,
    /// No `vif` has an `ip=`.
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
            Self::NoAddress if cfg!(feature = "ipv6") => {
                f.write_str("no address: add ip=ADDRESS/PREFIX to the vif")
            }
            Self::NoAddress => f.write_str(
                "no IPv4 address: add ip=ADDRESS/PREFIX to the vif; this guest was built without IPv6",
            ),
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

/// The guest's network interfaces.
pub struct Net {
    /// At least one and at most [`MAX_VIFS`], each with an address.
    links: Links,
    /// The guest, which knows its devices and has the grant table.
    #[cfg(feature = "hot-plug")]
    guest: Option<Guest>,
}

/// Interfaces that are never removed: the guest contains no code for it.
#[cfg(not(feature = "hot-plug"))]
type Links = &'static mut [Link];

/// Interfaces, some of which may be closed.
#[cfg(feature = "hot-plug")]
type Links = Vec<Link>;

#[cfg(not(feature = "hot-plug"))]
fn keep(links: Vec<Link>) -> Links {
    links.leak()
}

#[cfg(feature = "hot-plug")]
fn keep(mut links: Vec<Link>) -> Links {
    // No more memory is needed when one is added.
    links.reserve_exact(MAX_VIFS - links.len());
    links
}

/// The addresses of a port on all interfaces, for messages.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    addresses: [Option<Endpoint>; MAX_ADDRESSES],
}

/// The most addresses of all interfaces together.
const MAX_ADDRESSES: usize = if cfg!(feature = "ipv6") { 2 * MAX_VIFS } else { MAX_VIFS };

impl fmt::Display for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, address) in self.addresses.iter().flatten().enumerate() {
            let separator = if number == 0 { "" } else { ", " };
            write!(f, "{separator}{address}")?;
        }
        Ok(())
    }
}

/// Returns whether a vif has an address that the guest uses.
fn has_address(vif: &&Vif) -> bool {
    vif.ipv4.is_some() || (cfg!(feature = "ipv6") && vif.ipv6.is_some())
}

fn smoltcp_time(now: Instant) -> smoltcp::time::Instant {
    smoltcp::time::Instant::from_micros(i64::try_from(now.as_nanos() / 1000).unwrap_or(i64::MAX))
}

impl Net {
    /// Starts each network interface that has an address, and announces it to the neighbours.
    ///
    /// # Errors
    /// The guest has no interface, no interface has an address, or memory does not suffice.
    #[inline(never)]
    pub fn new(mut guest: Guest) -> Result<Self, NetError> {
        let vifs = guest.vifs().take(MAX_VIFS);
        let vifs: Vec<Vif> = vifs.filter(has_address).copied().collect();
        if vifs.is_empty() {
            let has_vif = guest.vifs().next().is_some();
            return Err(if has_vif { NetError::NoAddress } else { NetError::NoVif });
        }
        let (seed, started) = (guest.seed().swap_bytes(), guest.started());
        #[cfg_attr(not(feature = "hot-plug"), expect(unused_mut, reason = "it has no guest"))]
        let mut net = Self::connect(&vifs, guest.grants()?, seed, started)?;
        #[cfg(feature = "hot-plug")]
        {
            net.guest = Some(guest);
        }
        Ok(net)
    }

    /// Starts interfaces that have addresses: at least one and at most [`MAX_VIFS`].
    fn connect(
        vifs: &[Vif],
        table: &mut GrantTable,
        seed: u64,
        now: Instant,
    ) -> Result<Self, NetError> {
        let (free, count) = (heap::usage().free, vifs.len());
        let most = if count == 1 { MAX_FRAMES } else { MAX_FRAMES_TOGETHER / count };
        let frames = (free / FRAMES_PART / PAGE_SIZE / count).clamp(MIN_FRAMES, most);
        let all_long = (free / LONG_FRAMES_PART / (LONG_PAGES * PAGE_SIZE)).min(MAX_LONG_FRAMES);
        // An error ends the guest, which contains no code to remove interfaces.
        let mut links = ManuallyDrop::new(Vec::with_capacity(count));
        for (number, vif) in vifs.iter().enumerate() {
            // If there are too few for all, the first ones get them.
            let long = (all_long + count - 1 - number) / count;
            // Sequence numbers on different interfaces differ.
            let seed = seed.wrapping_add(number as u64);
            let link = Link::new(vif, (frames, long), table, seed, now);
            links.push(link.ok_or(NetError::Memory)?);
        }
        Ok(Self {
            links: keep(ManuallyDrop::into_inner(links)),
            #[cfg(feature = "hot-plug")]
            guest: None,
        })
    }

    /// Returns the addresses of all interfaces with a port, for messages. The first is that of the
    /// first vif that has one.
    #[must_use]
    pub fn socket_addresses(&self, port: u16) -> Addresses {
        let mut addresses = [None; MAX_ADDRESSES];
        let all = self.links.iter().flat_map(|link| link.stations.addresses());
        for (place, addr) in addresses.iter_mut().zip(all) {
            *place = Some(Endpoint(IpEndpoint { addr, port }));
        }
        Addresses { addresses }
    }

    /// Returns the ports of the interfaces' events, each once: devices often share a port.
    fn ports(&self) -> Vec<Port> {
        // With room for the port of another device.
        let mut ports = Vec::with_capacity(self.links.len() + 1);
        for link in &*self.links {
            if link.is_open() && !ports.contains(&link.netif.port) {
                ports.push(link.netif.port);
            }
        }
        ports
    }
}
