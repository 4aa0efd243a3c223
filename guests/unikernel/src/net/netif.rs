// SPDX-License-Identifier: MIT OR Apache-2.0
//! The two rings of a network interface (`public/io/netif.h`): one frame per slot, without extras.

use alloc::vec::Vec;

use noxs::Vif;
use smoltcp::phy::{self, ChecksumCapabilities, Device, DeviceCapabilities, Medium};
use smoltcp::time::Instant;
use xen_abi::io::netif::{NETRXF_DATA_VALIDATED, NETRXF_MORE_DATA, RxRequest, TxRequest};
use xen_ring::{NetRx, NetTx, Overrun, Protocol};

use super::buffers::{RxBuffers, TX_FRAME, TxBuffers};
use super::ethernet::{ETHERNET_HEADER, Header};
use super::rings::{RxRing, TxRing, rings};
use crate::event::Port;
use crate::grant::GrantTable;
use crate::layout::PAGE_SIZE;
use crate::println;

/// The ring of sent frames, and their buffers.
#[derive(Debug)]
pub(crate) struct TxQueue {
    ring: TxRing,
    buffers: TxBuffers,
    /// Buffers without a frame in flight.
    free: Vec<u16>,
    /// For each buffer, whether its frame is in flight.
    in_flight: Vec<bool>,
    /// The buffer of a frame for which there is no room.
    scratch: Vec<u8>,
    broken: bool,
}

/// The ring of received frames, and their buffers.
#[derive(Debug)]
pub(crate) struct RxQueue {
    ring: RxRing,
    buffers: RxBuffers,
    /// A private copy of the last frame that was received.
    frame: Vec<u8>,
    broken: bool,
}

/// A network interface.
#[derive(Debug)]
pub(crate) struct Netif {
    pub(crate) tx: TxQueue,
    pub(crate) rx: RxQueue,
    pub(crate) port: Port,
    /// The largest IPv4 packet in bytes.
    pub(crate) mtu: usize,
}

/// A received frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame<'a> {
    pub(crate) bytes: &'a [u8],
    /// Whether the backend marked its checksums as valid.
    pub(crate) validated: bool,
}

fn report(queue: &str, overrun: Overrun) {
    println!(
        "vif: the {queue} ring's response index {} is impossible: only {} requests were published; \
         the ring is not used any more",
        overrun.claimed, overrun.possible
    );
}

impl Netif {
    /// Sets up an interface with about `frames` buffers in each direction. Returns `None` if memory
    /// or grant entries do not suffice.
    pub(crate) fn new(vif: &Vif, frames: usize, table: &mut GrantTable) -> Option<Self> {
        let domid = vif.backend.domid;
        let (tx_ring, rx_ring) = rings(&vif.backend);
        let rx_buffers = RxBuffers::new(frames.min(NetRx::SLOTS as usize), domid, table)?;
        let tx_pages = frames.min(NetTx::SLOTS as usize).div_ceil(PAGE_SIZE / TX_FRAME);
        let tx_buffers = TxBuffers::new(tx_pages, domid, table)?;
        let count = u16::try_from(tx_buffers.count()).ok()?;
        let mut netif = Self {
            tx: TxQueue {
                ring: tx_ring,
                buffers: tx_buffers,
                free: (0..count).rev().collect(),
                in_flight: alloc::vec![false; usize::from(count)],
                scratch: alloc::vec![0; TX_FRAME],
                broken: false,
            },
            rx: RxQueue {
                ring: rx_ring,
                buffers: rx_buffers,
                frame: alloc::vec![0; PAGE_SIZE],
                broken: false,
            },
            port: Port(vif.backend.port),
            mtu: usize::from(vif.mtu).min(TX_FRAME - ETHERNET_HEADER),
        };
        for number in 0..netif.rx.buffers.count() {
            netif.rx.post(number);
        }
        Some(netif)
    }

    /// Publishes the first requests and notifies the backend unconditionally: it learns that the
    /// guest runs.
    pub(crate) fn start(&mut self) {
        let _ = (self.rx.ring.publish(), self.tx.ring.publish());
        self.port.notify();
    }

    /// Publishes new requests, and notifies the backend if it requested an event for them.
    pub(crate) fn flush(&mut self) {
        let rx = self.rx.ring.publish();
        let tx = self.tx.ring.publish();
        if rx || tx {
            self.port.notify();
        }
    }

    /// Requests an event for the next received frame and, with `for_room`, for room to send.
    /// Returns whether there is a frame or room already.
    pub(crate) fn prepare_to_wait(&mut self, for_room: bool) -> bool {
        let room = for_room && (self.tx.ask_for_room() || self.tx.has_room());
        (!self.rx.broken && self.rx.ring.ask_for_event(1)) || room
    }
}

/// Returns the properties of the interface for smoltcp.
fn capabilities(mtu: usize) -> DeviceCapabilities {
    let mut capabilities = DeviceCapabilities::default();
    capabilities.medium = Medium::Ip;
    capabilities.max_transmission_unit = mtu;
    // smoltcp computes all checksums, except that `super::segment` verifies received TCP.
    capabilities.checksum = ChecksumCapabilities::default();
    capabilities.checksum.tcp = phy::Checksum::Tx;
    capabilities
}

