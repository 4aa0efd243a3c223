// SPDX-License-Identifier: GPL-3.0-or-later
//! Why XenStore cannot be used.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use nix::errno::Errno;
use thiserror::Error;

/// Why XenStore, or a device that is announced in it, cannot be used.
#[derive(Debug, Error)]
pub enum StoreError {
    /// xenstored does not run.
    #[error(
        "xenstored is not running (no process listens on {path}); start xenstored and xenconsoled, \
         or create the guest with store=\"noxs\""
    )]
    NotRunning {
        /// The socket.
        path: PathBuf,
    },
    /// The kernel's device for XenStore cannot be used.
    #[error("cannot open {path}; mount devtmpfs, and start xenstored before the guest is created")]
    Xenbus {
        /// The device.
        path: PathBuf,
        /// The kernel's error.
        #[source]
        source: io::Error,
    },
    /// A program did not answer in time.
    #[error("{program} has not answered within {} s", after.as_secs())]
    Silent {
        /// The program that was asked.
        program: &'static str,
        /// How long it was given.
        after: Duration,
    },
    /// The connection broke.
    #[error("the connection to xenstored is lost; check that xenstored runs")]
    Lost(#[source] io::Error),
    /// The answer belongs to another request.
    #[error("xenstored's answer does not match the request")]
    Unexpected,
    /// A request was refused.
    #[error("xenstored refuses to {doing}: {reason}")]
    Refused {
        /// The request.
        doing: String,
        /// The name of the error that it returned.
        reason: String,
    },
    /// dom0's kernel did not create an announced device.
    #[error("dom0's kernel has not created {device}: {reason}")]
    NoDevice {
        /// The device, as its node below `backend`.
        device: String,
        /// Why, and the remedy.
        reason: String,
    },
    /// The guest's interface cannot be added to its bridge.
    #[error("cannot add {interface} to bridge {bridge}")]
    Bridge {
        /// The interface in dom0.
        interface: String,
        /// The bridge.
        bridge: String,
        /// The kernel's error.
        #[source]
        errno: Errno,
    },
    /// There is no such bridge.
    #[error(
        "bridge {bridge} of the guest's vif does not exist; create it (ip link add {bridge} type \
         bridge; ip link set {bridge} up) or name another one with bridge= in the vif"
    )]
    NoBridge {
        /// The bridge.
        bridge: String,
    },
}
