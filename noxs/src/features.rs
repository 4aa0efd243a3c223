// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the ends of a network interface support beyond plain frames of at most one page.

use core::ops::BitOr;

/// A set of features of a network interface. The backend's set is in the device page: what the
/// guest may send. The guest's set is in the page of its receive ring
/// ([`layout::vif_ring::ACCEPTED`](crate::layout::vif_ring::ACCEPTED)): what it can receive.
///
/// Unknown bits are kept, so that a page is encoded as it was decoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VifFeatures(pub u32);

impl VifFeatures {
    /// None.
    pub const NONE: Self = Self(0);

    /// The checksum of TCP and UDP may be blank (`NETTXF_csum_blank`, `NETRXF_csum_blank`).
    pub const BLANK_CHECKSUM: Self = Self(1);

    /// A frame may lie in several slots (`NETTXF_more_data`, `NETRXF_more_data`).
    pub const SCATTER: Self = Self(1 << 1);

    /// With [`BLANK_CHECKSUM`](Self::BLANK_CHECKSUM) and [`SCATTER`](Self::SCATTER): a frame may
    /// be a packet of TCP over IPv4 of up to 64 KiB that is still to be segmented
    /// (`XEN_NETIF_EXTRA_TYPE_GSO`).
    pub const SEGMENT_TCPV4: Self = Self(1 << 2);

    /// The same for TCP over IPv6.
    pub const SEGMENT_TCPV6: Self = Self(1 << 3);

    /// Of the guest's set only: its frames always lie in the same pages, which stay granted by the
    /// same references for as long as the ring is used. So the backend may keep them mapped.
    pub const PERSISTENT_GRANTS: Self = Self(1 << 4);

    /// All that a backend of this version offers.
    pub const ALL: Self = Self(0b1111);

    /// Returns whether all of `features` are in the set.
    #[must_use]
    pub const fn contains(self, features: Self) -> bool {
        self.0 & features.0 == features.0
    }
}

impl BitOr for VifFeatures {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}
