// SPDX-License-Identifier: MIT OR Apache-2.0
//! Frames in several slots, with extra infos, that are not frames.

use alloc::vec::Vec;

use unikernel::{Guest, println};
use xen_abi::io::netif::{
    ExtraInfo, NETIF_RSP_ERROR, NETTXF_CSUM_BLANK, NETTXF_EXTRA_INFO, NETTXF_MORE_DATA, TxRequest,
    XEN_NETIF_EXTRA_FLAG_MORE,
};

use crate::frames;
use crate::transmit::Transmit;

/// Returns the slots of a case, made of a good request.
type Slots = fn(TxRequest) -> Vec<TxRequest>;

/// Slots that cannot be taken apart into frames, by the command line's name of the case. Each costs
/// the guest its vif.
const FATAL: [(&str, Slots); 6] = [
    ("chain-unfinished", |good| part(good, NETTXF_MORE_DATA, 1)),
    ("chain-endless", |good| part(good, NETTXF_MORE_DATA, 200)),
    ("chain-extra-missing", |good| part(good, NETTXF_EXTRA_INFO, 1)),
    ("chain-extra-unknown", |good| extras(good, 77, 0, 1)),
    ("chain-extra-none", |good| extras(good, 0, 0, 1)),
    ("chain-extra-endless", |good| extras(good, 4, XEN_NETIF_EXTRA_FLAG_MORE, 200)),
];

fn part(good: TxRequest, flags: u16, count: usize) -> Vec<TxRequest> {
    alloc::vec![TxRequest { flags, ..good }; count]
}

fn extras(good: TxRequest, kind: u8, flags: u8, count: usize) -> Vec<TxRequest> {
    let extra = TxRequest::from(ExtraInfo { kind, flags, size: 1460, ..gso(1460) });
    let mut slots = part(good, NETTXF_EXTRA_INFO, 1);
    slots.extend(alloc::vec![extra; count]);
    slots
}

fn gso(size: u16) -> ExtraInfo {
    ExtraInfo { kind: 1, size, gso_type: 1, ..ExtraInfo::default() }
}

/// Publishes the slots of a case that costs the guest its vif. Returns `false` if there is no such
/// case.
pub(crate) fn fatal(guest: &Guest, name: &str) -> bool {
    let Some((_, slots)) = FATAL.iter().find(|(case, _)| *case == name) else { return false };
    println!("hostile: {name}");
    let mut transmit = Transmit::new(guest);
    let good = transmit.place(0, &frames::arp_request(guest));
    transmit.put(&slots(good));
    true
}

/// Sends frames of several slots that must be answered with an error, and a good one.
pub(crate) fn refused(guest: &Guest) {
    let mut transmit = Transmit::new(guest);
    let good = transmit.place(0, &frames::arp_request(guest));
    let (size, more) = (good.size, NETTXF_MORE_DATA);
    let first = |size, flags| TxRequest { size, flags, ..good };
    let rest = |size| TxRequest { size, flags: 0, ..good };
    let segmented =
        |extra: ExtraInfo, flags| [first(size, NETTXF_EXTRA_INFO | flags), TxRequest::from(extra)];
    let bad: [&[TxRequest]; 13] = [
        // More, or all of it, in the second part; a first one without a header; empty ones.
        &[first(size, more), rest(size + 1)],
        &[first(size, more), rest(u16::MAX)],
        &[first(size, more), rest(size)],
        &[first(size, more), rest(size - 13)],
        &[first(size, more), rest(0)],
        &[first(u16::MAX, more), rest(10)],
        &[first(0, more), rest(0)],
        // A part that is not granted, and one past the end of the page.
        &[first(size, more), TxRequest { gref: 100_000, ..rest(10) }],
        &[first(size, more), TxRequest { offset: 4090, ..rest(10) }],
        // ARP is not to be segmented, in whatever sizes.
        &segmented(gso(1460), NETTXF_CSUM_BLANK),
        &segmented(gso(0), NETTXF_CSUM_BLANK),
        &segmented(gso(u16::MAX), 0),
        &segmented(ExtraInfo { kind: 2, ..gso(1) }, NETTXF_CSUM_BLANK),
    ];
    let mut refused = 0;
    for slots in bad {
        refused += usize::from(transmit.send(slots).contains(&NETIF_RSP_ERROR));
    }
    println!("hostile: {refused} of {} bad frames were refused", bad.len());
    // In three parts, of which the first has the header.
    let part =
        |from: u16, size, flags| TxRequest { offset: good.offset + from, size, flags, ..good };
    let statuses =
        transmit.send(&[part(0, size, more), part(20, 10, more), part(30, size - 30, 0)]);
    println!("hostile: the good frame was answered with {statuses:?}");
}
