// SPDX-License-Identifier: MIT OR Apache-2.0
//! The devices that a page can list.

use core::fmt;
use core::net::{Ipv4Addr, Ipv6Addr};
use core::str::FromStr;

use crate::codec::{self, PageBytes};
use crate::features::VifFeatures;
use crate::layout::entry;

/// What an entry describes. The discriminants are the values in the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum DeviceKind {
    /// A console with the ring of Xen's `io/console.h`.
    Console = 1,
    /// A network interface with the two rings of Xen's `io/netif.h`.
    Vif = 2,
    /// A block device with the ring of Xen's `io/blkif.h`.
    Vbd = 3,
}

impl DeviceKind {
    pub(crate) fn from_raw(raw: u16) -> Option<Self> {
        [Self::Console, Self::Vif, Self::Vbd].into_iter().find(|kind| *kind as u16 == raw)
    }

    /// Returns the number of rings that a device of this kind has.
    #[must_use]
    pub const fn rings(self) -> usize {
        match self {
            Self::Console | Self::Vbd => 1,
            Self::Vif => 2,
        }
    }
}

/// Whether the backend serves the device. The discriminants are the values in the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum DeviceState {
    /// The rings are mapped and the event channel is bound: the device is ready for use.
    Connected = 1,
    /// dom0 is about to remove the device; the guest should stop using it.
    Closing = 2,
}

impl DeviceState {
    fn from_raw(raw: u16) -> Option<Self> {
        [Self::Connected, Self::Closing].into_iter().find(|state| *state as u16 == raw)
    }
}

/// One shared ring page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ring {
    /// The grant reference, in the guest's table, through which the backend has mapped the page.
    pub grant: u32,
    /// The page's guest frame number.
    pub gfn: u64,
}

/// What every device has: where its backend runs and how to reach it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backend<const RINGS: usize> {
    /// The device's number among those of its kind.
    pub index: u16,
    /// Distinguishes the device from an earlier one of the same kind and number: 0 for one that was there when
    /// the guest started, or the number of the request with which it was added.
    pub instance: u32,
    /// The domain in which the backend runs.
    pub domid: u16,
    /// Whether the backend serves the device.
    pub state: DeviceState,
    /// The guest's port of the event channel.
    pub port: u32,
    /// The ring pages, in the order the kind defines.
    pub rings: [Ring; RINGS],
}

impl<const RINGS: usize> Backend<RINGS> {
    pub(crate) fn encode(&self, kind: DeviceKind, page: &mut [u8], at: usize) {
        codec::put_u16(page, at + entry::KIND, kind as u16);
        codec::put_u16(page, at + entry::INDEX, self.index);
        codec::put_u16(page, at + entry::BACKEND_DOMID, self.domid);
        codec::put_u16(page, at + entry::STATE, self.state as u16);
        codec::put_u32(page, at + entry::PORT, self.port);
        codec::put_u32(page, at + entry::INSTANCE, self.instance);
        let mut count = 0;
        for (ring, slot) in self.rings.iter().zip(0..entry::MAX_RINGS) {
            let slot = at + entry::RINGS + slot * entry::RING_SIZE;
            codec::put_u32(page, slot, ring.grant);
            codec::put_u64(page, slot + entry::RING_GFN, ring.gfn);
            count += 1;
        }
        codec::put_u32(page, at + entry::RING_COUNT, count);
    }

    /// Returns `None` if the state is unknown, the port is zero (which Xen never allocates), or the
    /// number of rings is wrong for the kind.
    pub(crate) fn decode(page: &PageBytes, at: usize) -> Option<Self> {
        let port = codec::get_u32(page, at + entry::PORT);
        let count = codec::get_u32(page, at + entry::RING_COUNT);
        if port == 0 || usize::try_from(count) != Ok(RINGS) {
            return None;
        }
        let mut rings = [Ring::default(); RINGS];
        for (slot, ring) in rings.iter_mut().enumerate() {
            let slot = at + entry::RINGS + slot * entry::RING_SIZE;
            ring.grant = codec::get_u32(page, slot);
            ring.gfn = codec::get_u64(page, slot + entry::RING_GFN);
        }
        Some(Self {
            index: codec::get_u16(page, at + entry::INDEX),
            instance: codec::get_u32(page, at + entry::INSTANCE),
            domid: codec::get_u16(page, at + entry::BACKEND_DOMID),
            state: DeviceState::from_raw(codec::get_u16(page, at + entry::STATE))?,
            port,
            rings,
        })
    }
}

