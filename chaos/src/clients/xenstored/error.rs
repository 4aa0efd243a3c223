//! Why a guest's devices cannot be announced.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use nix::errno::Errno;
use thiserror::Error;

/// Why XenStore, or a device that is announced in it, cannot be used.
#[derive(Debug, Error)]
pub enum StoreError {
    /// No process listens.
    #[error(
        "xenstored is not running (no process listens on {path}); start xenstored and xenconsoled, \
         or create the guest with store=\"noxs\""
    )]
    NotRunning {
        /// The socket.
        path: PathBuf,
    },
    /// The kernel's own way to XenStore is missing.
    #[error("cannot open {path}; mount devtmpfs, and start xenstored before the guest is created")]
    Xenbus {
        /// The device.
        path: &'static str,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// No answer in time.
    #[error("{program} has not answered within {} s", after.as_secs())]
    Silent {
        /// The program that was asked.
        program: &'static str,
        /// How long it was given.
        after: Duration,
    },
    /// The connection broke.
    #[error("the connection to xenstored is lost")]
    Lost(#[source] io::Error),
    /// The answer belongs to another request.
    #[error("xenstored's answer does not match the request")]
    Unexpected,
    /// A request was refused.
    #[error("xenstored refuses to {doing}: {reason}")]
    Refused {
        /// What was asked.
        doing: String,
        /// Its answer, an error's name.
        reason: String,
    },
    /// dom0's kernel did not create a device that was announced.
    #[error("dom0's kernel has not created {device}: {reason}")]
    NoDevice {
        /// Which device, by its node below `backend`.
        device: String,
        /// Why, and what to do.
        reason: String,
    },
    /// The guest's interface cannot be put on its bridge.
    #[error("{interface} cannot be put on bridge {bridge}")]
    Bridge {
        /// The interface in dom0.
        interface: String,
        /// The bridge.
        bridge: String,
        /// The kernel's answer.
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
