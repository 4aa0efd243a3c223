// SPDX-License-Identifier: MIT OR Apache-2.0
//! Attacks of a guest on its backends, as data.
//!
//! The guest `hostile` carries out the [`Case`] that its command line names (`attack NAME`). The
//! system test `attacks` iterates over the same table and checks after each case that the guest has
//! harmed only itself. To add a case, add a row to the table of its family.
//!
//! A guest of a case has a console, a vif with an IPv4 address and a gateway, and two disks of
//! [`DISK_SECTORS`] with the content of [`content`]: the first may be written, the second may not.

#![no_std]

#[cfg(test)]
extern crate std;

mod disks;
mod ends;
mod frames;
mod hot;
mod indices;
mod pages;
mod races;

/// A case: a few lines of a table.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Its name, which is unique.
    pub name: &'static str,
    /// What the guest does.
    pub attack: Attack,
    /// What comes of it.
    pub outcome: Outcome,
}

/// What a guest does.
#[derive(Clone, Copy, Debug)]
pub enum Attack {
    /// Sets a word of a shared page, and notifies the backend.
    Word(Page, usize, Value),
    /// Puts these slots into the transmit ring, as one batch.
    Frames(&'static [Slot]),
    /// Posts pages for frames, by these grants, and lets dom0 send one.
    Receive(&'static [Grant]),
    /// Makes these requests to disks, one after the other.
    Disk(&'static [DiskRequest]),
    /// Changes requests, or what they name, while the backend reads them.
    Race(Race),
    /// Notifies the backend so many times, for nothing.
    Storm(Channel, u32),
    /// Returns a page to Xen.
    Balloon(Page),
    /// Maps another page where this one was.
    Cover(Page),
    /// Revokes the grant of a ring that the backend has mapped.
    Revoke(Page),
    /// Closes its end of an event channel.
    Close(Channel),
    /// Begins work, and dies before it is done.
    Die(Work, Death),
    /// Works until it is destroyed.
    Busy(Work),
    /// Answers a power request, or what comes near it, and does not power off.
    Answer(Answer),
}

/// What comes of an attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All requests are refused, and the guest's devices work afterwards.
    Refused,
    /// The guest's devices work afterwards.
    Works,
    /// The guest loses a device, for a reason that contains this text.
    Loses(Device, &'static str),
    /// The guest may lose this device. All others work.
    MayLose(Device),
    /// The guest shuts down and is in this state.
    Ends(&'static str),
    /// The guest goes on until it is destroyed.
    GoesOn,
    /// A command that asks the guest to power off fails at its deadline.
    Unanswered,
    /// A command that asks the guest to power off fails at once.
    ShutdownFails,
    /// The guest loses its console, for a reason that contains this text, when a client types.
    LosesWhenTyped(&'static str),
    /// A command that adds a device fails at once, and nothing of the device is left.
    AttachFails,
    /// A command that adds a device fails at its deadline, and nothing of the device is left.
    AttachUnanswered,
    /// Commands that add and remove a device believe the guest that it has taken and released it.
    AttachBelieved,
    /// The vif and the first disk are removed without asking the guest, which goes on using them.
    DetachedByForce,
}

/// A device of the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// The console.
    Console,
    /// The network interface.
    Vif,
    /// The first disk.
    Disk,
}

impl Device {
    /// Returns its name in `chaos list`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Console => "console",
            Self::Vif => "vif0",
            Self::Disk => "vbd0",
        }
    }
}

/// A page that the guest shares with dom0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// The console's rings.
    Console,
    /// The vif's transmit ring.
    Transmit,
    /// The vif's receive ring.
    Receive,
    /// The first disk's ring.
    Disk,
    /// The device page.
    Devices,
    /// The page with answers to power requests.
    Answers,
    /// The first page of the grant table, which the guest has mapped.
    Grants,
}

impl Page {
    /// Returns the device whose ring it is.
    #[must_use]
    pub const fn device(self) -> Option<Device> {
        match self {
            Self::Console => Some(Device::Console),
            Self::Transmit | Self::Receive => Some(Device::Vif),
            Self::Disk => Some(Device::Disk),
            Self::Devices | Self::Answers | Self::Grants => None,
        }
    }
}

/// An event channel to dom0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// That of all devices.
    Devices,
    /// That of power requests.
    Power,
}

/// A value of a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// This value.
    Set(u32),
    /// What is there, and so many more; wraps.
    Add(u32),
}

/// How a request names a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    /// A page that dom0 may read and write.
    Good,
    /// A page that dom0 may only read.
    ReadOnly,
    /// A reference as such.
    Number(u32),
    /// A grant that is revoked before the request is made.
    Revoked,
    /// A grant for another domain.
    Another,
    /// A grant of a frame that is not the guest's.
    NoFrame,
    /// A grant that offers a transfer, which `GTF_type` may say and no back end accepts.
    Transfer,
    /// The grant of a ring.
    Ring(Page),
}

/// A slot of the transmit ring. [`ARP`] is that of a good frame.
#[derive(Clone, Copy, Debug)]
pub struct Slot {
    /// The page. An ARP request is at [`FRAME_AT`] in a good one.
    pub grant: Grant,
    /// Offset of the frame in its page.
    pub offset: u16,
    /// Its length.
    pub size: u16,
    /// `NETTXF_*`.
    pub flags: u16,
    /// The slot as such, instead of all the other fields but the grant.
    pub extra: Option<xen_abi::io::netif::ExtraInfo>,
}

