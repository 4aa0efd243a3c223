// SPDX-License-Identifier: GPL-3.0-or-later
//! What is left to do to a frame: its checksum, and its segmentation.
//!
//! dom0's kernel and guests say it in different ways. [`VnetHeader`] is the kernel's, before each
//! frame of a tap; a guest's are flags of requests and responses, and an extra info.
//! [`checksum`] and [`segments`] do it for receivers that do not.

use noxs::VifFeatures;
use tap::VNET_HEADER;
use xen_abi::io::netif::{
    ExtraInfo, NETRXF_CSUM_BLANK, NETRXF_DATA_VALIDATED, XEN_NETIF_EXTRA_TYPE_GSO,
    XEN_NETIF_GSO_TYPE_TCPV4, XEN_NETIF_GSO_TYPE_TCPV6,
};

use super::checksum::{self, IpVersion, Protocol, Transport};
use super::{frame, segments};

/// Most segments of one frame: 64 KiB in segments of 512 bytes. A frame of many tiny segments costs
/// its receivers far more than its sender.
pub const MAX_SEGMENTS: usize = 128;

/// The state of the checksum of TCP or UDP in a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checksum {
    /// It is in the frame, or the frame has none.
    #[default]
    Unknown,
    /// It is known to be right.
    Valid,
    /// It is missing: its field has the sum of the pseudo-header.
    Blank,
}

/// How a frame with a long packet of TCP is to be segmented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segmentation {
    /// The version of IP.
    pub version: IpVersion,
    /// Bytes of the headers, which each segment repeats.
    pub headers: u16,
    /// Bytes of data in each segment but the last.
    pub size: u16,
}

/// What is left to do to a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offload {
    /// Its checksum.
    pub checksum: Checksum,
    /// Its segmentation. The checksum is blank then.
    pub segmentation: Option<Segmentation>,
}

impl Segmentation {
    /// Returns how a frame of `length` bytes is to be segmented into parts of `size` bytes; `None`
    /// if it is not a packet of TCP that fills the frame, or if it has no data.
    fn new(transport: &Transport, length: usize, size: u16) -> Option<Self> {
        let is_tcp = transport.protocol == Protocol::Tcp && transport.packet_end == length;
        (is_tcp && transport.end < length && size > 0).then_some(())?;
        let headers = u16::try_from(transport.end).ok()?;
        Some(Self { version: transport.version, headers, size })
    }

    /// Returns the length of the longest segment's frame.
    #[must_use]
    pub fn longest(self) -> usize {
        usize::from(self.headers) + usize::from(self.size)
    }

    /// Returns what a receiver must support.
    #[must_use]
    pub fn needs(self) -> VifFeatures {
        let segment = match self.version {
            IpVersion::V4 => VifFeatures::SEGMENT_TCPV4,
            IpVersion::V6 => VifFeatures::SEGMENT_TCPV6,
        };
        VifFeatures::BLANK_CHECKSUM | VifFeatures::SCATTER | segment
    }

    /// Returns the extra info for a guest.
    #[must_use]
    pub fn extra_info(self) -> ExtraInfo {
        let gso_type = match self.version {
            IpVersion::V4 => XEN_NETIF_GSO_TYPE_TCPV4,
            IpVersion::V6 => XEN_NETIF_GSO_TYPE_TCPV6,
        };
        ExtraInfo {
            kind: XEN_NETIF_EXTRA_TYPE_GSO,
            size: self.size,
            gso_type,
            ..ExtraInfo::default()
        }
    }
}

impl Offload {
    /// Returns what a guest has left to do in a frame whose checksum is blank, and writes the sum of
    /// the pseudo-header into the frame. `extra` is the guest's extra info. Returns `None` if the
    /// frame has no checksum, or if it cannot be segmented as the guest says.
    pub(super) fn of_guest(frame: &mut [u8], extra: Option<ExtraInfo>) -> Option<Self> {
        let transport = Transport::find(frame)?;
        let segmentation = match extra {
            None => None,
            Some(extra) => {
                let segmentation = Segmentation::new(&transport, frame.len(), extra.size)?;
                let count = segments::count(segmentation, frame.len());
                let is_same = segmentation.extra_info().gso_type == extra.gso_type;
                (is_same && (2..=MAX_SEGMENTS).contains(&count)).then_some(())?;
                Some(segmentation)
            }
        };
        checksum::prepare(frame, &transport);
        Some(Self { checksum: Checksum::Blank, segmentation })
    }

