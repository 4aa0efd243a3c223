// SPDX-License-Identifier: MIT OR Apache-2.0
//! Version 2, which is only read: the message `Attach` of that time.

use std::borrow::Cow;
use std::net::Ipv4Addr;

use bincode::Decode;
use noxs::MacAddr;

use super::DeviceRecord;
use crate::{ConsoleDevice, DomainId, Rate, VifDevice, VifIdentity};

#[derive(Decode)]
pub(super) struct Record {
    domid: u16,
    handle: [u8; 16],
    console: Option<Console>,
    vifs: Vec<Vif>,
}

#[derive(Decode)]
struct Console {
    port: u32,
    ring: u32,
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

impl From<Record> for DeviceRecord<'static> {
    fn from(record: Record) -> Self {
        let Record { domid, handle, console, vifs } = record;
        Self {
            id: DomainId { domid, handle },
            console: console.map(|Console { port, ring }| ConsoleDevice { port, ring }),
            vifs: Cow::Owned(vifs.into_iter().map(VifDevice::from).collect()),
        }
    }
}

impl From<Vif> for VifDevice {
    fn from(vif: Vif) -> Self {
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