/// A console: one ring page (`struct xencons_interface`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Console {
    /// Ring 0 is the console's.
    pub backend: Backend<1>,
}

/// A network interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vif {
    /// Ring 0 is the transmit ring, ring 1 the receive ring, as the guest sees them.
    pub backend: Backend<2>,
    /// The guest's MAC address.
    pub mac: MacAddr,
    /// The largest IP packet in bytes.
    pub mtu: u16,
    /// The IPv4 address that dom0 assigns to the guest, if any.
    pub ipv4: Option<Ipv4Config>,
    /// The IPv6 address that dom0 assigns to the guest, if any.
    pub ipv6: Option<Ipv6Config>,
    /// What the guest may send beyond plain frames of at most one page.
    pub features: VifFeatures,
}

/// A disk. Its frontend would negotiate the same with a backend in XenStore, under the names that
/// `io/blkif.h` lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vbd {
    /// Ring 0 is the disk's.
    pub backend: Backend<1>,
    /// Size of the disk and what may be done with it.
    pub geometry: Geometry,
    /// Whether the backend commits what was written to stable storage on `BLKIF_OP_FLUSH_DISKCACHE`.
    pub flush: bool,
    /// Whether the backend accepts `BLKIF_OP_WRITE_BARRIER`: it is on stable storage, as are all
    /// writes before it, when it is answered.
    pub barrier: bool,
    /// What may be discarded, if the backend accepts `BLKIF_OP_DISCARD`.
    pub discard: Option<Discard>,
    /// Most segments of a request with `BLKIF_OP_INDIRECT`; 0 if the backend accepts none.
    pub indirect_segments: u16,
}

/// The size of a disk and of its sectors.
///
/// All sector numbers of `blkif` count units of [`SECTOR`](Self::SECTOR) bytes, whatever the size of
/// the disk's own sectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "bincode", derive(bincode::Encode, bincode::Decode))]
pub struct Geometry {
    /// Size of the disk in units of 512 bytes; a multiple of the logical sector size.
    pub sectors: u64,
    /// Logical sector size in bytes: the first sector and the length of each segment of a request
    /// are multiples of it. A power of two from 512 to 4096.
    pub sector_size: u32,
    /// Physical sector size in bytes: smaller writes may be slow. A power of two, at least the
    /// logical size.
    pub physical_sector_size: u32,
    /// Whether the disk is read-only.
    pub read_only: bool,
}

/// What may be discarded of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "bincode", derive(bincode::Encode, bincode::Decode))]
pub struct Discard {
    /// Size in bytes of a unit that the storage can give up; a multiple of the logical sector size.
    /// What is read afterwards from any part of a request is not defined.
    pub granularity: u32,
    /// Offset in bytes of the first unit; less than the granularity.
    pub alignment: u32,
    /// Whether a request with `BLKIF_DISCARD_SECURE` is carried out.
    pub secure: bool,
}

impl Geometry {
    /// Bytes of a sector in requests of `blkif` and in [`sectors`](Self::sectors).
    pub const SECTOR: u32 = 512;

    /// Largest logical sector size: segments of requests lie in one page.
    pub const MAX_SECTOR_SIZE: u32 = 4096;

    /// Returns whether the sizes are powers of two in their ranges and the disk has whole sectors.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        let Self { sectors, sector_size, physical_sector_size, read_only: _ } = *self;
        sector_size.is_power_of_two()
            && (Self::SECTOR..=Self::MAX_SECTOR_SIZE).contains(&sector_size)
            && physical_sector_size.is_power_of_two()
            && physical_sector_size >= sector_size
            && sectors.is_multiple_of(u64::from(sector_size / Self::SECTOR))
    }
}

impl Discard {
    /// Returns whether the values are in their ranges on a disk with this logical sector size.
    #[must_use]
    pub fn is_valid(&self, sector_size: u32) -> bool {
        self.granularity != 0
            && self.granularity.is_multiple_of(sector_size)
            && self.alignment.is_multiple_of(Geometry::SECTOR)
            && self.alignment < self.granularity
    }
}

/// An IPv4 address, its network and the gateway to other networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv4Config {
    /// The interface's address.
    pub address: Ipv4Addr,
    /// Length of the network prefix in bits, at most 32.
    pub prefix: u8,
    /// The gateway to other networks, if any.
    pub gateway: Option<Ipv4Addr>,
}

