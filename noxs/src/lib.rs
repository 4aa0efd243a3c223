// SPDX-License-Identifier: MIT OR Apache-2.0
//! The noxs device page: how a Xen guest finds its devices without XenStore.
//!
//! dom0 writes one 4 KiB page into the guest's memory before the guest runs. The page lists every
//! device of the guest, with everything a frontend would otherwise have to negotiate: the event
//! channel port, the grant references and frame numbers of the ring pages, and the device's own
//! parameters (MAC address, sectors, ...). The guest finds the page through the PVH boot modules
//! (the module whose command line is [`MODULE_NAME`]). It can use the devices from its first
//! instruction on, because the rings are already granted and the event channels bound.
//!
//! `docs/noxs-abi.md` specifies the format byte by byte; [`layout`] has the same table as
//! constants. Both ends build this crate, so they cannot disagree.
//!
//! * [`DevicePage`] is the decoded page. [`DevicePage::encode`] and [`DevicePage::decode`] convert
//!   it to bytes and back. Decoding is total: any 4096 bytes decode to a page or a [`PageError`].
//! * [`shared`] moves those bytes through memory that the other side may be writing to.
//!
//! dom0 keeps its own [`DevicePage`] and never trusts what it would read back from the shared one.

#![no_std]

#[cfg(test)]
extern crate std;

mod codec;
mod device;
pub mod eui64;
mod features;
pub mod layout;
mod page;
pub mod shared;
mod sysctl;

pub use device::{
    Backend, Console, DeviceKind, DeviceState, Discard, Geometry, Ipv4Config, Ipv6Config, MacAddr,
    MacAddrError, Ring, Vbd, Vif,
};
pub use features::VifFeatures;
pub use layout::{MAX_VIFS, MODULE_NAME, PAGE_SIZE};
pub use page::{Device, DevicePage, MAX_DEVICES, MAX_RING_PAGES, Overlay, PageError};
pub use sysctl::{Answer, AnswerStatus, Request, RequestId, Sysctl};
