// SPDX-License-Identifier: MIT OR Apache-2.0
//! XenStore's messages and its page: `public/io/xs_wire.h`.

use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Types of messages (`enum xsd_sockmsg_type`).
pub const XS_CONTROL: u32 = 0;
pub const XS_DIRECTORY: u32 = 1;
pub const XS_READ: u32 = 2;
pub const XS_GET_PERMS: u32 = 3;
pub const XS_WATCH: u32 = 4;
pub const XS_UNWATCH: u32 = 5;
pub const XS_TRANSACTION_START: u32 = 6;
pub const XS_TRANSACTION_END: u32 = 7;
pub const XS_INTRODUCE: u32 = 8;
pub const XS_RELEASE: u32 = 9;
pub const XS_GET_DOMAIN_PATH: u32 = 10;
pub const XS_WRITE: u32 = 11;
pub const XS_MKDIR: u32 = 12;
pub const XS_RM: u32 = 13;
pub const XS_SET_PERMS: u32 = 14;
pub const XS_WATCH_EVENT: u32 = 15;
pub const XS_ERROR: u32 = 16;
pub const XS_IS_DOMAIN_INTRODUCED: u32 = 17;
pub const XS_RESUME: u32 = 18;
pub const XS_SET_TARGET: u32 = 19;
pub const XS_RESET_WATCHES: u32 = 21;
pub const XS_DIRECTORY_PART: u32 = 22;

/// `struct xsd_sockmsg`: the header of each message, followed by `len` bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
pub struct SockMsg {
    /// `XS_*`.
    pub kind: u32,
    pub req_id: u32,
    pub tx_id: u32,
    pub len: u32,
}
const _: () = assert!(size_of::<SockMsg>() == 16);

/// The most bytes after a [`SockMsg`].
pub const XENSTORE_PAYLOAD_MAX: usize = 4096;
/// The longest absolute path and the longest relative path, in bytes.
pub const XENSTORE_ABS_PATH_MAX: usize = 3072;
pub const XENSTORE_REL_PATH_MAX: usize = 2048;

/// Bytes of each of the page's two rings.
pub const XENSTORE_RING_SIZE: usize = 1024;

/// Offsets in `struct xenstore_domain_interface`: requests, responses and their indices.
pub const REQ: usize = 0;
pub const RSP: usize = REQ + XENSTORE_RING_SIZE;
pub const REQ_CONS: usize = RSP + XENSTORE_RING_SIZE;
pub const REQ_PROD: usize = REQ_CONS + 4;
pub const RSP_CONS: usize = REQ_PROD + 4;
pub const RSP_PROD: usize = RSP_CONS + 4;
pub const SERVER_FEATURES: usize = RSP_PROD + 4;
pub const CONNECTION: usize = SERVER_FEATURES + 4;
pub const ERROR: usize = CONNECTION + 4;

/// Bits of the word at [`SERVER_FEATURES`].
pub const XENSTORE_SERVER_FEATURE_RECONNECTION: u32 = 1;
pub const XENSTORE_SERVER_FEATURE_ERROR: u32 = 2;

/// Values of the word at [`CONNECTION`].
pub const XENSTORE_CONNECTED: u32 = 0;
pub const XENSTORE_RECONNECT: u32 = 1;

/// Values of the word at [`ERROR`].
pub const XENSTORE_ERROR_NONE: u32 = 0;
pub const XENSTORE_ERROR_COMM: u32 = 1;
pub const XENSTORE_ERROR_RINGIDX: u32 = 2;
pub const XENSTORE_ERROR_PROTO: u32 = 3;
