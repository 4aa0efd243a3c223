// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every offset and constant of the page. Offsets and sizes are in bytes; numbers in the page are
//! little-endian. `docs/noxs-abi.md` is the same table with explanations.

/// Size of the device page and of the answer page, in bytes.
pub const PAGE_SIZE: usize = 4096;

/// The command line by which the guest recognizes the device page among its PVH boot modules.
pub const MODULE_NAME: &str = "noxs";

/// First four bytes of the page: `noxs` in ASCII.
pub const MAGIC: u32 = u32::from_le_bytes(*b"noxs");

/// The major version. A reader refuses any other.
pub const VERSION_MAJOR: u16 = 1;

/// The minor version. A reader accepts any: a newer one only uses bytes that were reserved.
pub const VERSION_MINOR: u16 = 4;

/// The ELF note by which a kernel says that it reads the device page. Its owner is [`OWNER`](note::OWNER)
/// and its type [`VERSION`](note::VERSION).
pub mod note {
    /// The note's owner, without the terminating zero.
    pub const OWNER: &str = "chaos";

    /// The note's type. Its descriptor is two u16, [`VERSION_MAJOR`](super::VERSION_MAJOR) and
    /// [`VERSION_MINOR`](super::VERSION_MINOR) of the page that the kernel was built for.
    pub const VERSION: u32 = 1;

    /// The first minor version with the IPv6 addresses of vifs. A kernel that does not use them names
    /// an older one.
    pub const IPV6_SINCE: u16 = 3;

    /// Size of the descriptor in bytes.
    pub const SIZE: usize = 4;
}

/// Offsets inside the page's header.
pub mod header {
    /// u32: [`MAGIC`](super::MAGIC).
    pub const MAGIC: usize = 0;
    /// u16: major version.
    pub const VERSION_MAJOR: usize = 4;
    /// u16: minor version.
    pub const VERSION_MINOR: usize = 6;
    /// u32: generation. Odd while dom0 is writing, even when the page is complete.
    pub const GENERATION: usize = 8;
    /// u16: the number of entry slots that follow, used or not.
    pub const ENTRY_COUNT: usize = 12;
    /// u16: the guest's own domid.
    pub const DOMID: usize = 14;
    /// u32: the guest's event channel port for the sysctl block; 0 if there is none.
    pub const SYSCTL_PORT: usize = 16;
    /// u32: what dom0 requests, see [`Request`](crate::Request).
    pub const SYSCTL_REQUEST: usize = 20;
    /// u32: number of the request; 0 before the first.
    pub const SYSCTL_REQUEST_ID: usize = 24;
    /// u32: number of overlay frames, see [`Overlay`](crate::Overlay).
    pub const OVERLAY_FRAMES: usize = 28;
    /// u64: guest frame number of the answer page; 0 if there is none.
    pub const SYSCTL_ANSWER_GFN: usize = 32;
    /// u64: first overlay frame, see [`Overlay`](crate::Overlay).
    pub const OVERLAY_GFN: usize = 40;
    /// 16 bytes: the domain's handle (UUID) as Xen knows it.
    pub const HANDLE: usize = 48;
    /// u32: the number of pages that the guest is to give back of its memory, in all, if that is what
    /// dom0 requests: the size of its balloon.
    pub const SYSCTL_BALLOON_PAGES: usize = 64;
    /// Size of the header; all bytes not listed here are reserved and zero.
    pub const SIZE: usize = 128;
}

/// Offsets inside an entry.
pub mod entry {
    /// u16: [`DeviceKind`](crate::DeviceKind); 0 marks an empty slot.
    pub const KIND: usize = 0;
    /// u16: the device's number among those of its kind.
    pub const INDEX: usize = 2;
    /// u16: domid of the domain in which the backend runs.
    pub const BACKEND_DOMID: usize = 4;
    /// u16: [`DeviceState`](crate::DeviceState).
    pub const STATE: usize = 6;
    /// u32: the guest's event channel port.
    pub const PORT: usize = 8;
    /// u32: how many of the ring slots below are used.
    pub const RING_COUNT: usize = 12;
    /// [`MAX_RINGS`] ring slots.
    pub const RINGS: usize = 16;
    /// Number of ring slots in an entry.
    pub const MAX_RINGS: usize = 4;
    /// Size of a ring slot: u32 grant reference, u32 reserved, u64 guest frame number.
    pub const RING_SIZE: usize = 16;
    /// u32, in the reserved bytes of the first ring slot: the
    /// [instance](crate::Backend::instance) of the device.
    pub const INSTANCE: usize = RINGS + 4;
    /// Offset of the frame number inside a ring slot.
    pub const RING_GFN: usize = 8;
    /// The kind-specific part.
    pub const SPECIFIC: usize = 80;
    /// Size of an entry; all bytes not listed here are reserved and zero.
    pub const SIZE: usize = 128;

