// SPDX-License-Identifier: GPL-3.0-or-later
//! Adds vifs and disks to running guests, removes them, and lists them (`docs/hot-plug.md`).
//!
//! ```text
//! session  one guest whose devices change: its record, its device file, its device page
//! add      adds a vif or a disk
//! remove   removes a vif or a disk
//! list     lists vifs and disks
//! error    why devices were not changed
//! ```
//!
//! The record says which device is being added or removed before anything is done for it. If the
//! process is killed, the next one that has to do with the guest's devices, or that lists the guests,
//! withdraws the device.

mod add;
mod error;
mod list;
mod remove;
mod session;

pub use add::{AttachedDisk, AttachedVif, attach_disk, attach_vif};
pub use error::HotPlugError;
pub use list::{DeviceStatus, ListedDisk, ListedGuestVif, list_disks, list_vifs};
pub use remove::{DetachOptions, detach_disk, detach_vif};
pub(super) use session::{MOST_SPECIAL_PAGES, withdraw_leftover};
