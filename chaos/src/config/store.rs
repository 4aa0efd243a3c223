//! The key `store`: how a guest finds its devices, and who serves them.
//!
//! These are two choices, and each has a room where its ways stand side by side:
//!
//! - [`Discovery`], how the guest learns of its devices: `domain/discovery` is the part in the
//!   guest's memory, [`crate::announce`] the part in dom0.
//! - [`Backends`], who serves the devices: [`crate::backends`].
//!
//! [`Store`] is what a config may say, and this is the one place that derives both from it. A third
//! way, such as XenStore nodes that noxsd serves, is a variant here that combines the two.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What a config says of a guest's devices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Store {
    /// The device page, and noxsd.
    #[default]
    Noxs,
    /// Nodes in the host's XenStore, and dom0's kernel.
    XenStore,
}

/// How a guest learns of its devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Discovery {
    /// From the device page in its memory.
    DevicePage,
    /// From nodes in XenStore.
    XenStore,
}

/// Who serves a guest's devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Backends {
    /// noxsd.
    Noxsd,
    /// dom0's kernel, and xenconsoled for the console.
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

    /// Returns how such a guest learns of its devices.
    #[must_use]
    pub const fn discovery(self) -> Discovery {
        match self {
            Self::Noxs => Discovery::DevicePage,
            Self::XenStore => Discovery::XenStore,
        }
    }

    /// Returns who serves such a guest's devices.
    #[must_use]
    pub const fn backends(self) -> Backends {
        match self {
            Self::Noxs => Backends::Noxsd,
            Self::XenStore => Backends::Dom0Kernel,
        }
    }
}

impl Discovery {
    /// All ways: what has to be looked at where nothing says which one a domain has.
    pub const ALL: [Self; 2] = [Self::DevicePage, Self::XenStore];
}

impl Backends {
    /// All of them: what has to be looked at where nothing says which ones a domain has.
    pub const ALL: [Self; 2] = [Self::Noxsd, Self::Dom0Kernel];

    /// Whether they serve disks.
    #[must_use]
    pub const fn serve_disks(self) -> bool {
        matches!(self, Self::Dom0Kernel)
    }
}

impl FromStr for Store {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        [Self::Noxs, Self::XenStore].into_iter().find(|store| store.as_str() == text).ok_or(())
    }
}