    /// Offsets in the specific part of a vif, relative to [`SPECIFIC`].
    pub mod vif {
        /// 6 bytes: MAC address.
        pub const MAC: usize = 0;
        /// u16: MTU in bytes, without the Ethernet header.
        pub const MTU: usize = 6;
        /// 4 bytes: IPv4 address in network order; 0.0.0.0 if dom0 assigns none.
        pub const IPV4: usize = 8;
        /// 4 bytes: IPv4 gateway in network order; 0.0.0.0 if there is none.
        pub const GATEWAY: usize = 12;
        /// u8: prefix length of the address, 0 to 32.
        pub const PREFIX: usize = 16;
        /// u8: prefix length of the IPv6 address, 0 to 128.
        pub const IPV6_PREFIX: usize = 17;
        /// u32: features that the backend supports, see [`Vif::features`](crate::Vif).
        pub const FEATURES: usize = 20;
    }

    /// Offsets of the IPv6 addresses of a vif, relative to the entry. They take the place of two ring
    /// slots that a vif does not use.
    pub mod vif_ipv6 {
        use super::{RING_SIZE, RINGS};

        /// 16 bytes: IPv6 address in network order; `::` if dom0 assigns none.
        pub const ADDRESS: usize = RINGS + 2 * RING_SIZE;
        /// 16 bytes: IPv6 gateway in network order; `::` if there is none.
        pub const GATEWAY: usize = RINGS + 3 * RING_SIZE;
    }

    /// Offsets in the specific part of a vbd, relative to [`SPECIFIC`]. The names in quotes are those
    /// of Xen's `io/blkif.h`, which defines what the values mean.
    pub mod vbd {
        /// u64: size of the disk in units of 512 bytes ("sectors").
        pub const SECTORS: usize = 0;
        /// u32: logical block size in bytes ("sector-size"), to which requests are aligned.
        pub const SECTOR_SIZE: usize = 8;
        /// u32: flags.
        pub const FLAGS: usize = 12;
        /// u32: physical block size in bytes ("physical-sector-size"); 0 if it is the logical one.
        pub const PHYSICAL_SECTOR_SIZE: usize = 16;
        /// u32: size in bytes of what can be discarded ("discard-granularity"); 0 without discard.
        pub const DISCARD_GRANULARITY: usize = 20;
        /// u32: offset in bytes of the first unit that can be discarded ("discard-alignment").
        pub const DISCARD_ALIGNMENT: usize = 24;
        /// u16: most segments of an indirect request ("feature-max-indirect-segments"); 0 if the
        /// backend accepts no indirect requests.
        pub const INDIRECT_SEGMENTS: usize = 28;

        /// Flag: the disk is read-only.
        pub const FLAG_READ_ONLY: u32 = 1;
        /// Flag: the backend flushes on request ("feature-flush-cache").
        pub const FLAG_FLUSH: u32 = 1 << 1;
        /// Flag: the backend accepts barrier requests ("feature-barrier").
        pub const FLAG_BARRIER: u32 = 1 << 2;
        /// Flag: the backend discards on request ("feature-discard").
        pub const FLAG_DISCARD: u32 = 1 << 3;
        /// Flag: what is discarded with `BLKIF_DISCARD_SECURE` cannot be recovered
        /// ("discard-secure").
        pub const FLAG_DISCARD_SECURE: u32 = 1 << 4;
    }
}

/// Offsets in the pages of a vif's rings, in bytes that Xen's rings leave unused.
pub mod vif_ring {
    /// u32, in the receive ring: the features of the guest, see
    /// [`VifFeatures`](crate::VifFeatures). The guest writes it before it publishes its first
    /// request.
    pub const ACCEPTED: usize = 20;
}

/// Offsets in the page of a vbd's ring, in bytes that Xen's ring leaves unused.
pub mod vbd_ring {
    /// u32: 1 if the guest's data, and its lists of segments, always lie in the same pages, which stay
    /// granted by the same references for as long as the ring is used. So the backend may keep them
    /// mapped. The guest writes it before it publishes its first request.
    pub const PERSISTENT_GRANTS: usize = 60;
}

/// Offsets inside the answer page, which the guest writes.
pub mod answer {
    /// u32: number of the answered request. Written last.
    pub const REQUEST_ID: usize = 0;
    /// u32: [`AnswerStatus`](crate::AnswerStatus).
    pub const STATUS: usize = 4;
    /// u32: the number of pages that the guest has given back of its memory, in all.
    pub const BALLOON_PAGES: usize = 8;
}

/// Largest number of vifs of a guest.
///
/// This is the limit of configs, of `noxsd`, and of the guests' runtime. It leaves most of the entry
/// slots to disks. A vif has two ring pages and another device one, and this limit lets those of all
/// devices fit into one call of dom0 and into the toolstack's grants.
pub const MAX_VIFS: usize = 8;

/// Number of entry slots that fit in the page.
pub const MAX_ENTRIES: usize = (PAGE_SIZE - header::SIZE) / entry::SIZE;

const _: () = assert!(MAX_ENTRIES == 31);
const _: () = assert!(header::SIZE + MAX_ENTRIES * entry::SIZE <= PAGE_SIZE);
const _: () = assert!(entry::RINGS + entry::MAX_RINGS * entry::RING_SIZE == entry::SPECIFIC);
const _: () = assert!(entry::SPECIFIC + entry::vif::FEATURES + 4 <= entry::SIZE);
const _: () = assert!(entry::vif_ipv6::GATEWAY + 16 == entry::SPECIFIC);
const _: () = assert!(entry::SPECIFIC + entry::vbd::INDIRECT_SEGMENTS + 2 <= entry::SIZE);
