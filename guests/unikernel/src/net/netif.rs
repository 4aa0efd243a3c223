// SPDX-License-Identifier: MIT OR Apache-2.0
//! The two rings of a network interface (`public/io/netif.h`).
//!
//! If the backend offers it, frames have no checksum of TCP, and may be packets of TCP of up to 64
//! KiB in several slots, which are segmented only where they leave the machine. Bulk transfers then
//! take a fiftieth of the frames.

use alloc::vec::Vec;
use core::num::NonZeroU16;

use noxs::{Vif, VifFeatures};
use smoltcp::phy::{self, ChecksumCapabilities, Device, DeviceCapabilities, Medium};
use smoltcp::time::Instant;
use smoltcp::wire::{IPV4_HEADER_LEN, TCP_HEADER_LEN};
use xen_abi::io::netif::{
    ExtraInfo, NETIF_RSP_NULL, NETRXF_CSUM_BLANK, NETRXF_DATA_VALIDATED, NETRXF_EXTRA_INFO,
    NETRXF_MORE_DATA, NETTXF_CSUM_BLANK, NETTXF_DATA_VALIDATED, NETTXF_EXTRA_INFO,
    NETTXF_MORE_DATA, RxRequest, RxResponse, SLOTS_OF_FRAME, TxRequest, XEN_NETIF_EXTRA_FLAG_MORE,
    XEN_NETIF_EXTRA_TYPE_GSO, XEN_NETIF_GSO_TYPE_TCPV4, XEN_NETIF_GSO_TYPE_TCPV6,
};
use xen_ring::{NetRx, NetTx, Overrun, Protocol};

use super::buffers::{LONG_FRAME, LongBuffers, RxBuffers, TX_FRAME, TxBuffers};
use super::ethernet::{ETHERNET_HEADER, Header, is_ipv6};
use super::rings::{RxRing, TxRing, rings};
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
const LONG_RX_FRAMES: usize = 2 * SLOTS_OF_FRAME;

/// Bytes of an IPv6 header.
const IPV6_HEADER: usize = 40;

/// The largest IP packet whose frame fits into the buffer of a sent frame.
const PLAIN_MTU: usize = TX_FRAME - ETHERNET_HEADER;

/// The buffers of a page for sent frames.
const BUFFERS_OF_PAGE: usize = PAGE_SIZE / TX_FRAME;

/// The least size of the segments of long packets: the backend refuses packets of more than 128.
const LONG_SEGMENT: u16 = 512;

/// The ring of sent frames, and their buffers.
#[derive(Debug)]
pub(crate) struct TxQueue {
    ring: TxRing,
    buffers: TxBuffers,
    /// Buffers without a frame in flight.
    free: Vec<u16>,
    /// For each buffer, whether its frame is in flight.
    in_flight: Vec<bool>,
    /// Buffers for long frames.
    long: LongBuffers,
    /// For each of them, how many slots are in flight. Their identifiers follow those of `buffers`.
    long_in_flight: Vec<u8>,
    /// The buffer of a frame for which there is no room.
    scratch: Vec<u8>,
    /// Whether a packet of the interface's MTU may need a buffer for long frames.
    is_jumbo: bool,
    /// Whether the backend computes checksums of TCP and segments long packets.
    offloads: bool,
    /// Whether the backend segments long packets of IPv6, too.
    segments_ipv6: bool,
    broken: bool,
}

/// The ring of received frames, and their buffers.
#[derive(Debug)]
pub(crate) struct RxQueue {
    ring: RxRing,
    buffers: RxBuffers,
    /// The buffer that is posted in each slot of the ring.
    posted: Vec<u16>,
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
    /// The largest IP packet in bytes.
    pub(crate) mtu: usize,
}

/// A received frame.
#[derive(Debug)]
pub(crate) struct Frame<'a> {
    pub(crate) bytes: &'a mut [u8],
    /// Whether the backend marked its checksums as valid.
    pub(crate) validated: bool,
}

/// How a frame is sent.
#[derive(Clone, Copy, Debug, Default)]
struct Sending {
    /// `NETTXF_*` of its first slot.
    flags: u16,
    /// How the backend must segment it, if it must.
    segments: Option<Segments>,
}

