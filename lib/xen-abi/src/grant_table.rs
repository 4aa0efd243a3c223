// SPDX-License-Identifier: MIT OR Apache-2.0
//! `public/grant_table.h`.

use crate::PAGE_SIZE;

/// `struct grant_entry_v1`: u16 flags, u16 domid, u32 frame.
pub const GRANT_ENTRY_V1_SIZE: usize = 8;
pub const GRANT_ENTRY_DOMID: usize = 2;
pub const GRANT_ENTRY_FRAME: usize = 4;

/// Entries in one frame of the table.
pub const ENTRIES_PER_FRAME: usize = PAGE_SIZE / GRANT_ENTRY_V1_SIZE;

/// References below are reserved for the toolstack.
pub const GNTTAB_NR_RESERVED_ENTRIES: u32 = 8;
/// The reference by which xenconsoled maps the console's ring.
pub const GNTTAB_RESERVED_CONSOLE: u32 = 0;
/// The reference by which xenstored maps XenStore's ring.
pub const GNTTAB_RESERVED_XENSTORE: u32 = 1;

pub const GTF_PERMIT_ACCESS: u16 = 1;
pub const GTF_READONLY: u16 = 4;

/// Which side of a grant copy is a granted page.
pub const GNTCOPY_SOURCE_GREF: u16 = 1;
pub const GNTCOPY_DEST_GREF: u16 = 2;

/// Status codes of grant operations.
pub const GNTST_OKAY: i16 = 0;
pub const GNTST_GENERAL_ERROR: i16 = -1;
pub const GNTST_BAD_DOMAIN: i16 = -2;
pub const GNTST_BAD_GNTREF: i16 = -3;
pub const GNTST_PERMISSION_DENIED: i16 = -8;
pub const GNTST_BAD_PAGE: i16 = -9;
pub const GNTST_BAD_COPY_ARG: i16 = -10;
pub const GNTST_EAGAIN: i16 = -12;
