// SPDX-License-Identifier: GPL-3.0-or-later
//! What every way of discovery decides about a guest.

use noxs::{Discard, Geometry, Ipv4Config, Ipv6Config, MacAddr};
use xen::Xen;
use xen::units::{DomId, Gfn, GrantRef};

use crate::domain::error::BuildError;
use crate::domain::flavour::Flavour;
use crate::domain::layout::{Layout, NoxsPages};
use crate::domain::shell::{Ports, Shell};

/// A vif, as the device page describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DevicePageVif {
    /// Its MAC address.
    pub mac: MacAddr,
    /// Largest IP packet in bytes.
    pub mtu: u16,
    /// Its IPv4 address, if the config has one.
    pub ipv4: Option<Ipv4Config>,
    /// Its IPv6 address, if the config has one.
    pub ipv6: Option<Ipv6Config>,
}

/// A disk, as the device page describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DevicePageDisk {
    /// Its size and that of its sectors.
    pub geometry: Geometry,
    /// What the guest may discard.
    pub discard: Option<Discard>,
}

/// The places of a domain's special pages behind the boot page.
pub(in crate::domain) struct SpecialPages {
    /// The pages of noxs.
    pub(in crate::domain) noxs: Option<NoxsPages>,
    /// The page of ACPI tables.
    pub(in crate::domain) acpi: Option<Gfn>,
    /// The first ring page and the number of ring pages.
    pub(in crate::domain) rings: Gfn,
    pub(in crate::domain) ring_count: u64,
    /// The first overlay frame.
    pub(in crate::domain) overlay: Gfn,
}

/// What a way of discovery decides while a domain is prepared and executed.
///
/// The ways are types without fields, so a call costs one branch in a create and no lookup in a
/// vtable.
pub(in crate::domain) trait GuestSide: Copy {
    /// Returns how many pages the paging pool needs in addition to those of each domain.
    fn paging_pages(self) -> u64;

    /// Returns the limit of grant table frames; -1 stands for Xen's default.
    fn max_grant_frames(self) -> i32;

    /// Returns the places of the special pages. `next` is the frame behind the boot page.
    fn special_pages(self, flavour: &Flavour, next: u64) -> SpecialPages;

    /// Returns whether dom0 allocates a second port, [`Ports::devices`].
    fn has_device_port(self, flavour: &Flavour) -> bool;

    /// Returns the grant reference of a ring page, given its number in the layout.
    fn ring_grant(self, ring: u64) -> GrantRef;

    /// Does the last step of this way in a shell, and returns its name for the timings.
    ///
    /// # Errors
    /// Xen refuses.
    fn finish(
        self,
        xen: &Xen,
        domid: DomId,
        layout: &Layout,
        ports: &Ports,
    ) -> Result<&'static str, BuildError>;

    /// Writes the description of the guest's devices into its memory.
    ///
    /// # Errors
    /// The guest has more devices than fit into the device page.
    fn describe(
        self,
        shell: &Shell,
        vifs: &[DevicePageVif],
        disks: &[DevicePageDisk],
    ) -> Result<(), BuildError>;
}
