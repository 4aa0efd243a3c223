// SPDX-License-Identifier: GPL-3.0-or-later
//! The guest's side of discovery: what its memory, its grant table and its ports must contain so
//! that it finds its devices. dom0's side is [`crate::announce`].
//!
//! Each way of discovery is a module. A third one, such as XenStore nodes in a tree of the guest's
//! own, is another module and a branch in each `match` of this file. The rest of [`crate::domain`]
//! does not depend on the way.

mod device_page;
mod entries;
mod side;
mod xenstore;

use xen::Xen;
use xen::units::{DomId, GrantRef};

use super::error::BuildError;
use super::flavour::Flavour;
use super::layout::Layout;
use super::shell::{Ports, Shell};
use crate::config::Discovery;

pub(crate) use entries::PageEntries;
pub use side::{DevicePageDisk, DevicePageVif};
pub(super) use side::{GuestSide, SpecialPages};
pub use xenstore::{RingPage, XenStoreRings};

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

    fn describe(
        self,
        shell: &Shell,
        vifs: &[DevicePageVif],
        disks: &[DevicePageDisk],
    ) -> Result<(), BuildError> {
        match self {
            Self::DevicePage => device_page::DevicePage.describe(shell, vifs, disks),
            Self::XenStore => xenstore::XenStore.describe(shell, vifs, disks),
        }
    }
}
