//! The devices a page can name.

use core::fmt;
use core::net::Ipv4Addr;
use core::str::FromStr;

use crate::codec::{self, PageBytes};
use crate::layout::entry;

/// What an entry describes. The numbers are the page's.
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

    /// How many rings a device of this kind has.
    #[must_use]
    pub const fn rings(self) -> usize {
        match self {
            Self::Console | Self::Vbd => 1,
            Self::Vif => 2,
        }
    }
}

/// Whether the backend serves the device. The numbers are the page's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum DeviceState {
    /// The rings are mapped and the event channel is bound: the device can be used at once.
    Connected = 1,
    /// dom0 is about to take the device away; the guest should stop using it.
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
    /// Grant reference in the guest's table under which the backend has mapped the page.
    pub grant: u32,
    /// Where the page is in the guest's own memory, in frames of 4 KiB.
    pub gfn: u64,
}

/// What every device has: where its backend is and how to reach it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backend<const RINGS: usize> {
    /// The device's number among those of its kind.
    pub index: u16,
    /// Domain that runs the backend.
    pub domid: u16,
    /// Whether the device can be used.
    pub state: DeviceState,
    /// The guest's end of the event channel.
    pub port: u32,
    /// The ring pages, in the order the kind defines.
    pub rings: [Ring; RINGS],
}

impl<const RINGS: usize> Backend<RINGS> {
    pub(crate) fn encode(&self, kind: DeviceKind, page: &mut PageBytes, at: usize) {
        codec::put_u16(page, at + entry::KIND, kind as u16);
        codec::put_u16(page, at + entry::INDEX, self.index);
        codec::put_u16(page, at + entry::BACKEND_DOMID, self.domid);
        codec::put_u16(page, at + entry::STATE, self.state as u16);
        codec::put_u32(page, at + entry::PORT, self.port);
        let mut count = 0;
        for (ring, slot) in self.rings.iter().zip(0..entry::MAX_RINGS) {
            let slot = at + entry::RINGS + slot * entry::RING_SIZE;
            codec::put_u32(page, slot, ring.grant);
            codec::put_u64(page, slot + entry::RING_GFN, ring.gfn);
            count += 1;
        }
        codec::put_u32(page, at + entry::RING_COUNT, count);
    }

    /// `None` if the state is unknown, the port is zero (Xen never gives it out) or the number of
    /// rings is not what the kind asks for.
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
    /// Ring 0 carries what the guest sends, ring 1 what it receives.
    pub backend: Backend<2>,
    /// The guest's MAC address.
    pub mac: MacAddr,
    /// Largest IP packet in bytes.
    pub mtu: u16,
    /// The address dom0 gives to the guest, if any.
    pub ipv4: Option<Ipv4Config>,
    /// What the backend serves beyond plain frames of at most one page; no bit is defined yet.
    pub features: u32,
}

/// A disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vbd {
    /// Ring 0 is the disk's.
    pub backend: Backend<1>,
    /// Size in sectors.
    pub sectors: u64,
    /// Bytes in a sector.
    pub sector_size: u32,
    /// Whether writes are refused.
    pub read_only: bool,
}

/// An IPv4 address and its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv4Config {
    /// The interface's address.
    pub address: Ipv4Addr,
    /// Length of the network prefix in bits, at most 32.
    pub prefix: u8,
    /// Where packets to other networks go.
    pub gateway: Option<Ipv4Addr>,
}

impl Vif {
    pub(crate) fn encode(&self, page: &mut PageBytes, at: usize) {
        self.backend.encode(DeviceKind::Vif, page, at);
        let at = at + entry::SPECIFIC;
        codec::put(page, at + entry::vif::MAC, &self.mac.0);
        codec::put_u16(page, at + entry::vif::MTU, self.mtu);
        codec::put_u32(page, at + entry::vif::FEATURES, self.features);
        if let Some(ipv4) = self.ipv4 {
            let gateway = ipv4.gateway.unwrap_or(Ipv4Addr::UNSPECIFIED);
            codec::put(page, at + entry::vif::IPV4, &ipv4.address.octets());
            codec::put(page, at + entry::vif::GATEWAY, &gateway.octets());
            codec::put(page, at + entry::vif::PREFIX, &[ipv4.prefix]);
        }
    }

    pub(crate) fn decode(page: &PageBytes, at: usize) -> Option<Self> {
        let backend = Backend::decode(page, at)?;
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
            features: codec::get_u32(page, at + entry::vif::FEATURES),
        })
    }
}

impl Vbd {
    pub(crate) fn encode(&self, page: &mut PageBytes, at: usize) {
        self.backend.encode(DeviceKind::Vbd, page, at);
        let at = at + entry::SPECIFIC;
        codec::put_u64(page, at + entry::vbd::SECTORS, self.sectors);
        codec::put_u32(page, at + entry::vbd::SECTOR_SIZE, self.sector_size);
        let flags = if self.read_only { entry::vbd::FLAG_READ_ONLY } else { 0 };
        codec::put_u32(page, at + entry::vbd::FLAGS, flags);
    }

    pub(crate) fn decode(page: &PageBytes, at: usize) -> Option<Self> {
        let backend = Backend::decode(page, at)?;
        let at = at + entry::SPECIFIC;
        let flags = codec::get_u32(page, at + entry::vbd::FLAGS);
        Some(Self {
            backend,
            sectors: codec::get_u64(page, at + entry::vbd::SECTORS),
            sector_size: codec::get_u32(page, at + entry::vbd::SECTOR_SIZE),
            read_only: flags & entry::vbd::FLAG_READ_ONLY != 0,
        })
    }
}

/// A MAC address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "bincode", derive(bincode::Encode, bincode::Decode))]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// Whether the group bit is set, so that no interface may own the address.
    #[must_use]
    pub const fn is_multicast(self) -> bool {
        self.0[0] & 1 != 0
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        // Each create writes one: digit by digit through the formatter takes ten times as long.
        let mut text = [b':'; 17];
        for (byte, pair) in self.0.iter().zip(text.chunks_mut(3)) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        f.write_str(str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

/// The text is no MAC address: six pairs of hexadecimal digits with one character between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a MAC address: six pairs of hexadecimal digits such as 00:16:3e:00:00:01 are wanted")]
pub struct MacAddrError;

impl FromStr for MacAddr {
    type Err = MacAddrError;

    /// Takes any one-character separator, as xl does.
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
    fn a_mac_address_reads_as_xl_reads_it() {
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
