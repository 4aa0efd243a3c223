// SPDX-License-Identifier: MIT OR Apache-2.0
//! The devices of a domain, as noxsd needs to know them.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use bincode::{Decode, Encode};
use noxs::{Discard, Geometry, MacAddr};

/// A device that can be added to a running domain, and its number among those of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum DeviceNumber {
    /// A network interface.
    Vif(u16),
    /// A disk.
    Vbd(u16),
}

impl fmt::Display for DeviceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vif(number) => write!(f, "vif{number}"),
            Self::Vbd(number) => write!(f, "vbd{number}"),
        }
    }
}

/// Identifies a domain even if Xen reuses its domid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct DomainId {
    /// Xen's number of the domain.
    pub domid: u16,
    /// The domain's handle (UUID).
    pub handle: [u8; 16],
}

/// The devices of a domain, as their back end needs to know them.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Attach {
    /// The domain.
    pub id: DomainId,
    /// The console, if the domain has one.
    pub console: Option<ConsoleDevice>,
    /// The network interfaces.
    pub vifs: Vec<VifDevice>,
    /// The disks.
    pub vbds: Vec<VbdDevice>,
}

impl Attach {
    /// Removes a device. Returns its place among those of its kind, if it was there.
    pub fn remove(&mut self, device: DeviceNumber) -> Option<usize> {
        match device {
            DeviceNumber::Vif(number) => {
                let place = self.vifs.iter().position(|vif| vif.index == number)?;
                self.vifs.remove(place);
                Some(place)
            }
            DeviceNumber::Vbd(number) => {
                let place = self.vbds.iter().position(|vbd| vbd.index == number)?;
                self.vbds.remove(place);
                Some(place)
            }
        }
    }

    /// Returns whether no device is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.console.is_none() && self.vifs.is_empty() && self.vbds.is_empty()
    }

    /// Sets what is behind the disks, in their order.
    pub fn set_images(&mut self, images: &[DiskImage]) {
        for (vbd, image) in self.vbds.iter_mut().zip(images) {
            vbd.image = Some(image.clone());
        }
    }
}

/// A console to attach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ConsoleDevice {
    /// The guest's end of the event channel.
    pub port: u32,
    /// Grant reference of the ring page.
    pub ring: u32,
}

/// A network interface to attach.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct VifDevice {
    /// Number of the interface in its domain.
    pub index: u16,
    /// The guest's end of the event channel.
    pub port: u32,
    /// Grant reference of the ring that the guest sends on.
    pub tx_ring: u32,
    /// Grant reference of the ring that the guest receives on.
    pub rx_ring: u32,
    /// Name of the bridge whose switch the interface is on.
    pub bridge: String,
    /// Addresses and limits, if they are known: set for all vifs of a domain or for none. Without
    /// them the rings are mapped and the port is bound, but the interface is on no switch and no
    /// frame moves until [`Request::Configure`](crate::Request::Configure) sets them.
    pub identity: Option<VifIdentity>,
}

/// The addresses and limits of a network interface, which the guest's owner chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct VifIdentity {
    /// The only source MAC address the guest may use.
    pub mac: MacAddr,
    /// The only source IPv4 address the guest may use, if it was given an address of any family.
    pub ipv4: Option<Ipv4Addr>,
    /// The only source IPv6 address that the guest may use beside the link-local one that is derived
    /// from its MAC address, if it was given an address of any family.
    pub ipv6: Option<Ipv6Addr>,
    /// Size of the largest IP packet, in bytes.
    pub mtu: u16,
    /// How much the guest may send; `None` if that is not limited.
    pub rate: Option<Rate>,
}

/// A disk to attach.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct VbdDevice {
    /// Number of the disk in its domain.
    pub index: u16,
    /// The guest's end of the event channel.
    pub port: u32,
    /// Grant reference of the ring page.
    pub ring: u32,
    /// What is behind the disk, if it is known: set for all disks of a domain or for none. Without it
    /// the ring is mapped and the port is bound, but no request is taken until
    /// [`Request::Configure`](crate::Request::Configure) sets it.
    pub image: Option<DiskImage>,
}

/// The file or block device behind a disk. It comes as a file descriptor, open for reading, and for
/// writing unless the disk is read-only. noxsd locks it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct DiskImage {
    /// Its path, by which a restarted noxsd opens it again, and which messages name.
    pub path: String,
    /// What it is: a restarted noxsd refuses another file at the path.
    pub identity: DiskIdentity,
    /// Its size, as in the device page.
    pub geometry: Geometry,
    /// What the guest may discard, as in the device page.
    pub discard: Option<Discard>,
}

impl DiskImage {
    /// Returns whether a disk with this identity is the same, and one of both is written: then they must
    /// not be in use at the same time.
    #[must_use]
    pub fn excludes(&self, identity: DiskIdentity, read_only: bool) -> bool {
        self.identity == identity && !(self.geometry.read_only && read_only)
    }
}

/// Recognizes a file or block device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub enum DiskIdentity {
    /// A regular file.
    File {
        /// Number of its file system (`st_dev`).
        device: u64,
        /// Its number there (`st_ino`).
        inode: u64,
    },
    /// A block device.
    BlockDevice {
        /// Its number (`st_rdev`).
        number: u64,
    },
}

impl From<disk::Identity> for DiskIdentity {
    fn from(identity: disk::Identity) -> Self {
        match identity {
            disk::Identity::File { device, inode } => Self::File { device, inode },
            disk::Identity::BlockDevice { number } => Self::BlockDevice { number },
        }
    }
}

/// A limit on what a guest sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Rate {
    /// Bytes that may be sent in each interval.
    pub bytes: u64,
    /// Length of the interval in microseconds.
    pub interval_us: u64,
}