    /// Computes the checksum of a frame if it is blank. The frame must not be segmented.
    pub(super) fn complete(&mut self, frame: &mut [u8]) {
        if self.checksum != Checksum::Blank {
            return;
        }
        self.checksum = Checksum::Valid;
        if let Some(transport) = Transport::find(frame) {
            let covered = transport.start..transport.packet_end;
            checksum::complete(frame, covered, transport.field);
        }
    }

    /// Returns the flags of the first response for a guest.
    #[must_use]
    pub fn flags(self) -> u16 {
        match self.checksum {
            Checksum::Unknown => 0,
            Checksum::Valid => NETRXF_DATA_VALIDATED,
            Checksum::Blank => NETRXF_CSUM_BLANK | NETRXF_DATA_VALIDATED,
        }
    }
}

/// `struct virtio_net_hdr`, the header of each frame of a tap (`linux/virtio_net.h`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VnetHeader {
    flags: u8,
    kind: u8,
    headers: u16,
    size: u16,
    sum_start: u16,
    sum_offset: u16,
}

const NEEDS_CSUM: u8 = 1;
const DATA_VALID: u8 = 2;
const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;

impl VnetHeader {
    /// Decodes a header.
    #[must_use]
    pub fn decode(bytes: [u8; VNET_HEADER]) -> Self {
        let [flags, kind, rest @ ..] = bytes;
        let [headers, size, sum_start, sum_offset] =
            [0, 2, 4, 6].map(|at| u16::from_ne_bytes([rest[at], rest[at + 1]]));
        Self { flags, kind, headers, size, sum_start, sum_offset }
    }

    /// Encodes the header.
    #[must_use]
    pub fn encode(self) -> [u8; VNET_HEADER] {
        let mut bytes = [0; VNET_HEADER];
        (bytes[0], bytes[1]) = (self.flags, self.kind);
        let fields = [self.headers, self.size, self.sum_start, self.sum_offset];
        for (to, field) in bytes[2..].chunks_exact_mut(2).zip(fields) {
            to.copy_from_slice(&field.to_ne_bytes());
        }
        bytes
    }

    /// Returns the header of a frame for the kernel; `None` if the frame has no checksum to compute.
    #[must_use]
    pub fn of(frame: &[u8], offload: Offload) -> Option<Self> {
        if offload.checksum != Checksum::Blank {
            return Some(Self::default());
        }
        let transport = Transport::find(frame)?;
        let mut header = Self {
            flags: NEEDS_CSUM,
            sum_start: u16::try_from(transport.start).ok()?,
            sum_offset: u16::try_from(transport.field - transport.start).ok()?,
            ..Self::default()
        };
        if let Some(segmentation) = offload.segmentation {
            header.kind = match segmentation.version {
                IpVersion::V4 => GSO_TCPV4,
                IpVersion::V6 => GSO_TCPV6,
            };
            (header.headers, header.size) = (segmentation.headers, segmentation.size);
        }
        Some(header)
    }

    /// Returns what the kernel has left to do in a frame. Computes the checksum if guests would not
    /// find its place. Returns `None` if the frame is not one that the kernel may pass on.
    pub(super) fn offload(self, frame: &mut [u8]) -> Option<Offload> {
        if self.kind == GSO_NONE && self.flags & NEEDS_CSUM == 0 {
            let is_valid = self.flags & DATA_VALID != 0;
            let checksum = if is_valid { Checksum::Valid } else { Checksum::Unknown };
            return Some(Offload { checksum, segmentation: None });
        }
        (self.flags & NEEDS_CSUM != 0).then_some(())?;
        let (start, field) =
            (self.sum_start.into(), usize::from(self.sum_start) + usize::from(self.sum_offset));
        let found = Transport::find(frame);
        let transport = found.filter(|found| (found.start, found.field) == (start, field));
        let Some(transport) = transport else {
            // Such as a tunnel's inner packet, or a header of IPv6 before it.
            let is_inside = start >= frame::HEADER && field + 2 <= frame.len();
            (self.kind == GSO_NONE && is_inside).then_some(())?;
            checksum::complete(frame, start..frame.len(), field);
            return Some(Offload { checksum: Checksum::Valid, segmentation: None });
        };
        let segmentation = match self.kind {
            GSO_NONE => None,
            GSO_TCPV4 | GSO_TCPV6 => {
                let segmentation = Segmentation::new(&transport, frame.len(), self.size)?;
                Some(segmentation).filter(|one| segments::count(*one, frame.len()) > 1)
            }
            _ => return None,
        };
        Some(Offload { checksum: Checksum::Blank, segmentation })
    }
}