/// How a packet of TCP is to be segmented.
#[derive(Clone, Copy, Debug)]
struct Segments {
    size: NonZeroU16,
    /// `XEN_NETIF_GSO_TYPE_*`.
    gso_type: u8,
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
        let domid = vif.backend.domid;
        let offloads = vif.features.contains(OFFLOADS);
        let long = if offloads { long } else { 0 };
        let accepted = match frames {
            LONG_RX_FRAMES.. => ACCEPTED,
            _ => VifFeatures::BLANK_CHECKSUM,
        };
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

    /// Continues with the rings of another vif, after dom0 has removed the one before. Its buffers are
    /// all free.
    #[cfg(feature = "hot-plug")]
    #[inline(never)]
    pub(crate) fn reopen(&mut self, vif: &Vif) {
        let accepted =
            if self.rx.frame.len() == LONG_FRAME { ACCEPTED } else { VifFeatures::BLANK_CHECKSUM };
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

/// Returns the properties of the interface for smoltcp.
fn capabilities(mtu: usize, offloads: bool) -> DeviceCapabilities {
    let mut capabilities = DeviceCapabilities::default();
    capabilities.medium = Medium::Ip;
    capabilities.max_transmission_unit = mtu;
    // smoltcp computes all checksums, except that `super::segment` verifies received TCP and the
    // backend may compute those of sent TCP.
    capabilities.checksum = ChecksumCapabilities::default();
    capabilities.checksum.tcp = if offloads { phy::Checksum::None } else { phy::Checksum::Tx };
    capabilities
}

impl RxQueue {
    /// Posts buffer `number` for the backend.
    fn post(&mut self, number: u16) {
        if let Some(grant) = self.buffers.grant(usize::from(number)) {
            self.posted[self.ring.request_slot()] = number;
            self.ring.put(&RxRequest { id: number, pad: 0, gref: grant.0 });
        }
    }

    /// Takes the next response, if there is one.
    fn take(&mut self) -> Option<RxResponse> {
        if self.broken {
            return None;
        }
        match self.ring.take() {
            Ok(response) => response,
            Err(overrun) => {
                report("rx", overrun);
                self.broken = true;
                None
            }
        }
    }

    /// Copies a part of a frame out of its buffer to `at`, and posts the buffer again. Returns where
    /// the part ends; `None` if the backend had an error or the part does not fit.
    fn take_part(&mut self, response: RxResponse, at: usize) -> Option<usize> {
        let number = usize::from(response.id);
        // A negative status is an error of the backend: the slot has no data.
        let end = at + usize::try_from(response.status).unwrap_or(0);
        let to = self.frame.get_mut(at..end);
        let offset = usize::from(response.offset);
        let copied = to.and_then(|to| self.buffers.copy_out(number, offset, to));
        // With an invalid ID the backend loses a buffer; the guest's memory is safe.
        self.post(response.id);
        copied.filter(|()| end > at).map(|()| end)
    }

    /// Receives the next frame. Its buffers are posted again with the next flush.
    pub(crate) fn receive(&mut self) -> Option<Frame<'_>> {
        while let Some(first) = self.take() {
            let mut end = self.take_part(first, 0);
            if first.flags & (NETRXF_EXTRA_INFO | NETRXF_MORE_DATA) != 0 {
                end = self.take_rest(first, end);
            }
            if let Some(end) = end.filter(|end| *end >= ETHERNET_HEADER) {
                let validated = first.flags & (NETRXF_DATA_VALIDATED | NETRXF_CSUM_BLANK) != 0;
                return Some(Frame { bytes: &mut self.frame[..end], validated });
            }
        }
        None
    }

    /// Takes the responses of a frame that follow its first one. Returns where the frame ends;
    /// `None` if a part was not received.
    fn take_rest(&mut self, first: RxResponse, mut end: Option<usize>) -> Option<usize> {
        let mut more = first.flags & NETRXF_EXTRA_INFO != 0;
        while more {
            // The page of the slot was not used. How the packet was to be segmented does not matter.
            let number = self.posted[self.ring.response_slot()];
            let extra = ExtraInfo::from(self.take()?);
            self.post(number);
            more = extra.flags & XEN_NETIF_EXTRA_FLAG_MORE != 0;
        }
        more = first.flags & NETRXF_MORE_DATA != 0;
        while more {
            // The backend publishes all responses of a frame at once.
            let part = self.take()?;
            end = match end {
                Some(end) => self.take_part(part, end),
                None => {
                    self.post(part.id);
                    None
                }
            };
            more = part.flags & NETRXF_MORE_DATA != 0;
        }
        end
    }
}

impl TxQueue {
    /// Returns whether a frame can be sent now. Reclaims finished buffers if there is no free one.
    pub(crate) fn has_room(&mut self) -> bool {
        if self.is_jumbo && !self.has_long_room() {
            return false;
        }
        if self.free.is_empty() {
            self.reclaim();
        }
        !self.free.is_empty()
    }

