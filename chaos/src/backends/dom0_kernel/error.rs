// SPDX-License-Identifier: GPL-3.0-or-later
//! Why dom0's kernel does not serve a device.

use nix::errno::Errno;
use thiserror::Error;

use super::script::ScriptError;
use crate::escape;

/// Why dom0's kernel does not serve a device.
#[derive(Debug, Error)]
pub enum KernelError {
    /// It did not create an announced device, because it has no driver for it.
    #[error(
        "dom0's kernel has not created {device}, for which it has no driver; load the module: \
         modprobe {module}"
    )]
    NoDriver {
        /// The device, as its node below `backend`.
        device: String,
        /// The driver's module.
        module: &'static str,
    },
    /// A driver refused an announced device.
    #[error("dom0's kernel has not created {device}: {}", escape::line(reason))]
    NoDevice {
        /// The device, as its node below `backend`.
        device: String,
        /// What the driver has written into XenStore.
        reason: String,
    },
    /// Another interface of dom0 has the name.
    #[error("cannot rename {interface}: dom0 has an interface {name}; choose another vifname=")]
    NameTaken {
        /// The interface.
        interface: String,
        /// Its `vifname=`.
        name: String,
    },
    /// A script has not connected the guest's interface.
    #[error(transparent)]
    Script(#[from] ScriptError),
    /// The guest's interface cannot be added to its bridge.
    #[error("cannot add {interface} to bridge {bridge}")]
    Interface {
        /// The interface in dom0.
        interface: String,
        /// The bridge.
        bridge: String,
        /// The kernel's error.
        #[source]
        errno: Errno,
    },
}
