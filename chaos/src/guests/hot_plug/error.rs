// SPDX-License-Identifier: GPL-3.0-or-later
//! Why the devices of a running guest were not changed.

use std::path::PathBuf;
use std::time::Duration;

use noxs_control::DeviceNumber;
use thiserror::Error;

use crate::failure::FailureClass;
use crate::guests::error::ended;
use crate::guests::state::GuestState;

/// Why the devices of a running guest were not changed.
#[derive(Debug, Error)]
pub enum HotPlugError {
    /// Another vif of the guest has the name.
    #[error("vifname = {vifname:?}: another vif of guest {name} has this name; choose another")]
    VifNameTaken {
        /// The guest.
        name: String,
        /// The name of the vif.
        vifname: String,
    },
    /// The guest finds its devices in XenStore.
    #[error(
        "guest {name} finds its devices in XenStore, which chaos {command} does not support: they stay \
         as they are until the guest is destroyed"
    )]
    InXenStore {
        /// The guest.
        name: String,
        /// The command.
        command: &'static str,
    },
    /// The guest is a member's.
    #[error(
        "guest {name} is user {owner}'s, for whom chaosd restarts it with the devices that the user \
         may have; have the user create it again with other devices"
    )]
    OfMember {
        /// The guest.
        name: String,
        /// The user.
        owner: u32,
    },
    /// An older chaos created the guest.
    #[error(
        "guest {name} was created by an older chaos, so its devices cannot be changed; destroy it \
         and create it again"
    )]
    OfOldGuest {
        /// The guest.
        name: String,
    },
    /// The guest is paused, so it cannot answer.
    #[error("guest {name} is paused, so it cannot answer; let it run with chaos unpause {name}")]
    OfPaused {
        /// The guest.
        name: String,
    },
    /// The guest has ended.
    #[error("guest {name} {}, so its devices cannot be changed", ended(*.state))]
    NotRunning {
        /// The guest.
        name: String,
        /// How it has ended.
        state: GuestState,
    },
    /// The guest does not support changes of its devices.
    #[error(
        "guest {name} does not support that its {device} {}: it was built for a device page older \
         than {}.{}, or without the feature hot-plug, or has no use for another one; {}",
        if *.can_force { "is removed while it runs" } else { "is added while it runs" },
        noxs::layout::VERSION_MAJOR,
        noxs::layout::VERSION_MINOR,
        if *.can_force { "use --force, or destroy the guest" } else { "create it again with the device" }
    )]
    Unsupported {
        /// The guest.
        name: String,
        /// The device.
        device: DeviceNumber,
        /// Whether the device can be removed without the guest.
        can_force: bool,
    },
    /// The guest has too little memory for the device.
    #[error(
        "guest {name} has not enough memory or grants for {device}; give it more memory and create \
         it again"
    )]
    NoRoomInGuest {
        /// The guest.
        name: String,
        /// The device.
        device: DeviceNumber,
    },
    /// The new vif has an IPv6 address, which the guest cannot use.
    #[error(
        "guest {name} was built without IPv6, so {device} cannot have an IPv6 address; give it an \
         IPv4 address only, or create the guest with a kernel that has the feature ipv6"
    )]
    NoIpv6 {
        /// The guest.
        name: String,
        /// The vif.
        device: DeviceNumber,
    },
    /// The guest has not done what its device page says.
    #[error(
        "guest {name} has not {} within {} s; {}",
        taken(*.device, *.adds),
        after.as_secs_f32(),
        if *.adds { "see chaos log, or try a longer --timeout" } else { "try again, or use --force" }
    )]
    TimedOut {
        /// The guest.
        name: String,
        /// The device.
        device: DeviceNumber,
        /// Whether the device was to be added.
        adds: bool,
        /// How long chaos waited.
        after: Duration,
    },
    /// The guest has as many vifs as it can have.
    #[error(
        "guest {name} has {} vifs, and a guest can have no more; detach one first",
        noxs::MAX_VIFS
    )]
    TooManyVifs {
        /// The guest.
        name: String,
    },
    /// The guest has as many devices as it can have.
    #[error(
        "guest {name} has no room for another device: a guest can have {} in all, with its console; \
         detach one first",
        noxs::MAX_DEVICES
    )]
    NoRoomForDevice {
        /// The guest.
        name: String,
    },
    /// The guest has a disk of the same name.
    #[error("guest {name} has a disk {vdev} already; choose another name, or detach that one")]
    DiskTwice {
        /// The guest.
        name: String,
        /// The name.
        vdev: String,
    },
    /// The guest has the file or block device as a disk already.
    #[error(
        "guest {name} has disk {path} already, as {vdev}; name another one, or remove that first: \
         chaos block-detach {name} {vdev}"
    )]
    DiskHeld {
        /// The guest.
        name: String,
        /// The file or block device.
        path: PathBuf,
        /// The name of the disk that the guest has.
        vdev: String,
    },
    /// The guest has no such device.
    #[error("guest {name} has no {kind} {device}; see chaos {command} {name}")]
    NoSuchDevice {
        /// The guest.
        name: String,
        /// The kind of device.
        kind: &'static str,
        /// What was asked for.
        device: String,
        /// The command that lists the devices.
        command: &'static str,
    },
}

impl HotPlugError {
    /// Returns the class of the failure.
    #[must_use]
    pub fn class(&self) -> FailureClass {
        match self {
            Self::InXenStore { .. }
            | Self::NoIpv6 { .. }
            | Self::VifNameTaken { .. }
            | Self::TooManyVifs { .. }
            | Self::NoRoomForDevice { .. }
            | Self::DiskTwice { .. }
            | Self::DiskHeld { .. }
            | Self::NoSuchDevice { .. } => FailureClass::WrongInput,
            Self::TimedOut { .. } => FailureClass::TimedOut,
            Self::OfMember { .. }
            | Self::OfOldGuest { .. }
            | Self::OfPaused { .. }
            | Self::NotRunning { .. }
            | Self::Unsupported { .. }
            | Self::NoRoomInGuest { .. } => FailureClass::Failed,
        }
    }
}

fn taken(device: DeviceNumber, adds: bool) -> String {
    match adds {
        true => format!("taken {device}"),
        false => format!("stopped using {device}"),
    }
}