    /// Returns whether a long frame can be sent now.
    pub(crate) fn has_long_room(&mut self) -> bool {
        let is_free = |queue: &Self| queue.long_in_flight.contains(&0);
        if !self.long_in_flight.is_empty() && !is_free(self) {
            self.reclaim();
        }
        is_free(self)
    }

    fn reclaim(&mut self) {
        while !self.broken {
            match self.ring.take() {
                // The slot of an extra info has no buffer.
                Ok(Some(response)) if response.status == NETIF_RSP_NULL => {}
                // An ID that is invalid or comes too often frees nothing.
                Ok(Some(response)) => {
                    let id = usize::from(response.id);
                    if let Some(in_flight) = self.in_flight.get_mut(id) {
                        if core::mem::take(in_flight) {
                            self.free.push(response.id);
                        }
                    } else if let Some(slots) =
                        self.long_in_flight.get_mut(id - self.in_flight.len())
                    {
                        *slots = slots.saturating_sub(1);
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
        self.send(bytes.len(), |frame| (frame.copy_from_slice(bytes), Sending::default()));
    }

    /// Sends a frame of `length` bytes, which `fill` writes. Without room the frame is lost.
    fn send<R>(&mut self, length: usize, fill: impl FnOnce(&mut [u8]) -> (R, Sending)) -> R {
        if length > TX_FRAME {
            return self.send_long(length, fill);
        }
        if self.free.is_empty() {
            self.reclaim();
        }
        let number = self.free.pop();
        let Some(id) = number else {
            return fill(&mut self.scratch[..length]).0;
        };
        self.in_flight[usize::from(id)] = true;
        let buffer = self.buffers.bytes(usize::from(id));
        let (result, Sending { flags, segments }) = fill(&mut buffer[..length]);
        let location = self.buffers.location(usize::from(id));
        // Both numbers are at most half a page, so they fit.
        if let (Ok(offset), Ok(size)) = (u16::try_from(location.offset), u16::try_from(length)) {
            let flags = flags | extra_flag(segments);
            self.ring.put(&TxRequest { gref: location.grant.0, offset, flags, id, size });
            self.put_segments(segments);
        }
        result
    }

    /// Sends a frame of `length` bytes, at most [`LONG_FRAME`], in several slots.
    #[inline(never)]
    fn send_long<R>(&mut self, length: usize, fill: impl FnOnce(&mut [u8]) -> (R, Sending)) -> R {
        let number = self.long_in_flight.iter().position(|slots| *slots == 0);
        let Some(number) = number else {
            if length <= self.scratch.len() {
                return fill(&mut self.scratch[..length]).0;
            }
            // Only a frame that smoltcp has a long buffer for is so long.
            panic!("a frame of {length} bytes without a buffer")
        };
        let buffer = self.long.bytes(number);
        let (result, Sending { flags, segments }) = fill(&mut buffer[..length]);
        let mut flags = flags | extra_flag(segments);
        let id = u16::try_from(self.in_flight.len() + number).unwrap_or(u16::MAX);
        // The first slot has the length of the whole frame.
        let mut size = u16::try_from(length).unwrap_or(u16::MAX);
        let mut left = length;
        for grant in self.long.grants(number) {
            let part = left.min(PAGE_SIZE);
            left -= part;
            self.long_in_flight[number] += 1;
            let is_first = left + part == length;
            if !is_first {
                (flags, size) = (0, u16::try_from(part).unwrap_or_default());
            }
            if left > 0 {
                flags |= NETTXF_MORE_DATA;
            }
            self.ring.put(&TxRequest { gref: grant.0, offset: 0, flags, id, size });
            if is_first && let Some(size) = segments {
                self.ring.put(&segmentation(size));
            }
            if left == 0 {
                break;
            }
        }
        result
    }

    fn put_segments(&mut self, segments: Option<Segments>) {
        if let Some(size) = segments {
            self.ring.put(&segmentation(size));
        }
    }
}

/// Returns the flag of a frame's first slot that an extra info follows.
fn extra_flag(segments: Option<Segments>) -> u16 {
    if segments.is_some() { NETTXF_EXTRA_INFO } else { 0 }
}

/// Returns the slot that says how a packet of TCP is to be segmented.
fn segmentation(Segments { size, gso_type }: Segments) -> TxRequest {
    let extra = ExtraInfo {
        kind: XEN_NETIF_EXTRA_TYPE_GSO,
        size: size.get(),
        gso_type,
        ..ExtraInfo::default()
    };
    extra.into()
}

/// The device that smoltcp sees: at most one received packet, and the queue of sent frames.
#[derive(Debug)]
pub(crate) struct Exchange<'a> {
    pub(crate) packet: Option<&'a [u8]>,
    /// The header of each sent frame.
    pub(crate) header: Header,
    pub(crate) tx: &'a mut TxQueue,
    pub(crate) mtu: usize,
    /// The size of the segments of long packets, if packets of TCP may be long.
    pub(crate) segments: Option<NonZeroU16>,
}

/// The received packet.
#[derive(Debug)]
pub(crate) struct RxToken<'a>(&'a [u8]);

/// The right to send one packet.
#[derive(Debug)]
pub(crate) struct TxToken<'a> {
    header: Header,
    tx: &'a mut TxQueue,
    mtu: usize,
    segments: Option<NonZeroU16>,
}

/// Where the protocol is in an IPv4 packet and in one of IPv6, and the number of TCP.
const IPV4_PROTOCOL: usize = 9;
const IPV6_PROTOCOL: usize = 6;
const TCP: u8 = 6;

impl phy::RxToken for RxToken<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, use_packet: F) -> R {
        use_packet(self.0)
    }
}

