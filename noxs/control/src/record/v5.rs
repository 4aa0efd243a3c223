// SPDX-License-Identifier: MIT OR Apache-2.0
//! Version 5: the domain, then a list of its devices, each with its kind. Version 4 had no IPv6
//! addresses.
//!
//! A later version that only adds kinds can decode these bytes with its own types: the variants
//! keep their numbers, and no record of this version contains a new one.

use std::borrow::Cow;
use std::net::{Ipv4Addr, Ipv6Addr};

use bincode::enc::Encoder;
use bincode::error::EncodeError;
use bincode::{Decode, Encode};
use noxs::{Discard, Geometry, MacAddr};

use super::DeviceRecord;
use crate::{
    ConsoleDevice, DiskIdentity, DiskImage, DomainId, Rate, VbdDevice, VifDevice, VifIdentity,
};

#[derive(Decode)]
pub(super) struct Record {
    pub(super) domid: u16,
    pub(super) handle: [u8; 16],
    pub(super) devices: Vec<Device<String>>,
}

/// Encodes a record in memory as the bytes of a [`Record`], without a copy of it.
pub(super) struct Writer<'a>(pub(super) &'a DeviceRecord<'a>);

/// A device of any kind. `T` is the type of its strings: owned when read, borrowed when written.
#[derive(Encode, Decode)]
pub(super) enum Device<T> {
    Console { port: u32, ring: u32 },
    Vif(Vif<T>),
    Vbd(Vbd<T>),
}

#[derive(Encode, Decode)]
pub(super) struct Vif<T> {
    pub(super) index: u16,
    pub(super) port: u32,
    pub(super) tx_ring: u32,
    pub(super) rx_ring: u32,
    pub(super) bridge: T,
    pub(super) identity: Option<Identity>,
}

#[derive(Encode, Decode)]
pub(super) struct Identity {
    pub(super) mac: [u8; 6],
    pub(super) ipv4: Option<Ipv4Addr>,
    pub(super) ipv6: Option<Ipv6Addr>,
    pub(super) mtu: u16,
    pub(super) rate: Option<SendRate>,
}

#[derive(Encode, Decode)]
pub(super) struct SendRate {
    bytes: u64,
    interval_us: u64,
}

#[derive(Encode, Decode)]
pub(super) struct Vbd<T> {
    index: u16,
    port: u32,
    ring: u32,
    image: Option<Image<T>>,
}

#[derive(Encode, Decode)]
struct Image<T> {
    path: T,
    identity: FileIdentity,
    sectors: u64,
    sector_size: u32,
    physical_sector_size: u32,
    read_only: bool,
    discard: Option<DiscardUnits>,
}

#[derive(Encode, Decode)]
enum FileIdentity {
    File { device: u64, inode: u64 },
    BlockDevice { number: u64 },
}

#[derive(Encode, Decode)]
struct DiscardUnits {
    granularity: u32,
    alignment: u32,
    secure: bool,
}

impl Encode for Writer<'_> {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        let DeviceRecord { id, console, vifs, vbds } = self.0;
        id.domid.encode(encoder)?;
        id.handle.encode(encoder)?;
        // The length, which a vector begins with.
        (usize::from(console.is_some()) + vifs.len() + vbds.len()).encode(encoder)?;
        if let Some(ConsoleDevice { port, ring }) = *console {
            Device::<&str>::Console { port, ring }.encode(encoder)?;
        }
        vifs.iter().try_for_each(|vif| Device::Vif(Vif::from(vif)).encode(encoder))?;
        vbds.iter().try_for_each(|vbd| Device::Vbd(Vbd::from(vbd)).encode(encoder))
    }
}

