// SPDX-License-Identifier: MIT OR Apache-2.0
//! What noxsd reports of a domain's devices.

use bincode::{Decode, Encode};

use crate::DomainId;

/// The state of a domain's devices.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct DomainStatus {
    /// The domain.
    pub id: DomainId,
    /// The state of each device.
    pub devices: Vec<DeviceStatus>,
}

/// How much has passed the vifs and disks of a domain.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct DomainCounters {
    /// The domain.
    pub id: DomainId,
    /// Its vifs and disks.
    pub devices: Vec<CountedDevice>,
}

impl DomainCounters {
    /// Returns how many bytes one with this many devices takes in memory.
    #[must_use]
    pub const fn size(devices: usize) -> usize {
        size_of::<Self>() + devices * size_of::<CountedDevice>()
    }
}

/// A vif or disk, and how much has passed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct CountedDevice {
    /// Its number among those of its kind.
    pub index: u16,
    /// Its kind, and how much has passed it.
    pub counters: DeviceCounters,
}

/// The state of a device.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct DeviceStatus {
    /// `console`, `vif0`, `vbd0`, ...
    pub name: String,
    /// What cost the guest the device; `None` if the device works.
    pub broken: Option<String>,
    /// How much has passed the device.
    pub counters: DeviceCounters,
}

/// How much has passed a device since it was attached, by kind of device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum DeviceCounters {
    /// A console.
    Console(ConsoleStatus),
    /// A network interface.
    Vif(VifStatus),
    /// A disk.
    Vbd(VbdStatus),
}

/// How much has passed a console.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct ConsoleStatus {
    /// Bytes that the guest printed.
    pub from_guest_bytes: u64,
    /// Bytes of input that the guest was sent.
    pub to_guest_bytes: u64,
}

/// How much has passed a network interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct VifStatus {
    /// Bytes from the guest.
    pub from_guest_bytes: u64,
    /// Frames from the guest.
    pub from_guest_frames: u64,
    /// Bytes to the guest.
    pub to_guest_bytes: u64,
    /// Frames to the guest.
    pub to_guest_frames: u64,
    /// Frames that were dropped: malformed, from a wrong source, over a limit on broadcasts, or for
    /// a guest that had posted no page for them.
    pub dropped_frames: u64,
}

/// How much has passed a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct VbdStatus {
    /// Bytes that the guest has read.
    pub read_bytes: u64,
    /// Requests that have read.
    pub read_requests: u64,
    /// Bytes that the guest has written.
    pub written_bytes: u64,
    /// Requests that have written, with barriers.
    pub write_requests: u64,
    /// Flushes.
    pub flush_requests: u64,
    /// Discards.
    pub discard_requests: u64,
    /// Requests that failed: malformed, outside of the disk, not supported, or with an error of the
    /// storage.
    pub failed_requests: u64,
}
