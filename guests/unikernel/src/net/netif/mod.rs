// SPDX-License-Identifier: MIT OR Apache-2.0
//! The two rings of a network interface (`public/io/netif.h`).
//!
//! If the backend offers it, frames have no checksum of TCP, and may be packets of TCP of up to 64
//! KiB in several slots, which are segmented only where they leave the machine. Bulk transfers then
//! take a fiftieth of the frames.

mod exchange;
mod rx;
mod tx;

use core::num::NonZeroU16;

use noxs::{Vif, VifFeatures};
use smoltcp::wire::{IPV4_HEADER_LEN, TCP_HEADER_LEN};
use xen_abi::io::netif::SLOTS_OF_FRAME;
use xen_ring::{NetRx, NetTx, Overrun, Protocol};

pub(crate) use self::exchange::Exchange;
pub(crate) use self::rx::RxQueue;
pub(crate) use self::tx::TxQueue;
use super::buffers::{LONG_FRAME, LongBuffers, RxBuffers, TX_FRAME, TxBuffers};
use super::ethernet::ETHERNET_HEADER;
use super::rings::rings;
use crate::event::Port;
use crate::grant::GrantTable;
use crate::layout::PAGE_SIZE;
use crate::println;

/// The features that long packets need, and that are of use together only.
const OFFLOADS: VifFeatures = VifFeatures(
    VifFeatures::BLANK_CHECKSUM.0 | VifFeatures::SCATTER.0 | VifFeatures::SEGMENT_TCPV4.0,
);

/// What the guest accepts: all that it knows.
const ACCEPTED: VifFeatures = if cfg!(feature = "ipv6") {
    VifFeatures(OFFLOADS.0 | VifFeatures::SEGMENT_TCPV6.0)
} else {
    OFFLOADS
};

/// The fewest buffers for received frames with which long ones are accepted: those of one long
/// frame, and as many for others.
pub(super) const LONG_RX_FRAMES: usize = 2 * SLOTS_OF_FRAME;

/// Bytes of an IPv6 header.
const IPV6_HEADER: usize = 40;

/// The largest IP packet whose frame fits into the buffer of a sent frame.
pub(super) const PLAIN_MTU: usize = TX_FRAME - ETHERNET_HEADER;

/// The buffers of a page for sent frames.
const BUFFERS_OF_PAGE: usize = PAGE_SIZE / TX_FRAME;

/// The least size of the segments of long packets: the backend refuses packets of more than 128.
const LONG_SEGMENT: u16 = 512;

/// A network interface.
#[derive(Debug)]
pub(crate) struct Netif {
    pub(crate) tx: TxQueue,
    pub(crate) rx: RxQueue,
    pub(crate) port: Port,
    /// The largest IP packet in bytes.
    pub(crate) mtu: usize,
}

fn report(queue: &str, overrun: Overrun) {
    println!(
        "vif: the {queue} ring's response index {} is impossible: only {} requests were published; \
         the ring is not used any more",
        overrun.claimed, overrun.possible
    );
}

impl Netif {
    /// Sets up an interface with about `frames` buffers in each direction, and `long` buffers for
    /// long frames that are sent. Returns `None` if memory or grant entries do not suffice.
    #[inline(never)]
    pub(crate) fn new(
        vif: &Vif,
        frames: usize,
        long: usize,
        table: &mut GrantTable,
    ) -> Option<Self> {
        let accepted = match frames {
            LONG_RX_FRAMES.. => ACCEPTED,
            _ => VifFeatures::BLANK_CHECKSUM,
        };
        Self::accepting(vif, (frames, long), accepted, table)
    }

    /// Sets up an interface as [`new`](Self::new) does, for whole frames of at most a page with all
    /// their checksums.
    #[inline(never)]
    pub(crate) fn plain(vif: &Vif, frames: usize, table: &mut GrantTable) -> Option<Self> {
        Self::accepting(vif, (frames, 0), VifFeatures::NONE, table)
    }

