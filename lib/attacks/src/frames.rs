// SPDX-License-Identifier: MIT OR Apache-2.0
//! Frames whose slots, pages and grants are wrong, and pages for frames that are.

use xen_abi::io::netif::{
    ExtraInfo, NETTXF_CSUM_BLANK, NETTXF_EXTRA_INFO, NETTXF_MORE_DATA, XEN_NETIF_EXTRA_FLAG_MORE,
    XEN_NETIF_EXTRA_TYPE_GSO,
};

use crate::Attack::{Frames, Receive};
use crate::Outcome::{Loses, Refused};
use crate::{ARP, Case, Device, FRAME_LENGTH, Grant, Page, Slot, case};

/// An ARP request, in a page that is granted like this.
const fn by(grant: Grant) -> Slot {
    Slot { grant, ..ARP }
}

/// A frame of this length at this offset.
const fn at(offset: u16, size: u16) -> Slot {
    Slot { offset, size, ..ARP }
}

/// A slot with these flags, for so many bytes.
const fn flagged(size: u16, flags: u16) -> Slot {
    Slot { size, flags, ..ARP }
}

/// A slot that continues, for so many bytes.
const fn more(size: u16) -> Slot {
    flagged(size, NETTXF_MORE_DATA)
}

/// The last slot of a frame.
const fn last(size: u16) -> Slot {
    flagged(size, 0)
}

/// An extra info.
const fn extra(kind: u8, flags: u8, size: u16, gso_type: u8) -> Slot {
    let extra = ExtraInfo { kind, flags, size, gso_type, pad: 0, features: 0 };
    Slot { extra: Some(extra), ..ARP }
}

/// The first slot of a frame with an extra info.
const EXTRA: Slot = flagged(FRAME_LENGTH, NETTXF_EXTRA_INFO);
/// The same of a frame that is to be segmented.
const LONG: Slot = flagged(FRAME_LENGTH, NETTXF_EXTRA_INFO | NETTXF_CSUM_BLANK);

const GSO: u8 = XEN_NETIF_EXTRA_TYPE_GSO;
const MORE: u8 = XEN_NETIF_EXTRA_FLAG_MORE;

const UNFINISHED: crate::Outcome = Loses(Device::Vif, "whose last slots it did not publish");
const TOO_MANY: crate::Outcome = Loses(Device::Vif, "in more than 18 slots");

pub(crate) const CASES: &[Case] = &[
    case("frame-grant-of-xen", Frames(&[by(Grant::Number(0))]), Refused),
    case("frame-grant-unused", Frames(&[by(Grant::Number(500))]), Refused),
    case("frame-grant-past-the-table", Frames(&[by(Grant::Number(100_000))]), Refused),
    case("frame-grant-huge", Frames(&[by(Grant::Number(u32::MAX))]), Refused),
    case("frame-grant-revoked", Frames(&[by(Grant::Revoked)]), Refused),
    case("frame-grant-of-another", Frames(&[by(Grant::Another)]), Refused),
    case("frame-grant-without-frame", Frames(&[by(Grant::NoFrame)]), Refused),
    case("frame-grant-transfer", Frames(&[by(Grant::Transfer)]), Refused),
    case("frame-across-the-page", Frames(&[at(4090, FRAME_LENGTH)]), Refused),
    case("frame-past-the-page", Frames(&[at(4096, FRAME_LENGTH)]), Refused),
    case("frame-offset-huge", Frames(&[at(u16::MAX, u16::MAX)]), Refused),
    case("frame-empty", Frames(&[last(0)]), Refused),
    case("frame-shorter-than-a-header", Frames(&[last(13)]), Refused),
    case("frame-longer-than-mtu", Frames(&[at(0, 1515)]), Refused),
    case("frame-size-huge", Frames(&[at(0, u16::MAX)]), Refused),
    case("frame-checksum-of-arp", Frames(&[flagged(42, NETTXF_CSUM_BLANK)]), Refused),
    case("frame-all-flags", Frames(&[flagged(42, !0b1100)]), Refused),
    case("frame-parts-too-long", Frames(&[more(42), last(43)]), Refused),
    case("frame-parts-empty", Frames(&[more(42), last(0)]), Refused),
    case("frame-first-part-empty", Frames(&[more(42), last(42)]), Refused),
    case("frame-part-not-granted", Frames(&[more(84), by(Grant::Number(9999))]), Refused),
    case("frame-part-revoked", Frames(&[more(84), by(Grant::Revoked)]), Refused),
    case("frame-part-across-the-page", Frames(&[more(84), at(4090, 42)]), Refused),
    case("frame-segments-of-arp", Frames(&[LONG, extra(GSO, 0, 1460, 1)]), Refused),
    case("frame-segments-of-zero", Frames(&[LONG, extra(GSO, 0, 0, 1)]), Refused),
    case("frame-segments-huge", Frames(&[LONG, extra(GSO, 0, u16::MAX, 2)]), Refused),
    case("frame-unfinished", Frames(&[more(42)]), UNFINISHED),
    case("frame-extra-missing", Frames(&[EXTRA]), UNFINISHED),
    case("frame-endless", Frames(&[more(42); 200]), TOO_MANY),
    case(
        "frame-extra-of-none",
        Frames(&[EXTRA, extra(0, 0, 0, 0)]),
        Loses(Device::Vif, "extra info of type 0"),
    ),
    case(
        "frame-extra-unknown",
        Frames(&[EXTRA, extra(77, 0, 0, 0)]),
        Loses(Device::Vif, "extra info of type 77"),
    ),
    case(
        "frame-extra-endless",
        Frames(&[
            EXTRA,
            extra(4, MORE, 0, 0),
            extra(4, MORE, 0, 0),
            extra(4, MORE, 0, 0),
            extra(4, MORE, 0, 0),
            extra(4, MORE, 0, 0),
        ]),
        Loses(Device::Vif, "extra info of type 4"),
    ),
    case("receive-grant-unused", Receive(&[Grant::Number(500)]), Refused),
    case("receive-grant-huge", Receive(&[Grant::Number(u32::MAX)]), Refused),
    case("receive-grant-revoked", Receive(&[Grant::Revoked]), Refused),
    case("receive-grant-read-only", Receive(&[Grant::ReadOnly]), Refused),
    case("receive-grant-of-another", Receive(&[Grant::Another]), Refused),
    case("receive-grant-without-frame", Receive(&[Grant::NoFrame]), Refused),
    // dom0 then writes a frame over the indices of the ring.
    case(
        "receive-into-transmit-ring",
        Receive(&[Grant::Ring(Page::Transmit)]),
        Loses(Device::Vif, "request index of its transmit ring"),
    ),
    case(
        "receive-into-disk-ring",
        Receive(&[Grant::Ring(Page::Disk)]),
        Loses(Device::Disk, "the block ring's request index"),
    ),
];
