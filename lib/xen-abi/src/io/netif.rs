// SPDX-License-Identifier: MIT OR Apache-2.0
//! Network interfaces: `public/io/netif.h`.

use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Flags of [`TxRequest`]: the checksum is not filled in.
pub const NETTXF_CSUM_BLANK: u16 = 1;
/// The checksums are known to be right.
pub const NETTXF_DATA_VALIDATED: u16 = 2;
/// The frame continues in the next request.
pub const NETTXF_MORE_DATA: u16 = 4;
/// A descriptor of another kind follows.
pub const NETTXF_EXTRA_INFO: u16 = 8;

/// Flags of [`RxResponse`]: the checksums are known to be right.
pub const NETRXF_DATA_VALIDATED: u16 = 1;
/// The checksum is not filled in.
pub const NETRXF_CSUM_BLANK: u16 = 2;
/// The frame continues in the next response.
pub const NETRXF_MORE_DATA: u16 = 4;
/// A descriptor of another kind follows.
pub const NETRXF_EXTRA_INFO: u16 = 8;

/// Status of a response; that of [`RxResponse`] is the frame's length if it is not negative.
pub const NETIF_RSP_OKAY: i16 = 0;
pub const NETIF_RSP_ERROR: i16 = -1;
pub const NETIF_RSP_DROPPED: i16 = -2;
pub const NETIF_RSP_NULL: i16 = 1;

/// `struct netif_tx_request`: a frame, or a part of one, that the front end sends.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
pub struct TxRequest {
    /// Grant of the page that holds the data.
    pub gref: u32,
    /// Offset of the data in the page, in bytes.
    pub offset: u16,
    /// `NETTXF_*`.
    pub flags: u16,
    /// Returned in the response.
    pub id: u16,
    /// Length of the data in bytes; in the first of several requests, that of the whole frame.
    pub size: u16,
}
const _: () = assert!(size_of::<TxRequest>() == 12);

/// `struct netif_tx_response`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
pub struct TxResponse {
    /// As in the request.
    pub id: u16,
    /// `NETIF_RSP_*`.
    pub status: i16,
}
const _: () = assert!(size_of::<TxResponse>() == 4);

/// `struct netif_rx_request`: a page that the front end posts for a frame.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
pub struct RxRequest {
    /// Returned in the response.
    pub id: u16,
    pub pad: u16,
    /// Grant of the page.
    pub gref: u32,
}
const _: () = assert!(size_of::<RxRequest>() == 8);

/// `struct netif_rx_response`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
pub struct RxResponse {
    /// As in the request.
    pub id: u16,
    /// Offset of the frame in the page, in bytes.
    pub offset: u16,
    /// `NETRXF_*`.
    pub flags: u16,
    /// Length of the frame in bytes, or a negative `NETIF_RSP_*`.
    pub status: i16,
}
const _: () = assert!(size_of::<RxResponse>() == 8);
