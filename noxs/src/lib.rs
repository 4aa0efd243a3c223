//! The noxs device page: how a Xen guest finds its devices without XenStore.
//!
//! dom0 writes one 4 KiB page into the guest's memory before the guest runs. The page names every
//! device the guest has, with everything a frontend would otherwise have to negotiate: the event
//! channel port, the grant references and frame numbers of the ring pages, and the device's own
//! facts (MAC address, sectors, ...). The guest finds the page through the PVH boot modules (the
//! module whose command line is [`MODULE_NAME`]) and may use the devices with its first
//! instruction, because the rings are already granted and bound.
//!
//! The format is specified byte by byte in `docs/noxs-abi.md`; [`layout`] is the same table as
//! constants. Both ends build this crate, so that they cannot disagree.
//!
//! * [`DevicePage`] is the page's meaning. [`DevicePage::encode`] and [`DevicePage::decode`] turn
//!   it into bytes and back. Decoding is total: any 4096 bytes give a page or a [`PageError`].
//! * [`shared`] moves those bytes through memory that the other side may be changing meanwhile.
//!
//! dom0 keeps its own [`DevicePage`] and never reads the shared one back as truth.

#![no_std]

#[cfg(test)]
extern crate std;

mod codec;
mod device;
pub mod layout;
mod page;
pub mod shared;
mod sysctl;

pub use device::{
    Backend, Console, DeviceKind, DeviceState, Ipv4Config, MacAddr, MacAddrError, Ring, Vbd, Vif,
};
pub use layout::{MODULE_NAME, PAGE_SIZE};
pub use page::{Device, DevicePage, MAX_DEVICES, Overlay, PageError};
pub use sysctl::{Answer, AnswerStatus, Request, RequestId, Sysctl};
