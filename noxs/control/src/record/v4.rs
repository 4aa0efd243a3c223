// SPDX-License-Identifier: MIT OR Apache-2.0
//! Version 4, which is read and no longer written: without IPv6 addresses. What it has in common with
//! version 5 has the types of that one.

use std::net::Ipv4Addr;

use bincode::Decode;

use super::v5;

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
    Vbd(v5::Vbd<String>),
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
    rate: Option<v5::SendRate>,
}

impl From<Record> for v5::Record {
    fn from(record: Record) -> Self {
        let Record { domid, handle, devices } = record;
        Self { domid, handle, devices: devices.into_iter().map(v5::Device::from).collect() }
    }
}

impl From<Device> for v5::Device<String> {
    fn from(device: Device) -> Self {
        match device {
            Device::Console { port, ring } => Self::Console { port, ring },
            Device::Vif(vif) => Self::Vif(vif.into()),
            Device::Vbd(vbd) => Self::Vbd(vbd),
        }
    }
}

impl From<Vif> for v5::Vif<String> {
    fn from(vif: Vif) -> Self {
        let Vif { index, port, tx_ring, rx_ring, bridge, identity } = vif;
        let identity = identity.map(|Identity { mac, ipv4, mtu, rate }| v5::Identity {
            mac,
            ipv4,
            ipv6: None,
            mtu,
            rate,
        });
        Self { index, port, tx_ring, rx_ring, bridge, identity }
    }
}
