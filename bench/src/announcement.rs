//! Hearing a guest announce its address, as every guest with an address does when its network is
//! up (a gratuitous ARP).

use std::io::Read;
use std::net::Ipv4Addr;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use socket2::{Domain, Protocol, Socket, Type};

use crate::words::{PATIENCE, readable};

/// `ETH_P_ARP` (linux/if_ether.h).
const ETHERTYPE_ARP: u16 = 0x0806;

/// Where an Ethernet frame with an ARP packet has the sender's IPv4 address (RFC 826).
const SENDER_ADDRESS: usize = 28;

/// Hears all ARP packets of dom0 from when it is made.
#[derive(Debug)]
pub struct Announcements(Socket);

impl Announcements {
    /// Listens.
    ///
    /// # Errors
    /// The system refuses: it wants root.
    pub fn listen() -> Result<Self> {
        let protocol = Protocol::from(i32::from(ETHERTYPE_ARP.to_be()));
        let socket = Socket::new(Domain::PACKET, Type::RAW, Some(protocol));
        Ok(Self(socket.context("cannot open a packet socket")?))
    }

    /// Waits until somebody announces this address.
    ///
    /// # Errors
    /// Nobody does in time.
    pub fn wait_for(&self, address: Ipv4Addr) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let mut socket = &self.0;
        let mut frame = [0; 128];
        loop {
            ensure!(readable(&self.0, deadline)?, "nobody has announced {address}");
            let length = socket.read(&mut frame)?;
            let sender = frame[..length].get(SENDER_ADDRESS..SENDER_ADDRESS + 4);
            if sender == Some(&address.octets()[..]) {
                return Ok(());
            }
        }
    }
}
