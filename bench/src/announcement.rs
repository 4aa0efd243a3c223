// SPDX-License-Identifier: GPL-3.0-or-later
//! Waits until a guest announces its address. Each guest with an address sends a gratuitous ARP
//! packet when its network is up.

use std::io::Read;
use std::net::Ipv4Addr;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use socket2::{Domain, Protocol, Socket, Type};

use crate::words::{PATIENCE, readable};

/// `ETH_P_ARP` (linux/if_ether.h).
const ETHERTYPE_ARP: u16 = 0x0806;

/// Offset of the sender's IPv4 address in an Ethernet frame with an ARP packet (RFC 826).
const SENDER_ADDRESS: usize = 28;

/// A socket that receives all ARP packets that reach dom0 from its creation on.
#[derive(Debug)]
pub struct Announcements(Socket);

impl Announcements {
    /// Opens the socket.
    ///
    /// # Errors
    /// The packet socket cannot be opened; that needs root.
    pub fn listen() -> Result<Self> {
        let protocol = Protocol::from(i32::from(ETHERTYPE_ARP.to_be()));
        let socket = Socket::new(Domain::PACKET, Type::RAW, Some(protocol));
        Ok(Self(socket.context("cannot open a packet socket")?))
    }

    /// Waits until an ARP packet from this address arrives.
    ///
    /// # Errors
    /// No such packet arrives within [`PATIENCE`].
    pub fn wait_for(&self, address: Ipv4Addr) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let mut socket = &self.0;
        let mut frame = [0; 128];
        loop {
            ensure!(readable(&self.0, deadline)?, "no guest has announced {address} in time");
            let length = socket.read(&mut frame)?;
            let sender = frame[..length].get(SENDER_ADDRESS..SENDER_ADDRESS + 4);
            if sender == Some(&address.octets()[..]) {
                return Ok(());
            }
        }
    }
}
