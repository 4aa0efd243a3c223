// SPDX-License-Identifier: MIT OR Apache-2.0
//! Version 4, which is read and no longer written: without IPv6 addresses.

use std::borrow::Cow;
use std::net::Ipv4Addr;

use bincode::Decode;
use noxs::{Discard, Geometry, MacAddr};

use super::DeviceRecord;
use super::v5::SecondConsole;
use crate::{
    ConsoleDevice, DiskIdentity, DiskImage, DomainId, Rate, VbdDevice, VifDevice, VifIdentity,
};

#[derive(Decode)]
pub(super) struct Record {
    domid: u16,
    handle: [u8; 16],
    devices: Vec<Device>,
}

/// A device of any kind.
#[derive(Decode)]
enum Device {
    Console { port: u32, ring: u32 },
    Vif(Vif),
    Vbd(Vbd),
}

#[derive(Decode)]
struct Vif {
    index: u16,
    port: u32,
    tx_ring: u32,
    rx_ring: u32,
    bridge: String,
    identity: Option<Identity>,
}

#[derive(Decode)]
struct Identity {
    mac: [u8; 6],
    ipv4: Option<Ipv4Addr>,
    mtu: u16,
    rate: Option<SendRate>,
}

#[derive(Decode)]
struct SendRate {
    bytes: u64,
    interval_us: u64,
}

#[derive(Decode)]
struct Vbd {
    index: u16,
    port: u32,
    ring: u32,
    image: Option<Image>,
}

#[derive(Decode)]
struct Image {
    path: String,
    identity: FileIdentity,
    sectors: u64,
    sector_size: u32,
    physical_sector_size: u32,
    read_only: bool,
    discard: Option<DiscardUnits>,
}

#[derive(Decode)]
enum FileIdentity {
    File { device: u64, inode: u64 },
    BlockDevice { number: u64 },
}

#[derive(Decode)]
struct DiscardUnits {
    granularity: u32,
    alignment: u32,
    secure: bool,
}

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

impl From<Vif> for VifDevice {
    fn from(vif: Vif) -> Self {
        let Vif { index, port, tx_ring, rx_ring, bridge, identity } = vif;
        let identity = identity.map(|Identity { mac, ipv4, mtu, rate }| VifIdentity {
            mac: MacAddr(mac),
            ipv4,
            ipv6: None,
            mtu,
            rate: rate.map(|SendRate { bytes, interval_us }| Rate { bytes, interval_us }),
        });
        Self { index, port, tx_ring, rx_ring, bridge, identity }
    }
}

impl From<Vbd> for VbdDevice {
    fn from(vbd: Vbd) -> Self {
        let Vbd { index, port, ring, image } = vbd;
        Self { index, port, ring, image: image.map(DiskImage::from) }
    }
}

impl From<Image> for DiskImage {
    fn from(image: Image) -> Self {
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
