// SPDX-License-Identifier: MIT OR Apache-2.0
//! The NUMA nodes of PCI devices.

use std::fmt;
use std::str::FromStr;

use xen_abi::sysctl::{self, PciDevice, PciTopoInfo};

use crate::error::Error;
use crate::hypercall::Xen;

/// The most devices in one hypercall. Xen may leave a longer list unfinished.
const AT_ONCE: usize = 64;

/// The address of a PCI device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PciAddress {
    /// Its segment, which Linux calls a domain.
    pub segment: u16,
    /// Its bus.
    pub bus: u8,
    /// Its number on the bus: at most 31.
    pub device: u8,
    /// Its function: at most 7.
    pub function: u8,
}

impl fmt::Display for PciAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { segment, bus, device, function } = self;
        write!(f, "{segment:04x}:{bus:02x}:{device:02x}.{function:x}")
    }
}

/// Why a text is not the address of a device that Xen can have: a number is missing, or too large. Linux
/// gives devices behind some controllers segments that only it knows, from 10000 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be SEGMENT:BUS:DEVICE.FUNCTION, in hexadecimal digits")]
pub struct PciAddressError;

impl FromStr for PciAddress {
    type Err = PciAddressError;

    /// Parses an address as Linux writes it, such as `0000:00:1f.3`.
    fn from_str(text: &str) -> Result<Self, PciAddressError> {
        let mut parts = text.split([':', '.']);
        let mut next = |most: u16| {
            let digits = parts.next().filter(|part| part.bytes().all(|b| b.is_ascii_hexdigit()));
            digits
                .and_then(|digits| u16::from_str_radix(digits, 16).ok())
                .filter(|number| *number <= most)
                .ok_or(PciAddressError)
        };
        let (segment, bus, device, function) = (next(u16::MAX)?, next(255)?, next(31)?, next(7)?);
        let byte = |number: u16| u8::try_from(number).map_err(|_| PciAddressError);
        let (bus, device, function) = (byte(bus)?, byte(device)?, byte(function)?);
        match parts.next() {
            None => Ok(Self { segment, bus, device, function }),
            Some(_) => Err(PciAddressError),
        }
    }
}

impl From<PciAddress> for PciDevice {
    fn from(address: PciAddress) -> Self {
        let PciAddress { segment, bus, device, function } = address;
        Self { seg: segment, bus, devfn: device << 3 | function & 7 }
    }
}

impl Xen {
    /// Returns the NUMA node of each device; `None` if Xen does not know the device, or its node.
    ///
    /// # Errors
    /// Xen refuses, for example because it was built without PCI.
    pub fn pci_nodes(&self, devices: &[PciAddress]) -> Result<Vec<Option<u32>>, Error> {
        let mut nodes = Vec::with_capacity(devices.len());
        while nodes.len() < devices.len() {
            let left = &devices[nodes.len()..];
            let asked = &left[..left.len().min(AT_ONCE)];
            let (of_device, of_node) = (size_of::<PciDevice>(), size_of::<u32>());
            let data = self.data(asked.len() * (of_device + of_node))?;
            for (index, device) in asked.iter().enumerate() {
                data.put(index * of_device, &PciDevice::from(*device));
            }
            let mut raw = PciTopoInfo::default();
            let cmd = sysctl::XEN_SYSCTL_PCITOPOINFO;
            self.sysctl_with("sysctl pcitopoinfo", cmd, &mut raw, &data)?;
            // It answers at least one, or the loop would not end.
            let count = usize::try_from(raw.num_devs).unwrap_or(usize::MAX).clamp(1, asked.len());
            let at = |index: usize| asked.len() * of_device + index * of_node;
            nodes.extend((0..count).map(|index| known(data.get(at(index)))));
        }
        Ok(nodes)
    }
}

fn known(node: u32) -> Option<u32> {
    (node != sysctl::XEN_INVALID_NODE_ID && node != sysctl::XEN_INVALID_DEV).then_some(node)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_those_of_linux() {
        let address = PciAddress { segment: 1, bus: 0xa0, device: 0x1f, function: 3 };
        assert_eq!("0001:a0:1f.3".parse(), Ok(address));
        assert_eq!(address.to_string(), "0001:a0:1f.3");
        assert_eq!(PciDevice::from(address).devfn, 0xfb);
        for wrong in [
            "",
            "0000:00:00",
            "10000:e0:06.0",
            "0:100:0.0",
            "0:0:20.0",
            "0:0:0.8",
            "0:0:0.0.0",
            "+1:0:0.0",
            "0:0:.0",
            "0:0:0.x",
        ] {
            assert_eq!(wrong.parse::<PciAddress>(), Err(PciAddressError), "{wrong}");
        }
    }

    #[test]
    fn a_node_that_xen_does_not_know_is_none() {
        assert_eq!([0, 7, u32::MAX, u32::MAX - 1].map(known), [Some(0), Some(7), None, None]);
    }
}