impl phy::TxToken for TxToken<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, fill: F) -> R {
        let Self { header: own_header, tx, mtu, segments } = self;
        let offloads = tx.offloads;
        let segments = segments.filter(|_| length > mtu);
        tx.send(ETHERNET_HEADER + length, |frame| {
            let (header, packet) = frame.split_at_mut(ETHERNET_HEADER);
            header.copy_from_slice(&own_header);
            let result = fill(packet);
            let (protocol, gso_type) = match is_ipv6(&own_header) {
                false => (IPV4_PROTOCOL, XEN_NETIF_GSO_TYPE_TCPV4),
                true => (IPV6_PROTOCOL, XEN_NETIF_GSO_TYPE_TCPV6),
            };
            let segments = segments.map(|size| Segments { size, gso_type });
            let is_blank = offloads && packet.get(protocol) == Some(&TCP);
            let flags = if is_blank { NETTXF_CSUM_BLANK | NETTXF_DATA_VALIDATED } else { 0 };
            (result, Sending { flags, segments })
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
        let tx = TxToken { header: self.header, tx: self.tx, segments: None, mtu: self.mtu };
        self.packet.take().map(|packet| (RxToken(packet), tx))
    }

    fn transmit(&mut self, _: Instant) -> Option<TxToken<'_>> {
        let Self { header, tx, mtu, segments, .. } = self;
        let has_room = tx.has_room() && (segments.is_none() || tx.has_long_room());
        has_room.then_some(TxToken { header: *header, tx, mtu: *mtu, segments: *segments })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mtu = if self.segments.is_some() { LONG_FRAME - ETHERNET_HEADER } else { self.mtu };
        capabilities(mtu, self.tx.offloads)
    }
}
