// SPDX-License-Identifier: GPL-3.0-or-later
//! Builds PVH domains (`docs/architecture.md`).
//!
//! [`prepare()`] returns a [`Shell`]: a domain with memory, rings, grants and event channels, but
//! without an image. [`Shell::execute`] copies the image into it and returns a [`Ready`] domain,
//! which [`Ready::unpause`] starts. Until then, dropping the value destroys the domain, so a
//! failure at any step leaves nothing behind.
//!
//! Each module below uses only those above it:
//!
//! ```text
//! error      BuildError
//! flavour    what must be known of a domain before its image
//! layout     where the parts of a guest's memory are
//! page       fills a page of a guest's memory
//! acpi       the ACPI tables of a guest in XenStore mode
//! boot_page  start_info, command line and the first instructions
//! window     the mapped part of a domain's memory
//! grants     the grants of ring pages
//! memory     allocates memory
//! vcpus      creates vCPUs, and ports only after them
//! shell      Shell, which destroys its domain when dropped
//! discovery  what depends on how the guest finds its devices
//! plan       computes the layout for a flavour
//! paging     computes the size of the paging pool
//! prepare    the first half of a create
//! execute    the second half
//! tune       what few configs ask for, before the guest runs
//! ```

mod acpi;
mod boot_page;
mod discovery;
mod error;
mod execute;
mod flavour;
mod grants;
mod layout;
mod memory;
mod page;
mod paging;
mod plan;
mod prepare;
mod shell;
mod tune;
mod vcpus;
mod window;

pub(crate) use discovery::PageEntries;
pub use discovery::{DevicePageDisk, DevicePageVif, RingPage, XenStoreRings};
pub use error::BuildError;
pub use execute::{Mapped, Payload, Ready};
pub use flavour::Flavour;
pub(crate) use grants::noxs_grant;
pub use layout::{Layout, NoxsPages};
pub(crate) use layout::{OVERLAY_FRAMES, noxs_overlay};
pub use prepare::prepare;
pub use shell::{ParkedShell, Ports, Shell};
pub use tune::{TuneError, tune};
