// SPDX-License-Identifier: MIT OR Apache-2.0
//! Special pages that go away, grants of rings that are revoked, event channels that are closed,
//! and storms of events.

use crate::Attack::{Balloon, Close, Cover, Revoke, Storm};
use crate::Outcome::{Ends, Works};
use crate::{Case, Channel, Page, case};

/// What a guest does whose console or whose events no longer work, if everything else does.
const POWERS_OFF: crate::Outcome = Ends("powered-off");

const STORM: u32 = 5000;

pub(crate) const CASES: &[Case] = &[
    case("balloon-console", Balloon(Page::Console), POWERS_OFF),
    case("balloon-transmit", Balloon(Page::Transmit), Works),
    case("balloon-receive", Balloon(Page::Receive), Works),
    case("balloon-disk", Balloon(Page::Disk), Works),
    case("balloon-answers", Balloon(Page::Answers), Works),
    case("balloon-devices", Balloon(Page::Devices), Works),
    case("balloon-grants", Balloon(Page::Grants), Works),
    case("cover-console", Cover(Page::Console), POWERS_OFF),
    case("cover-transmit", Cover(Page::Transmit), Works),
    case("cover-receive", Cover(Page::Receive), Works),
    case("cover-disk", Cover(Page::Disk), Works),
    case("cover-answers", Cover(Page::Answers), Works),
    case("revoke-console", Revoke(Page::Console), Works),
    case("revoke-transmit", Revoke(Page::Transmit), Works),
    case("revoke-receive", Revoke(Page::Receive), Works),
    case("revoke-disk", Revoke(Page::Disk), Works),
    // All devices share one event channel.
    case("close-devices", Close(Channel::Devices), POWERS_OFF),
    case("close-power", Close(Channel::Power), POWERS_OFF),
    case("storm-devices", Storm(Channel::Devices, STORM), Works),
    case("storm-power", Storm(Channel::Power, STORM), Works),
];
