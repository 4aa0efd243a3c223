// SPDX-License-Identifier: MIT OR Apache-2.0
//! Indices that jump, wrap and run backwards.

use xen_abi::io::console::{IN_CONS, IN_PROD, IN_SIZE, OUT_CONS, OUT_PROD, OUT_SIZE};
use xen_abi::io::ring::{PADDING, REQ_EVENT, REQ_PROD, RSP_EVENT, RSP_PROD};

use crate::Attack::Word;
use crate::Outcome::{Loses, LosesWhenTyped, Works};
use crate::Value::{Add, Set};
use crate::{Case, Device, Page, case};

/// One less.
const BACK: u32 = u32::MAX;
/// The farthest that an index can be.
const HALF: u32 = 1 << 31;
/// One byte more than the console's ring holds.
const OUT_FULL: u32 = 2049;
const _: () = assert!(OUT_FULL as usize == OUT_SIZE + 1);

/// One byte farther back than the ring of input holds.
const IN_BEHIND: u32 = 0u32.wrapping_sub(1025);
const _: () = assert!(IN_BEHIND.wrapping_neg() as usize == IN_SIZE + 1);

const INPUT: crate::Outcome = LosesWhenTyped("input index of its console");
const OUTPUT: crate::Outcome = Loses(Device::Console, "output index of its console");
const TRANSMIT: crate::Outcome = Loses(Device::Vif, "request index of its transmit ring");
const RECEIVE: crate::Outcome = Loses(Device::Vif, "request index of its receive ring");
const DISK: crate::Outcome = Loses(Device::Disk, "the block ring's request index");

pub(crate) const CASES: &[Case] = &[
    case("console-one-too-many", Word(Page::Console, OUT_PROD, Add(OUT_FULL)), OUTPUT),
    case("console-jump", Word(Page::Console, OUT_PROD, Add(0x4000_0000)), OUTPUT),
    case("console-half", Word(Page::Console, OUT_PROD, Add(HALF)), OUTPUT),
    case("console-backwards", Word(Page::Console, OUT_PROD, Add(BACK)), OUTPUT),
    case("console-to-zero", Word(Page::Console, OUT_PROD, Set(0)), OUTPUT),
    case("console-consumer-jumps", Word(Page::Console, OUT_CONS, Add(0x4000_0000)), Works),
    case("console-consumer-backwards", Word(Page::Console, OUT_CONS, Add(BACK)), Works),
    case("console-input-consumer-jumps", Word(Page::Console, IN_CONS, Add(HALF)), Works),
    case("console-input-producer-jumps", Word(Page::Console, IN_PROD, Add(HALF)), Works),
    case("console-input-consumer-ahead", Word(Page::Console, IN_CONS, Add(1)), INPUT),
    case("console-input-consumer-far", Word(Page::Console, IN_CONS, Add(HALF)), INPUT),
    case("console-input-consumer-behind", Word(Page::Console, IN_CONS, Add(IN_BEHIND)), INPUT),
    case("transmit-one-too-many", Word(Page::Transmit, REQ_PROD, Add(257)), TRANSMIT),
    case("transmit-jump", Word(Page::Transmit, REQ_PROD, Add(0x4000_0000)), TRANSMIT),
    case("transmit-half", Word(Page::Transmit, REQ_PROD, Add(HALF)), TRANSMIT),
    case("transmit-backwards", Word(Page::Transmit, REQ_PROD, Add(BACK)), TRANSMIT),
    case(
        "transmit-a-ring-backwards",
        Word(Page::Transmit, REQ_PROD, Add(0u32.wrapping_sub(256))),
        TRANSMIT,
    ),
    case("transmit-to-the-end", Word(Page::Transmit, REQ_PROD, Set(u32::MAX)), TRANSMIT),
    case("transmit-answers-jump", Word(Page::Transmit, RSP_PROD, Add(0x4000_0000)), Works),
    case("transmit-answers-backwards", Word(Page::Transmit, RSP_PROD, Add(BACK)), Works),
    case("transmit-event-far", Word(Page::Transmit, RSP_EVENT, Add(HALF)), Works),
    case("transmit-backends-event", Word(Page::Transmit, REQ_EVENT, Add(HALF)), Works),
    case("transmit-padding", Word(Page::Transmit, PADDING, Set(u32::MAX)), Works),
    case("receive-one-too-many", Word(Page::Receive, REQ_PROD, Add(257)), RECEIVE),
    case("receive-jump", Word(Page::Receive, REQ_PROD, Add(0x4000_0000)), RECEIVE),
    case("receive-half", Word(Page::Receive, REQ_PROD, Add(HALF)), RECEIVE),
    case("receive-backwards", Word(Page::Receive, REQ_PROD, Add(BACK)), RECEIVE),
    case("receive-answers-jump", Word(Page::Receive, RSP_PROD, Add(0x4000_0000)), Works),
    case("receive-event-far", Word(Page::Receive, RSP_EVENT, Add(HALF)), Works),
    // Bits for features that do not exist.
    case("receive-features", Word(Page::Receive, PADDING, Set(!0b1111)), Works),
    case("disk-one-too-many", Word(Page::Disk, REQ_PROD, Add(33)), DISK),
    case("disk-jump", Word(Page::Disk, REQ_PROD, Add(0x4000_0000)), DISK),
    case("disk-half", Word(Page::Disk, REQ_PROD, Add(HALF)), DISK),
    case("disk-backwards", Word(Page::Disk, REQ_PROD, Add(BACK)), DISK),
    case("disk-a-ring-backwards", Word(Page::Disk, REQ_PROD, Add(0u32.wrapping_sub(32))), DISK),
    case("disk-to-the-end", Word(Page::Disk, REQ_PROD, Set(u32::MAX)), DISK),
    case("disk-answers-jump", Word(Page::Disk, RSP_PROD, Add(0x4000_0000)), Works),
    case("disk-answers-backwards", Word(Page::Disk, RSP_PROD, Add(BACK)), Works),
    case("disk-backends-event", Word(Page::Disk, REQ_EVENT, Add(HALF)), Works),
    // Where noxsd keeps what an answer replaces, for its successor.
    case("disk-noted-index", Word(Page::Disk, PADDING, Set(1)), Works),
    case("disk-kept-bytes", Word(Page::Disk, PADDING + 4, Set(u32::MAX)), Works),
];