/// Where a good frame is in its page, and how long it is.
pub const FRAME_AT: u16 = 64;
/// See [`FRAME_AT`].
pub const FRAME_LENGTH: u16 = 42;

/// A good frame in one slot.
pub const ARP: Slot =
    Slot { grant: Grant::Good, offset: FRAME_AT, size: FRAME_LENGTH, flags: 0, extra: None };

/// A request to a disk.
#[derive(Clone, Copy, Debug)]
pub struct DiskRequest {
    /// Which disk: 0 may be written, 1 may not.
    pub disk: usize,
    /// `BLKIF_OP_*`. That of an indirect request is in `list`.
    pub operation: u8,
    /// First sector.
    pub sector: u64,
    /// Where the data is.
    pub segments: &'static [Segment],
    /// How many segments it claims to have; `None` for as many as there are.
    pub count: Option<u16>,
    /// What an indirect request has beyond that.
    pub list: Option<List>,
    /// What a discard has: its flag, and the number of sectors.
    pub discard: Option<(u8, u64)>,
}

/// The list of an indirect request's segments.
#[derive(Clone, Copy, Debug)]
pub struct List {
    /// Its page. Only a good one has the segments.
    pub grant: Grant,
    /// `indirect_op`.
    pub operation: u8,
}

/// A segment of a request.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    /// Its page.
    pub grant: Grant,
    /// First and last sector in it.
    pub first: u8,
    /// See `first`.
    pub last: u8,
}

/// What changes while it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Race {
    /// The page, offset and length of a frame.
    FrameSlot,
    /// Whether a frame has more slots.
    FrameFlags,
    /// The bytes of a frame, and so its sender.
    FrameBytes,
    /// The grant of a frame's page.
    FrameGrant,
    /// The index of the transmit ring, to and fro.
    FrameIndex,
    /// The sector of a request to a disk.
    DiskSector,
    /// The operation of a request to a disk.
    DiskOperation,
    /// The segments of a request to a disk.
    DiskSegments,
    /// The list of segments of an indirect request.
    DiskList,
    /// The data that is being written.
    DiskData,
    /// The grant of the data that is being written.
    DiskGrant,
    /// The answers of the disk, which the guest overwrites.
    DiskAnswers,
    /// What is being printed.
    ConsoleBytes,
    /// The index of what is being printed, to and fro.
    ConsoleIndex,
}

/// What a guest is busy with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Prints.
    Print,
    /// Sends frames, without waiting for answers.
    Send,
    /// Reads its disk, without waiting for answers.
    Read,
    /// Writes the scratch part of its disk, without waiting for answers.
    Write,
    /// Flushes its disk.
    Flush,
    /// Notifies on all event channels.
    Notify,
    /// All of that.
    All,
}

/// How a guest dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// It reports to Xen that it has crashed.
    Crash,
    /// It powers off.
    PowerOff,
    /// It faults without a handler.
    Fault,
}

/// What a guest does about power requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nothing.
    Nothing,
    /// It notifies for ever.
    Notify,
    /// It answers another request for ever.
    WrongNumber,
    /// It answers with a status that does not exist.
    WrongStatus,
    /// It fills the page with changing numbers for ever.
    Garbage,
    /// It says that it will power off, and does not.
    Lie,
    /// It returns the page for answers to Xen.
    BalloonAnswers,
    /// It returns the device page to Xen.
    BalloonDevices,
    /// It closes its end of the event channel.
    Close,
    /// It puts memory of its own in the place of the device page, and changes the page's generation
    /// for ever.
    Generation,
}

/// Sectors of each disk: 1 MiB.
pub const DISK_SECTORS: u64 = 2048;

/// First of the sectors at the end of the first disk that a case may change.
pub const SCRATCH: u64 = DISK_SECTORS - 128;

/// Returns the byte at an offset of a disk.
#[must_use]
pub const fn content(offset: u64) -> u8 {
    // Each sector differs from the next ones, and no byte is that of a hole.
    let [byte, ..] = (offset / 512 * 7 + offset % 251).to_le_bytes();
    byte | 1
}

/// The tables.
const FAMILIES: [&[Case]; 7] = [
    indices::CASES,
    frames::CASES,
    disks::CASES,
    races::CASES,
    pages::CASES,
    ends::CASES,
    hot::CASES,
];

/// Returns all cases.
pub fn cases() -> impl Iterator<Item = &'static Case> {
    FAMILIES.iter().copied().flatten()
}

/// Returns the case of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Case> {
    cases().find(|case| case.name == name)
}

/// Returns a row of a table.
const fn case(name: &'static str, attack: Attack, outcome: Outcome) -> Case {
    Case { name, attack, outcome }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn there_are_at_least_a_hundred_cases_and_each_has_a_name_of_its_own() {
        let names: BTreeSet<_> = cases().map(|case| case.name).collect();
        assert_eq!(names.len(), cases().count());
        assert!(names.len() >= 100, "{} cases", names.len());
        assert!(cases().all(|case| find(case.name).is_some_and(|found| found.name == case.name)));
    }
}
