// SPDX-License-Identifier: GPL-3.0-or-later
//! Why no backend serves a device of a guest.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::dom0_kernel::{DiskError, KernelError};
use super::nbd::NbdError;
use crate::clients::noxsd::BackendError;
use crate::clients::xenstored::StoreError;
use crate::records::RecordError;

/// Why no backend serves a device of a guest.
#[derive(Debug, Error)]
pub enum DevicesError {
    /// noxsd did not carry out a request.
    #[error(transparent)]
    Noxsd(#[from] BackendError),
    /// XenStore cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// dom0's kernel does not serve a device.
    #[error(transparent)]
    Dom0Kernel(#[from] KernelError),
    /// A disk cannot be used.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// What is behind a disk cannot be used.
    #[error(transparent)]
    Image(#[from] disk::DiskError),
    /// A disk image that is not raw cannot be used.
    #[error(transparent)]
    Nbd(#[from] NbdError),
    /// A relative target of a disk is neither in /dev nor in the working directory.
    #[error(
        "disk {target} does not exist: neither {in_dev} nor {here} is there; name another file, or \
         create it: truncate -s 64M {here}"
    )]
    NoDisk {
        /// The target.
        target: PathBuf,
        /// What it would be in /dev.
        in_dev: PathBuf,
        /// What it would be in the working directory.
        here: PathBuf,
    },
    /// Two disks of a guest are the same, and it may write one of them.
    #[error(
        "disks {first} and {second} of the guest are the same, {path}; remove one, or let the guest \
         only read both: access=r"
    )]
    SameDisk {
        /// The path of the second one.
        path: PathBuf,
        /// The name of the first one.
        first: String,
        /// The name of the second one.
        second: String,
    },
    /// A file of the records cannot be used.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A vif names a bridge that does not exist.
    #[error(
        "bridge {bridge} of the guest's vif does not exist; create it (ip link add {bridge} type \
         bridge; ip link set {bridge} up) or name another one with bridge= in the vif"
    )]
    NoBridge {
        /// The bridge.
        bridge: String,
    },
    /// A vif names an interface that is not a bridge, such as one of a VLAN.
    #[error(
        "{interface}, which the guest's vif names, is not a bridge; add it to one (ip link add NAME \
         type bridge; ip link set NAME up; ip link set {interface} master NAME) and name that one \
         with bridge= in the vif"
    )]
    NotABridge {
        /// The interface.
        interface: String,
    },
    /// A bridge does not carry the packets of a vif.
    #[error(
        "mtu = {mtu}: must be at most {most}, the MTU of {interface}, by which guests reach bridge \
         {bridge}; raise it: ip link set {interface} mtu {mtu}"
    )]
    Mtu {
        /// The MTU of the vif.
        mtu: u16,
        /// The bridge.
        bridge: String,
        /// The bridge, or its port.
        interface: String,
        /// The MTU of the interface.
        most: u32,
    },
    /// The tap on a bridge cannot be opened.
    #[error("cannot connect bridge {bridge} to noxsd")]
    Tap {
        /// The bridge.
        bridge: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}
