// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who may use which grant references of a guest that the project's toolstack builds
//! (`docs/noxs-abi.md`).
//!
//! Xen reserves those below [`FIRST_TOOLSTACK`]. The toolstack uses those from there to
//! [`FIRST_GUEST`] for the ring pages, also while the guest runs; all others belong to the guest.

use crate::grant_table::GNTTAB_NR_RESERVED_ENTRIES;

/// First reference that the toolstack uses: the first that Xen does not reserve.
pub const FIRST_TOOLSTACK: u32 = GNTTAB_NR_RESERVED_ENTRIES;

/// First reference that the guest may use.
pub const FIRST_GUEST: u32 = 64;
