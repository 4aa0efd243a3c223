// SPDX-License-Identifier: GPL-3.0-or-later
//! What a shell is prepared for.

use xen::units::{KiB, Pages};

use crate::config::{Limits, Store};

/// The properties of a domain that must be known before its image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flavour {
    /// All memory of the guest, in KiB; a multiple of 4.
    pub memory: KiB,
    /// Number of virtual CPUs.
    pub vcpus: u32,
    /// Whether the domain has a console.
    pub console: bool,
    /// Number of network interfaces.
    pub vifs: u16,
    /// Number of disks that dom0 provides rings for; 0 if the guest creates their rings itself.
    pub disks: u16,
    /// What it may have more of than it starts with, or than usual.
    pub limits: Limits,
    /// How the guest finds its devices, and which backends serve them.
    pub store: Store,
}

impl Flavour {
    /// Returns the guest's memory in pages.
    #[must_use]
    pub fn memory_pages(&self) -> Pages {
        Pages(self.memory.0 / 4)
    }

    /// Returns the most memory that the guest may be given, in pages.
    #[must_use]
    pub fn max_memory_pages(&self) -> Pages {
        Pages(self.limits.memory.unwrap_or(self.memory).0 / 4)
    }

    /// Returns the number of vCPUs that the domain has, of which the guest starts with
    /// [`vcpus`](Self::vcpus).
    #[must_use]
    pub fn max_vcpus(&self) -> u32 {
        self.limits.vcpus.unwrap_or(self.vcpus)
    }
}
