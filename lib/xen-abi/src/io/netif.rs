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

/// Most slots with data of one frame: as many as a front end or back end must be able to handle
/// (`XEN_NETIF_NR_SLOTS_MIN`).
pub const SLOTS_OF_FRAME: usize = 18;

/// Kinds of [`ExtraInfo`].
pub const XEN_NETIF_EXTRA_TYPE_NONE: u8 = 0;
/// How the frame is to be segmented.
pub const XEN_NETIF_EXTRA_TYPE_GSO: u8 = 1;
/// The number of kinds.
pub const XEN_NETIF_EXTRA_TYPE_MAX: u8 = 5;
/// Flag of [`ExtraInfo`]: another one follows.
pub const XEN_NETIF_EXTRA_FLAG_MORE: u8 = 1;
/// Kinds of segmentation: TCP over IPv4, and over IPv6.
pub const XEN_NETIF_GSO_TYPE_TCPV4: u8 = 1;
pub const XEN_NETIF_GSO_TYPE_TCPV6: u8 = 2;

/// `struct netif_extra_info` with the union's member `gso`. It follows the first request or
/// response of a frame, in a slot of its own.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
pub struct ExtraInfo {
    /// `XEN_NETIF_EXTRA_TYPE_*`.
    pub kind: u8,
    /// `XEN_NETIF_EXTRA_FLAG_*`.
    pub flags: u8,
    /// Bytes of data in each segment but the last.
    pub size: u16,
    /// `XEN_NETIF_GSO_TYPE_*`.
    pub gso_type: u8,
    pub pad: u8,
    /// No feature is defined.
    pub features: u16,
}
const _: () = assert!(size_of::<ExtraInfo>() == 8);

impl From<TxRequest> for ExtraInfo {
    /// Reads the slot of a request as an extra info.
    fn from(slot: TxRequest) -> Self {
        let [kind, flags, low, high] = slot.gref.to_ne_bytes();
        let size = u16::from_ne_bytes([low, high]);
        let [gso_type, pad] = slot.offset.to_ne_bytes();
        Self { kind, flags, size, gso_type, pad, features: slot.flags }
    }
}

impl From<ExtraInfo> for TxRequest {
    /// Returns the slot of a request that holds the extra info.
    fn from(extra: ExtraInfo) -> Self {
        let ExtraInfo { kind, flags, size, gso_type, pad, features } = extra;
        let [low, high] = size.to_ne_bytes();
        let gref = u32::from_ne_bytes([kind, flags, low, high]);
        let offset = u16::from_ne_bytes([gso_type, pad]);
        Self { gref, offset, flags: features, id: 0, size: 0 }
    }
}

impl From<ExtraInfo> for RxResponse {
    /// Returns the slot of a response that holds the extra info.
    fn from(extra: ExtraInfo) -> Self {
        zerocopy::transmute!(extra)
    }
}

impl From<RxResponse> for ExtraInfo {
    /// Reads the slot of a response as an extra info.
    fn from(slot: RxResponse) -> Self {
        zerocopy::transmute!(slot)
    }
}

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

#[cfg(test)]
mod tests {
    use zerocopy::{FromBytes, IntoBytes};

    use super::*;

    #[test]
    fn an_extra_info_is_the_beginning_of_a_slot() {
        let extra = ExtraInfo { kind: 1, flags: 2, size: 0x0403, gso_type: 5, pad: 6, features: 7 };
        let request = TxRequest::from(extra);
        assert_eq!(request.as_bytes()[..8], *extra.as_bytes());
        assert_eq!(ExtraInfo::from(request), extra);
        let response = RxResponse::from(extra);
        assert_eq!(ExtraInfo::read_from_bytes(response.as_bytes()), Ok(extra));
        assert_eq!(ExtraInfo::from(response), extra);
    }
}