    fn accepting(
        vif: &Vif,
        (frames, long): (usize, usize),
        accepted: VifFeatures,
        table: &mut GrantTable,
    ) -> Option<Self> {
        let domid = vif.backend.domid;
        let offloads = vif.features.contains(OFFLOADS);
        let long = if offloads { long } else { 0 };
        let (tx_ring, rx_ring) = rings(&vif.backend, accepted);
        let rx_buffers = RxBuffers::new(frames.min(NetRx::SLOTS as usize), domid, table)?;
        // Each buffer has a slot, and the slots of a long frame are left free.
        let tx_most = (NetTx::SLOTS as usize - long * (SLOTS_OF_FRAME + 1)) / BUFFERS_OF_PAGE;
        let tx_pages = frames.div_ceil(BUFFERS_OF_PAGE).min(tx_most);
        let tx_buffers = TxBuffers::new(tx_pages, domid, table)?;
        let count = u16::try_from(tx_buffers.count()).ok()?;
        let longest = if accepted == ACCEPTED { LONG_FRAME } else { PAGE_SIZE };
        let mtu = mtu(vif, long > 0);
        let mut netif = Self {
            tx: TxQueue {
                ring: tx_ring,
                buffers: tx_buffers,
                free: (0..count).rev().collect(),
                in_flight: alloc::vec![false; usize::from(count)],
                long: LongBuffers::new(long, domid, table)?,
                long_in_flight: alloc::vec![0; long],
                scratch: alloc::vec![0; TX_FRAME.max(ETHERNET_HEADER + mtu)],
                is_jumbo: mtu > PLAIN_MTU,
                offloads,
                segments_ipv6: vif.features.contains(VifFeatures::SEGMENT_TCPV6),
                broken: false,
            },
            rx: RxQueue {
                ring: rx_ring,
                buffers: rx_buffers,
                posted: alloc::vec![0; NetRx::SLOTS as usize],
                frame: alloc::vec![0; longest],
                broken: false,
            },
            port: Port(vif.backend.port),
            mtu,
        };
        for number in 0..count_of(&netif.rx.buffers)? {
            netif.rx.post(number);
        }
        Some(netif)
    }

    /// Returns whether it has buffers for long frames that it receives.
    #[cfg(feature = "hot-plug")]
    pub(crate) fn receives_long(&self) -> bool {
        self.rx.frame.len() == LONG_FRAME
    }

    /// Continues with the rings of another vif, after dom0 has removed the one before. Its buffers are
    /// all free.
    #[cfg(feature = "hot-plug")]
    #[inline(never)]
    pub(crate) fn reopen(&mut self, vif: &Vif) {
        let accepted = if self.receives_long() { ACCEPTED } else { VifFeatures::BLANK_CHECKSUM };
        let (tx_ring, rx_ring) = rings(&vif.backend, accepted);
        let Self { tx, rx, .. } = self;
        (tx.ring, tx.broken) = (tx_ring, false);
        (rx.ring, rx.broken) = (rx_ring, false);
        // Without the feature, the buffers for long frames stay unused.
        tx.offloads = vif.features.contains(OFFLOADS);
        tx.segments_ipv6 = vif.features.contains(VifFeatures::SEGMENT_TCPV6);
        tx.in_flight.fill(false);
        tx.long_in_flight.fill(0);
        tx.free.clear();
        tx.free.extend((0u16..).take(tx.in_flight.len()));
        for number in (0u16..).take(rx.buffers.count()) {
            rx.post(number);
        }
        self.port = Port(vif.backend.port);
        self.mtu = mtu(vif, tx.offloads && !tx.long_in_flight.is_empty());
        tx.is_jumbo = self.mtu > PLAIN_MTU;
        tx.scratch.resize(TX_FRAME.max(ETHERNET_HEADER + self.mtu), 0);
    }

    /// Returns the size of the segments of long packets of IPv4 or IPv6, without headers, if the
    /// backend segments such packets and there are buffers for them.
    #[inline]
    pub(crate) fn segments(&self, is_ipv6: bool) -> Option<NonZeroU16> {
        let header = if is_ipv6 { IPV6_HEADER } else { IPV4_HEADER_LEN };
        let size = u16::try_from(self.mtu - header - TCP_HEADER_LEN).ok()?;
        let is_known = !is_ipv6 || self.tx.segments_ipv6;
        let has_buffers = self.tx.offloads && !self.tx.long_in_flight.is_empty();
        let sends_long = is_known && has_buffers && size >= LONG_SEGMENT;
        NonZeroU16::new(size).filter(|_| sends_long)
    }

    /// Publishes the first requests and notifies the backend unconditionally: it learns that the
    /// guest runs.
    pub(crate) fn start(&mut self) {
        let _ = (self.rx.ring.publish(), self.tx.ring.publish());
        self.port.notify();
    }

    /// Publishes new requests, and notifies the backend if it requested an event for them.
    #[inline(never)]
    pub(crate) fn flush(&mut self) {
        let rx = self.rx.ring.publish();
        let tx = self.tx.ring.publish();
        if rx || tx {
            self.port.notify();
        }
    }

    /// Requests an event for the next received frame or, with `for_room`, for room to send. Returns
    /// whether there is a frame or room already. Frames that came in wait for the room, too.
    pub(crate) fn prepare_to_wait(&mut self, for_room: bool) -> bool {
        if for_room {
            return self.tx.ask_for_room() || self.tx.has_room();
        }
        !self.rx.broken && self.rx.ring.ask_for_event(1)
    }
}

/// Returns the size of the largest IP packet. `has_long` says whether there are buffers for long frames.
fn mtu(vif: &Vif, has_long: bool) -> usize {
    let mtu = usize::from(vif.mtu);
    if cfg!(feature = "jumbo") && has_long { mtu } else { mtu.min(PLAIN_MTU) }
}

/// Returns the number of buffers; each has a number of 16 bits.
fn count_of(buffers: &RxBuffers) -> Option<u16> {
    u16::try_from(buffers.count()).ok()
}