impl<'a> From<&'a VifDevice> for Vif<&'a str> {
    fn from(vif: &'a VifDevice) -> Self {
        let VifDevice { index, port, tx_ring, rx_ring, ref bridge, identity } = *vif;
        let identity = identity.map(|VifIdentity { mac, ipv4, ipv6, mtu, rate }| Identity {
            mac: mac.0,
            ipv4,
            ipv6,
            mtu,
            rate: rate.map(|Rate { bytes, interval_us }| SendRate { bytes, interval_us }),
        });
        Self { index, port, tx_ring, rx_ring, bridge, identity }
    }
}

impl<'a> From<&'a VbdDevice> for Vbd<&'a str> {
    fn from(vbd: &'a VbdDevice) -> Self {
        let VbdDevice { index, port, ring, ref image } = *vbd;
        Self { index, port, ring, image: image.as_ref().map(Image::from) }
    }
}

impl<'a> From<&'a DiskImage> for Image<&'a str> {
    fn from(image: &'a DiskImage) -> Self {
        let DiskImage { ref path, identity, geometry, discard } = *image;
        let Geometry { sectors, sector_size, physical_sector_size, read_only } = geometry;
        let identity = match identity {
            DiskIdentity::File { device, inode } => FileIdentity::File { device, inode },
            DiskIdentity::BlockDevice { number } => FileIdentity::BlockDevice { number },
        };
        let discard = discard.map(|Discard { granularity, alignment, secure }| DiscardUnits {
            granularity,
            alignment,
            secure,
        });
        Self { path, identity, sectors, sector_size, physical_sector_size, read_only, discard }
    }
}

/// The error for a record with two consoles: a guest has at most one.
pub(super) struct SecondConsole;

impl TryFrom<Record> for DeviceRecord<'static> {
    type Error = SecondConsole;

    fn try_from(record: Record) -> Result<Self, SecondConsole> {
        let Record { domid, handle, devices } = record;
        let (mut console, mut vifs, mut vbds) = (None, Vec::new(), Vec::new());
        for device in devices {
            match device {
                Device::Console { .. } if console.is_some() => return Err(SecondConsole),
                Device::Console { port, ring } => console = Some(ConsoleDevice { port, ring }),
                Device::Vif(vif) => vifs.push(vif.into()),
                Device::Vbd(vbd) => vbds.push(vbd.into()),
            }
        }
        let (vifs, vbds) = (Cow::Owned(vifs), Cow::Owned(vbds));
        Ok(Self { id: DomainId { domid, handle }, console, vifs, vbds })
    }
}

impl From<Vif<String>> for VifDevice {
    fn from(vif: Vif<String>) -> Self {
        let Vif { index, port, tx_ring, rx_ring, bridge, identity } = vif;
        let identity = identity.map(|Identity { mac, ipv4, ipv6, mtu, rate }| VifIdentity {
            mac: MacAddr(mac),
            ipv4,
            ipv6,
            mtu,
            rate: rate.map(|SendRate { bytes, interval_us }| Rate { bytes, interval_us }),
        });
        Self { index, port, tx_ring, rx_ring, bridge, identity }
    }
}

impl From<Vbd<String>> for VbdDevice {
    fn from(vbd: Vbd<String>) -> Self {
        let Vbd { index, port, ring, image } = vbd;
        Self { index, port, ring, image: image.map(DiskImage::from) }
    }
}

impl From<Image<String>> for DiskImage {
    fn from(image: Image<String>) -> Self {
        let Image {
            path,
            identity,
            sectors,
            sector_size,
            physical_sector_size,
            read_only,
            discard,
        } = image;
        let identity = match identity {
            FileIdentity::File { device, inode } => DiskIdentity::File { device, inode },
            FileIdentity::BlockDevice { number } => DiskIdentity::BlockDevice { number },
        };
        let geometry = Geometry { sectors, sector_size, physical_sector_size, read_only };
        let discard = discard.map(|DiscardUnits { granularity, alignment, secure }| Discard {
            granularity,
            alignment,
            secure,
        });
        Self { path, identity, geometry, discard }
    }
}
