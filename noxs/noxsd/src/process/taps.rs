// SPDX-License-Identifier: GPL-3.0-or-later
//! Opens the taps of the bridges that are known when noxsd starts, which needs root.

use std::io;
use std::os::fd::OwnedFd;

use daemon::chain::chain;

use crate::control::records::Recorded;

/// Why a bridge cannot be reached.
#[derive(Debug, thiserror::Error)]
pub enum OpenTapError {
    /// There is no such interface.
    #[error(
        "cannot create a tap for bridge {bridge}: there is no such interface; create it: ip link \
         add {bridge} type bridge"
    )]
    NoInterface {
        /// Name of the bridge.
        bridge: String,
    },
    /// The interface is not a bridge.
    #[error(
        "cannot create a tap for bridge {bridge}: the interface is not a bridge; name another, or \
         create one: ip link add NAME type bridge"
    )]
    NotABridge {
        /// Name of the interface.
        bridge: String,
    },
    /// The kernel has no driver for taps.
    #[error(
        "cannot create a tap for bridge {bridge}: the kernel has no driver for taps; load it: \
         modprobe tun"
    )]
    NoDriver {
        /// Name of the bridge.
        bridge: String,
    },
    /// Another system call failed.
    #[error("cannot create a tap for bridge {bridge}")]
    System {
        /// Name of the bridge.
        bridge: String,
        /// The system's answer.
        #[source]
        error: io::Error,
    },
}

impl OpenTapError {
    fn new(bridge: &str, error: io::Error) -> Self {
        let bridge = bridge.to_owned();
        match error.raw_os_error() {
            Some(libc::ENODEV) => Self::NoInterface { bridge },
            Some(libc::EOPNOTSUPP) => Self::NotABridge { bridge },
            Some(libc::ENOENT | libc::ENXIO) => Self::NoDriver { bridge },
            _ => Self::System { bridge, error },
        }
    }
}

/// Opens one tap for each bridge: the `wanted` ones, and those of the domains that an earlier noxsd
/// served.
///
/// # Errors
/// A wanted bridge cannot be reached. For one of the others a warning is logged.
pub(super) fn open<'a>(
    wanted: &'a [String],
    recorded: impl Iterator<Item = &'a Recorded>,
) -> Result<Vec<(String, OwnedFd)>, OpenTapError> {
    let used = recorded.flat_map(|record| record.attach.vifs.iter().map(|vif| &vif.bridge));
    let bridges: Vec<&String> = wanted.iter().chain(used).collect();
    let mut taps = Vec::new();
    for (number, bridge) in bridges.iter().enumerate() {
        if bridges[..number].contains(bridge) {
            continue;
        }
        match tap::open_on_bridge(bridge) {
            Ok(tap) => taps.push(((*bridge).clone(), tap)),
            Err(error) => {
                let error = OpenTapError::new(bridge, error);
                if number < wanted.len() {
                    return Err(error);
                }
                // The domains on it are refused later, each with a warning.
                tracing::warn!("{}", chain(&error));
            }
        }
    }
    Ok(taps)
}
