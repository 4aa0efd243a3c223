//! The guest's side of discovery: what its memory, its grant table and its ports must contain so
//! that it finds its devices. dom0's side is [`crate::announce`].
//!
//! Each way of discovery is a module. A third one, such as XenStore nodes in a tree of the guest's
//! own, is another module and a branch in each `match` of this file. The rest of [`crate::domain`]
//! does not depend on the way.

mod device_page;
mod xenstore;

use xen::Xen;
use xen::units::{DomId, Gfn, GrantRef};

use super::error::BuildError;
use super::execute::DevicePageVif;
use super::flavour::Flavour;
use super::layout::{Layout, NoxsPages};
use super::shell::{Ports, Shell};
use crate::config::Discovery;

pub(super) use device_page::ring_grant as noxs_grant;
pub use xenstore::{RingPage, XenStoreRings};

/// The places of a domain's special pages behind the boot page.
pub(super) struct SpecialPages {
    /// The pages of noxs.
    pub(super) noxs: Option<NoxsPages>,
    /// The page of ACPI tables.
    pub(super) acpi: Option<Gfn>,
    /// The first ring page and the number of ring pages.
    pub(super) rings: Gfn,
    pub(super) ring_count: u64,
}

/// What a way of discovery decides while a domain is prepared and executed.
///
/// The ways are types without fields, so a call costs one branch in a create and no lookup in a
/// vtable.
pub(super) trait GuestSide: Copy {
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
    fn describe(self, shell: &Shell, vifs: &[DevicePageVif]) -> Result<(), BuildError>;
}

/// Selects the module of the way.
impl GuestSide for Discovery {
    fn paging_pages(self) -> u64 {
        match self {
            Self::DevicePage => device_page::DevicePage.paging_pages(),
            Self::XenStore => xenstore::XenStore.paging_pages(),
        }
    }

    fn max_grant_frames(self) -> i32 {
        match self {
            Self::DevicePage => device_page::DevicePage.max_grant_frames(),
            Self::XenStore => xenstore::XenStore.max_grant_frames(),
        }
    }

    fn special_pages(self, flavour: &Flavour, next: u64) -> SpecialPages {
        match self {
            Self::DevicePage => device_page::DevicePage.special_pages(flavour, next),
            Self::XenStore => xenstore::XenStore.special_pages(flavour, next),
        }
    }

    fn has_device_port(self, flavour: &Flavour) -> bool {
        match self {
            Self::DevicePage => device_page::DevicePage.has_device_port(flavour),
            Self::XenStore => xenstore::XenStore.has_device_port(flavour),
        }
    }

    fn ring_grant(self, ring: u64) -> GrantRef {
        match self {
            Self::DevicePage => device_page::DevicePage.ring_grant(ring),
            Self::XenStore => xenstore::XenStore.ring_grant(ring),
        }
    }

    fn finish(
        self,
        xen: &Xen,
        domid: DomId,
        layout: &Layout,
        ports: &Ports,
    ) -> Result<&'static str, BuildError> {
        match self {
            Self::DevicePage => device_page::DevicePage.finish(xen, domid, layout, ports),
            Self::XenStore => xenstore::XenStore.finish(xen, domid, layout, ports),
        }
    }

    fn describe(self, shell: &Shell, vifs: &[DevicePageVif]) -> Result<(), BuildError> {
        match self {
            Self::DevicePage => device_page::DevicePage.describe(shell, vifs),
            Self::XenStore => xenstore::XenStore.describe(shell, vifs),
        }
    }
}
