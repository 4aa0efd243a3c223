// SPDX-License-Identifier: GPL-3.0-or-later
//! Tests of attached domains on a fake Xen, with the tests as guests; one file for each subject.

mod attach;
mod configure;
mod configure_order;
mod console;
mod disks;
mod faults;
mod floods;
mod frames;
mod hot_plug;
mod long_frames;
mod mapped_frames;
mod restart;
mod rules;
mod several_vifs;
mod shared_port;
mod storms;
mod waiting;

use std::time::Duration;

use crate::net::frontend;
use noxs::MacAddr;
use noxs_control::{
    AddressOwner, Attach, ConsoleRole, ConsoleStatus, ConsoleUse, DeviceCounters, DomainId,
    MAX_DROPPED, Rate, Refusal, Reply, VifDevice, VifIdentity,
};
use xen_ring::{NetTx, Protocol};

use super::bed::*;
use super::*;
use crate::console::ClientId;
use crate::console::frontend as console_frontend;
use crate::net::frame::build;
use xen_ring::SharedPage;
