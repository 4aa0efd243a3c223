// SPDX-License-Identifier: GPL-3.0-or-later
//! The key `store`: how a guest discovers its devices, and what serves them.
//!
//! These are two choices, each with a folder of its own:
//!
//! - [`Discovery`], how the guest discovers its devices. `domain/discovery` is the part in the
//!   guest's memory, [`crate::announce`] the part in dom0.
//! - [`Backends`], what serves the devices: [`crate::backends`].
//!
//! [`Store`] is the value in a config. Only this module derives the two choices from it. Another
//! combination, such as XenStore nodes with noxsd's devices, is one more variant of [`Store`].

use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The value of `store=`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Store {
    /// The device page and noxsd.
    #[default]
    Noxs,
    /// Nodes in the host's XenStore and dom0's kernel.
    XenStore,
}

/// How a guest discovers its devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Discovery {
    /// From the device page in its memory.
    DevicePage,
    /// From nodes in XenStore.
    XenStore,
}

/// What serves a guest's devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Backends {
    /// The process noxsd.
    Noxsd,
    /// The kernel of dom0, and xenconsoled for the console.
    Dom0Kernel,
}

impl Store {
    /// Returns its name in configs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Noxs => "noxs",
            Self::XenStore => "xenstore",
        }
    }

    /// Returns how a guest with this value discovers its devices.
    #[must_use]
    pub const fn discovery(self) -> Discovery {
        match self {
            Self::Noxs => Discovery::DevicePage,
            Self::XenStore => Discovery::XenStore,
        }
    }

    /// Returns what serves the devices of a guest with this value.
    #[must_use]
    pub const fn backends(self) -> Backends {
        match self {
            Self::Noxs => Backends::Noxsd,
            Self::XenStore => Backends::Dom0Kernel,
        }
    }
}

impl Discovery {
    /// All variants, for domains of which it is not known which one they use.
    pub const ALL: [Self; 2] = [Self::DevicePage, Self::XenStore];
}

impl Backends {
    /// All variants, for domains of which it is not known which one they use.
    pub const ALL: [Self; 2] = [Self::Noxsd, Self::Dom0Kernel];
}

impl FromStr for Store {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        [Self::Noxs, Self::XenStore].into_iter().find(|store| store.as_str() == text).ok_or(())
    }
}
