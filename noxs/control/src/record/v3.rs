// SPDX-License-Identifier: MIT OR Apache-2.0
//! Version 3: the domain, then a list of its devices, each with its kind.
//!
//! A later version that only adds kinds can decode these bytes with its own types: the variants
//! keep their numbers, and no record of this version contains a new one.

use std::borrow::Cow;
use std::net::Ipv4Addr;

use bincode::enc::Encoder;
use bincode::error::EncodeError;
use bincode::{Decode, Encode};
use noxs::MacAddr;

use super::DeviceRecord;
use crate::{ConsoleDevice, DomainId, Rate, VifDevice, VifIdentity};

#[derive(Decode)]
pub(super) struct Record {
    domid: u16,
    handle: [u8; 16],
    devices: Vec<Device<String>>,
}

/// Encodes a record in memory as the bytes of a [`Record`], without a copy of it.
pub(super) struct Writer<'a>(pub(super) &'a DeviceRecord<'a>);

/// A device of any kind. `T` is the type of its strings: owned when read, borrowed when written.
#[derive(Encode, Decode)]
enum Device<T> {
    Console { port: u32, ring: u32 },
    Vif(Vif<T>),
}

#[derive(Encode, Decode)]
struct Vif<T> {
    index: u16,
    port: u32,
    tx_ring: u32,
    rx_ring: u32,
    bridge: T,
    identity: Option<Identity>,
}

#[derive(Encode, Decode)]
struct Identity {
    mac: [u8; 6],
    ipv4: Option<Ipv4Addr>,
    mtu: u16,
    rate: Option<SendRate>,
}

#[derive(Encode, Decode)]
struct SendRate {
    bytes: u64,
    interval_us: u64,
}

impl Encode for Writer<'_> {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        let DeviceRecord { id, console, vifs } = self.0;
        id.domid.encode(encoder)?;
        id.handle.encode(encoder)?;
        // The length, which a vector begins with.
        (usize::from(console.is_some()) + vifs.len()).encode(encoder)?;
        if let Some(ConsoleDevice { port, ring }) = *console {
            Device::<&str>::Console { port, ring }.encode(encoder)?;
        }
        vifs.iter().try_for_each(|vif| Device::Vif(Vif::from(vif)).encode(encoder))
    }
}

impl<'a> From<&'a VifDevice> for Vif<&'a str> {
    fn from(vif: &'a VifDevice) -> Self {
        let VifDevice { index, port, tx_ring, rx_ring, ref bridge, identity } = *vif;
        let identity = identity.map(|VifIdentity { mac, ipv4, mtu, rate }| Identity {
            mac: mac.0,
            ipv4,
            mtu,
            rate: rate.map(|Rate { bytes, interval_us }| SendRate { bytes, interval_us }),
        });
        Self { index, port, tx_ring, rx_ring, bridge, identity }
    }
}

/// The error for a record with two consoles: a guest has at most one.
pub(super) struct SecondConsole;

impl TryFrom<Record> for DeviceRecord<'static> {
    type Error = SecondConsole;

    fn try_from(record: Record) -> Result<Self, SecondConsole> {
        let Record { domid, handle, devices } = record;
        let (mut console, mut vifs) = (None, Vec::new());
        for device in devices {
            match device {
                Device::Console { .. } if console.is_some() => return Err(SecondConsole),
                Device::Console { port, ring } => console = Some(ConsoleDevice { port, ring }),
                Device::Vif(vif) => vifs.push(vif.into()),
            }
        }
        Ok(Self { id: DomainId { domid, handle }, console, vifs: Cow::Owned(vifs) })
    }
}

impl From<Vif<String>> for VifDevice {
    fn from(vif: Vif<String>) -> Self {
        let Vif { index, port, tx_ring, rx_ring, bridge, identity } = vif;
        let identity = identity.map(|Identity { mac, ipv4, mtu, rate }| VifIdentity {
            mac: MacAddr(mac),
            ipv4,
            mtu,
            rate: rate.map(|SendRate { bytes, interval_us }| Rate { bytes, interval_us }),
        });
        Self { index, port, tx_ring, rx_ring, bridge, identity }
    }
}
