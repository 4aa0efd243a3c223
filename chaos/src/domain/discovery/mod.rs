//! The guest's side of discovery: what its memory, its grant table and its ports have so that it
//! finds its devices. dom0's side is [`crate::announce`].
//!
//! A third way, such as XenStore nodes in a tree of the guest's own, is a file beside the two here
//! and a branch in each `match` of this file; nothing else in [`crate::domain`] asks which way a
//! domain has.

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

/// Where a domain's special pages behind the boot page are.
pub(super) struct SpecialPages {
    /// The pages of noxs.
    pub(super) noxs: Option<NoxsPages>,
    /// The page of ACPI tables.
    pub(super) acpi: Option<Gfn>,
    /// The first ring page, and how many there are.
    pub(super) rings: Gfn,
    pub(super) ring_count: u64,
}

/// What a way of discovery decides about a domain while it is prepared and executed.
///
/// Both ways are values without content, so that each call is a branch and no table of functions is
/// needed on the path of a create.
pub(super) trait GuestSide: Copy {
    /// Returns how many pages the paging pool needs beside what each domain needs.
    fn paging_pages(self) -> u64;

    /// Returns how many frames the grant table may have; -1 stands for Xen's default.
    fn max_grant_frames(self) -> i32;

    /// Returns where the special pages are. `next` is the frame behind the boot page.
    fn special_pages(self, flavour: &Flavour, next: u64) -> SpecialPages;

    /// Returns whether dom0 allocates a second port, [`Ports::devices`].
    fn has_device_port(self, flavour: &Flavour) -> bool;

    /// Returns the grant reference of a ring page, counted in the order of the layout.
    fn ring_grant(self, ring: u64) -> GrantRef;

    /// Finishes a shell's part, and returns the name of this stage.
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

    /// Writes into the guest's memory what is known only with the guest.
    ///
    /// # Errors
    /// The guest has more devices than fit.
    fn describe(self, shell: &Shell, vifs: &[DevicePageVif]) -> Result<(), BuildError>;
}

/// The one place where the way is looked at.
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