/// An IPv6 address, its network and the gateway to other networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv6Config {
    /// The interface's address.
    pub address: Ipv6Addr,
    /// Length of the network prefix in bits, at most 128.
    pub prefix: u8,
    /// The gateway to other networks, if any: in this network, or with a link-local address.
    pub gateway: Option<Ipv6Addr>,
}

impl Ipv6Config {
    fn encode(self, page: &mut [u8], at: usize) {
        let gateway = self.gateway.unwrap_or(Ipv6Addr::UNSPECIFIED);
        codec::put(page, at + entry::vif_ipv6::ADDRESS, &self.address.octets());
        codec::put(page, at + entry::vif_ipv6::GATEWAY, &gateway.octets());
        codec::put(page, at + entry::SPECIFIC + entry::vif::IPV6_PREFIX, &[self.prefix]);
    }

    /// Returns `None` if the prefix is too long, and `Some(None)` if there is no address.
    #[allow(clippy::option_option, reason = "an invalid prefix differs from a missing address")]
    fn decode(page: &PageBytes, at: usize) -> Option<Option<Self>> {
        let address = Ipv6Addr::from(codec::bytes::<16>(page, at + entry::vif_ipv6::ADDRESS));
        let gateway = Ipv6Addr::from(codec::bytes::<16>(page, at + entry::vif_ipv6::GATEWAY));
        let [prefix] = codec::bytes::<1>(page, at + entry::SPECIFIC + entry::vif::IPV6_PREFIX);
        if address.is_unspecified() {
            return Some(None);
        }
        let gateway = (!gateway.is_unspecified()).then_some(gateway);
        (prefix <= 128).then_some(Some(Self { address, prefix, gateway }))
    }
}

impl Vif {
    pub(crate) fn encode(&self, page: &mut [u8], at: usize) {
        self.backend.encode(DeviceKind::Vif, page, at);
        if let Some(ipv6) = self.ipv6 {
            ipv6.encode(page, at);
        }
        let at = at + entry::SPECIFIC;
        codec::put(page, at + entry::vif::MAC, &self.mac.0);
        codec::put_u16(page, at + entry::vif::MTU, self.mtu);
        codec::put_u32(page, at + entry::vif::FEATURES, self.features.0);
        if let Some(ipv4) = self.ipv4 {
            let gateway = ipv4.gateway.unwrap_or(Ipv4Addr::UNSPECIFIED);
            codec::put(page, at + entry::vif::IPV4, &ipv4.address.octets());
            codec::put(page, at + entry::vif::GATEWAY, &gateway.octets());
            codec::put(page, at + entry::vif::PREFIX, &[ipv4.prefix]);
        }
    }

    pub(crate) fn decode(page: &PageBytes, at: usize) -> Option<Self> {
        let backend = Backend::decode(page, at)?;
        let ipv6 = Ipv6Config::decode(page, at)?;
        let at = at + entry::SPECIFIC;
        let address = Ipv4Addr::from(codec::bytes::<4>(page, at + entry::vif::IPV4));
        let gateway = Ipv4Addr::from(codec::bytes::<4>(page, at + entry::vif::GATEWAY));
        let [prefix] = codec::bytes::<1>(page, at + entry::vif::PREFIX);
        let ipv4 = if address.is_unspecified() {
            None
        } else if prefix > 32 {
            return None;
        } else {
            let gateway = (!gateway.is_unspecified()).then_some(gateway);
            Some(Ipv4Config { address, prefix, gateway })
        };
        Some(Self {
            backend,
            mac: MacAddr(codec::bytes(page, at + entry::vif::MAC)),
            mtu: codec::get_u16(page, at + entry::vif::MTU),
            ipv4,
            ipv6,
            features: VifFeatures(codec::get_u32(page, at + entry::vif::FEATURES)),
        })
    }
}

impl Vbd {
    pub(crate) fn encode(&self, page: &mut [u8], at: usize) {
        self.backend.encode(DeviceKind::Vbd, page, at);
        let at = at + entry::SPECIFIC;
        let Geometry { sectors, sector_size, physical_sector_size, read_only } = self.geometry;
        codec::put_u64(page, at + entry::vbd::SECTORS, sectors);
        codec::put_u32(page, at + entry::vbd::SECTOR_SIZE, sector_size);
        codec::put_u32(page, at + entry::vbd::PHYSICAL_SECTOR_SIZE, physical_sector_size);
        codec::put_u16(page, at + entry::vbd::INDIRECT_SEGMENTS, self.indirect_segments);
        if let Some(discard) = self.discard {
            codec::put_u32(page, at + entry::vbd::DISCARD_GRANULARITY, discard.granularity);
            codec::put_u32(page, at + entry::vbd::DISCARD_ALIGNMENT, discard.alignment);
        }
        let flags = [
            (read_only, entry::vbd::FLAG_READ_ONLY),
            (self.flush, entry::vbd::FLAG_FLUSH),
            (self.barrier, entry::vbd::FLAG_BARRIER),
            (self.discard.is_some(), entry::vbd::FLAG_DISCARD),
            (self.discard.is_some_and(|discard| discard.secure), entry::vbd::FLAG_DISCARD_SECURE),
        ];
        let flags = flags.iter().filter(|(is_set, _)| *is_set).fold(0, |all, (_, flag)| all | flag);
        codec::put_u32(page, at + entry::vbd::FLAGS, flags);
    }