impl RxQueue {
    /// Posts buffer `number` for the backend.
    fn post(&mut self, number: usize) {
        if let (Some(grant), Ok(id)) = (self.buffers.grant(number), u16::try_from(number)) {
            self.ring.put(&RxRequest { id, pad: 0, gref: grant.0 });
        }
    }

    /// Receives the next frame. Its buffer is posted again with the next flush.
    pub(crate) fn receive(&mut self) -> Option<Frame<'_>> {
        while !self.broken {
            let response = match self.ring.take() {
                Ok(Some(response)) => response,
                Ok(None) => return None,
                Err(overrun) => {
                    report("rx", overrun);
                    self.broken = true;
                    return None;
                }
            };
            let number = usize::from(response.id);
            // A negative status is an error of the backend: the slot has no frame.
            let size = usize::try_from(response.status).unwrap_or(0).min(PAGE_SIZE);
            let copied = self.buffers.copy_out(
                number,
                usize::from(response.offset),
                &mut self.frame[..size],
            );
            // With an invalid ID the backend loses a buffer; the guest's memory is safe.
            self.post(number);
            // The guest does not offer frames in several slots.
            let whole = response.flags & NETRXF_MORE_DATA == 0;
            if copied.is_some() && size >= ETHERNET_HEADER && whole {
                let validated = response.flags & NETRXF_DATA_VALIDATED != 0;
                return Some(Frame { bytes: &self.frame[..size], validated });
            }
        }
        None
    }
}

impl TxQueue {
    /// Returns whether a frame can be sent now. Reclaims finished buffers if there is no free one.
    pub(crate) fn has_room(&mut self) -> bool {
        if self.free.is_empty() {
            self.reclaim();
        }
        !self.free.is_empty()
    }

    fn reclaim(&mut self) {
        while !self.broken {
            match self.ring.take() {
                // An ID that is invalid or comes twice frees nothing.
                Ok(Some(response)) => {
                    if let Some(in_flight) = self.in_flight.get_mut(usize::from(response.id))
                        && core::mem::take(in_flight)
                    {
                        self.free.push(response.id);
                    }
                }
                Ok(None) => return,
                Err(overrun) => {
                    report("tx", overrun);
                    self.broken = true;
                }
            }
        }
    }

    /// Requests an event for when a quarter of the frames in flight are done. Returns whether so
    /// many are done already.
    fn ask_for_room(&mut self) -> bool {
        !self.broken && self.ring.ask_for_event((self.ring.outstanding() / 4).max(1))
    }

    /// Sends a complete frame of at most [`TX_FRAME`] bytes.
    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) {
        self.send(bytes.len(), |frame| frame.copy_from_slice(bytes));
    }

    /// Sends a frame of `length` bytes, which `fill` writes. Without room the frame is lost.
    pub(crate) fn send<R>(&mut self, length: usize, fill: impl FnOnce(&mut [u8]) -> R) -> R {
        let number = if self.has_room() { self.free.pop() } else { None };
        let Some(id) = number else {
            return fill(&mut self.scratch[..length]);
        };
        self.in_flight[usize::from(id)] = true;
        let buffer = self.buffers.bytes(usize::from(id));
        let result = fill(&mut buffer[..length]);
        let location = self.buffers.location(usize::from(id));
        // Both numbers are at most half a page, so they fit.
        if let (Ok(offset), Ok(size)) = (u16::try_from(location.offset), u16::try_from(length)) {
            self.ring.put(&TxRequest { gref: location.grant.0, offset, flags: 0, id, size });
        }
        result
    }
}

/// The device that smoltcp sees: at most one received packet, and the queue of sent frames.
#[derive(Debug)]
pub(crate) struct Exchange<'a> {
    pub(crate) packet: Option<&'a [u8]>,
    /// The header of each sent frame.
    pub(crate) header: Header,
    pub(crate) tx: &'a mut TxQueue,
    pub(crate) mtu: usize,
}

/// The received packet.
#[derive(Debug)]
pub(crate) struct RxToken<'a>(&'a [u8]);

/// The right to send one packet.
#[derive(Debug)]
pub(crate) struct TxToken<'a> {
    header: Header,
    tx: &'a mut TxQueue,
}

impl phy::RxToken for RxToken<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, use_packet: F) -> R {
        use_packet(self.0)
    }
}

impl phy::TxToken for TxToken<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, fill: F) -> R {
        self.tx.send(ETHERNET_HEADER + length, |frame| {
            let (header, packet) = frame.split_at_mut(ETHERNET_HEADER);
            header.copy_from_slice(&self.header);
            fill(packet)
        })
    }
}

impl Device for Exchange<'_> {
    type RxToken<'a>
        = RxToken<'a>
    where
        Self: 'a;
    type TxToken<'a>
        = TxToken<'a>
    where
        Self: 'a;

    fn receive(&mut self, _: Instant) -> Option<(RxToken<'_>, TxToken<'_>)> {
        let tx = TxToken { header: self.header, tx: self.tx };
        self.packet.take().map(|packet| (RxToken(packet), tx))
    }

    fn transmit(&mut self, _: Instant) -> Option<TxToken<'_>> {
        self.tx.has_room().then_some(TxToken { header: self.header, tx: self.tx })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        capabilities(self.mtu)
    }
}
