// SPDX-License-Identifier: MIT OR Apache-2.0
//! Requests that change while they are read.

use crate::Attack::Race as Races;
use crate::Outcome::{MayLose, Works};
use crate::{Case, Device, Race, case};

pub(crate) const CASES: &[Case] = &[
    case("race-frame-slot", Races(Race::FrameSlot), Works),
    case("race-frame-flags", Races(Race::FrameFlags), MayLose(Device::Vif)),
    case("race-frame-bytes", Races(Race::FrameBytes), Works),
    case("race-frame-grant", Races(Race::FrameGrant), Works),
    case("race-frame-index", Races(Race::FrameIndex), MayLose(Device::Vif)),
    case("race-disk-sector", Races(Race::DiskSector), Works),
    case("race-disk-operation", Races(Race::DiskOperation), Works),
    case("race-disk-segments", Races(Race::DiskSegments), Works),
    case("race-disk-list", Races(Race::DiskList), Works),
    case("race-disk-data", Races(Race::DiskData), Works),
    case("race-disk-grant", Races(Race::DiskGrant), Works),
    case("race-disk-answers", Races(Race::DiskAnswers), Works),
    case("race-console-bytes", Races(Race::ConsoleBytes), Works),
    case("race-console-index", Races(Race::ConsoleIndex), MayLose(Device::Console)),
];