    pub(crate) fn decode(page: &PageBytes, at: usize) -> Option<Self> {
        let backend = Backend::decode(page, at)?;
        let at = at + entry::SPECIFIC;
        let flags = codec::get_u32(page, at + entry::vbd::FLAGS);
        let has = |flag| flags & flag != 0;
        let sector_size = codec::get_u32(page, at + entry::vbd::SECTOR_SIZE);
        let physical = codec::get_u32(page, at + entry::vbd::PHYSICAL_SECTOR_SIZE);
        let geometry = Geometry {
            sectors: codec::get_u64(page, at + entry::vbd::SECTORS),
            sector_size,
            physical_sector_size: if physical == 0 { sector_size } else { physical },
            read_only: has(entry::vbd::FLAG_READ_ONLY),
        };
        let discard = has(entry::vbd::FLAG_DISCARD).then(|| Discard {
            granularity: codec::get_u32(page, at + entry::vbd::DISCARD_GRANULARITY),
            alignment: codec::get_u32(page, at + entry::vbd::DISCARD_ALIGNMENT),
            secure: has(entry::vbd::FLAG_DISCARD_SECURE),
        });
        if !geometry.is_valid() || discard.is_some_and(|discard| !discard.is_valid(sector_size)) {
            return None;
        }
        Some(Self {
            backend,
            geometry,
            flush: has(entry::vbd::FLAG_FLUSH),
            barrier: has(entry::vbd::FLAG_BARRIER),
            discard,
            indirect_segments: codec::get_u16(page, at + entry::vbd::INDIRECT_SEGMENTS),
        })
    }
}

/// A MAC address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "bincode", derive(bincode::Encode, bincode::Decode))]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// Returns whether the group bit is set. No interface may have such an address.
    #[must_use]
    pub const fn is_multicast(self) -> bool {
        self.0[0] & 1 != 0
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        // Every create formats one; formatting byte by byte through `f` takes ten times as long.
        let mut text = [b':'; 17];
        for (byte, pair) in self.0.iter().zip(text.chunks_mut(3)) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        f.write_str(str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

/// The text is not a MAC address: six pairs of hexadecimal digits with one character between each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a MAC address: must be six pairs of hexadecimal digits, as in 00:16:3e:00:00:01")]
pub struct MacAddrError;

impl FromStr for MacAddr {
    type Err = MacAddrError;

    /// Parses a MAC address. Accepts any one-byte separator, as xl does.
    fn from_str(text: &str) -> Result<Self, MacAddrError> {
        let text = text.as_bytes();
        if text.len() != 17 {
            return Err(MacAddrError);
        }
        let digit = |c: u8| char::from(c).to_digit(16).ok_or(MacAddrError);
        let mut mac = [0; 6];
        for (octet, pair) in mac.iter_mut().zip(text.chunks(3)) {
            let value = digit(pair[0])? << 4 | digit(pair[1])?;
            *octet = u8::try_from(value).map_err(|_| MacAddrError)?;
        }
        Ok(Self(mac))
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;

    #[test]
    fn a_mac_address_parses_as_in_xl() {
        let mac: MacAddr = "00-16-3E-0a-00-Ff".parse().unwrap();
        assert_eq!(mac.to_string(), "00:16:3e:0a:00:ff");
        assert!(!mac.is_multicast());
        assert!(MacAddr([1, 0, 0x5e, 0, 0, 1]).is_multicast());
        for wrong in
            ["", "00:16:3e:00:00", "00:16:3e:00:00:0g", "0:16:3e:00:00:001", "ä0:16:3e:00:00:0"]
        {
            assert_eq!(wrong.parse::<MacAddr>(), Err(MacAddrError), "{wrong}");
        }
    }
}
