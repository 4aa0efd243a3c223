// SPDX-License-Identifier: MIT OR Apache-2.0
//! A network interface without protocols, for guests that send and count whole frames.

use noxs::Vif;

use super::ethernet::ETHERNET_HEADER;
use super::netif::Netif;
use super::{MAX_FRAMES, NetError};
use crate::clock::Instant;
use crate::event;
use crate::guest::Guest;

/// A network interface whose frames the guest writes and reads itself. The backend drops frames that
/// the guest may not send, such as those from another address than its own.
#[derive(Debug)]
pub struct RawInterface {
    netif: Netif,
    vif: Vif,
}

/// What [`RawInterface::wait`] waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum For {
    /// A frame to receive.
    Frame,
    /// Room to send a quarter of the frames that are in flight.
    Room,
}

impl RawInterface {
    /// Takes an interface, of which no [`Net`](super::Net) may be created, with as many frame buffers
    /// as a ring has slots.
    ///
    /// # Errors
    /// The guest has no interface of this number, or memory does not suffice: the buffers take 1.5
    /// MiB.
    pub fn open(guest: &mut Guest, number: usize) -> Result<Self, NetError> {
        let vif = *guest.vifs().nth(number).ok_or(NetError::NoVif)?;
        let netif = Netif::plain(&vif, MAX_FRAMES, guest.grants()?).ok_or(NetError::Memory)?;
        let mut interface = Self { netif, vif };
        interface.netif.start();
        Ok(interface)
    }

    /// Returns the interface's addresses and its MTU.
    #[must_use]
    pub fn vif(&self) -> &Vif {
        &self.vif
    }

    /// Returns the size of the longest frame that can be sent, in bytes.
    #[must_use]
    pub fn longest(&self) -> usize {
        ETHERNET_HEADER + self.netif.mtu
    }

    /// Queues a copy of a frame. Returns `false` if there is no room for it. The backend does not see
    /// it before [`flush`](Self::flush).
    ///
    /// # Panics
    /// If the frame is shorter than an Ethernet header or longer than [`longest`](Self::longest).
    pub fn send(&mut self, frame: &[u8]) -> bool {
        let lengths = ETHERNET_HEADER..=self.longest();
        assert!(lengths.contains(&frame.len()), "a frame of {} bytes", frame.len());
        let has_room = self.netif.tx.has_room();
        if has_room {
            self.netif.tx.send_bytes(frame);
        }
        has_room
    }

    /// Returns a copy of the next received frame, if there is one. The backend can use its buffer
    /// again after the next [`flush`](Self::flush).
    pub fn receive(&mut self) -> Option<&[u8]> {
        self.netif.rx.receive().map(|frame| &*frame.bytes)
    }

    /// Publishes the queued frames and the free buffers, and notifies the backend if it requested an
    /// event for them.
    pub fn flush(&mut self) {
        self.netif.flush();
    }

    /// Publishes what [`flush`](Self::flush) does, and sleeps until there may be a frame or room, or
    /// until `deadline` if there is one. Serves dom0's power requests.
    pub fn wait(&mut self, what: For, deadline: Option<Instant>) {
        self.flush();
        if self.netif.prepare_to_wait(what == For::Room) {
            event::serve_power();
        } else {
            event::wait(&[self.netif.port], deadline);
        }
    }
}
