//! `public/grant_table.h`.

/// `struct grant_entry_v1`: u16 flags, u16 domid, u32 frame.
pub const GRANT_ENTRY_V1_SIZE: usize = 8;
pub const GRANT_ENTRY_DOMID: usize = 2;
pub const GRANT_ENTRY_FRAME: usize = 4;

pub const GTF_PERMIT_ACCESS: u16 = 1;
pub const GTF_READONLY: u16 = 4;

/// Status codes of grant operations.
pub const GNTST_OKAY: i16 = 0;
pub const GNTST_GENERAL_ERROR: i16 = -1;
pub const GNTST_BAD_DOMAIN: i16 = -2;
pub const GNTST_BAD_GNTREF: i16 = -3;
pub const GNTST_PERMISSION_DENIED: i16 = -8;
pub const GNTST_BAD_PAGE: i16 = -9;
pub const GNTST_BAD_COPY_ARG: i16 = -10;
pub const GNTST_EAGAIN: i16 = -12;
