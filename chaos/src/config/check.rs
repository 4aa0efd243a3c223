//! The checks that a config passes which does not come from a file of the user's: one that arrived
//! over a socket, or that stands in a record.

use std::path::PathBuf;

use noxs::MacAddr;
use thiserror::Error;

use super::{
    DiskConfig, DomainConfig, MAX_COMMAND_LINE, MAX_DISKS, MAX_VCPUS, MAX_VIFS, MTU, MemoryError,
    NameError, VifConfig, check_mac, check_memory, check_name, is_bridge_name, vdev_number,
};

/// What arrived is no guest's config. A client of ours checks the same before it sends.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EncodedError {
    /// The name cannot be used.
    #[error("the name {name:?} cannot be used: {error}")]
    Name {
        /// The name.
        name: String,
        /// Why.
        error: NameError,
    },
    /// No guest can have so much or so little memory.
    #[error("memory: {0}")]
    Memory(MemoryError),
    /// A number is out of its range.
    #[error("{what} of {value} is out of range")]
    Range {
        /// Which number.
        what: &'static str,
        /// Its value.
        value: u64,
    },
    /// The command line does not fit.
    #[error("the command line has {0} bytes, at most {MAX_COMMAND_LINE} fit")]
    CommandLine(usize),
    /// The name of a bridge cannot be one.
    #[error("{0:?} is no name of a bridge")]
    Bridge(String),
    /// A disk cannot have this name.
    #[error("{0:?} is no name of a disk")]
    Disk(String),
    /// An interface cannot have this address.
    #[error("the address {mac}: {why}")]
    Mac {
        /// The address.
        mac: MacAddr,
        /// Why not.
        why: &'static str,
    },
}

impl DomainConfig {
    /// Returns the config if a guest can have it.
    ///
    /// # Errors
    /// The first field that no config of the user's could have set to this value.
    pub fn checked(mut self) -> Result<Self, EncodedError> {
        check_name(&self.name)
            .map_err(|error| EncodedError::Name { name: self.name.clone(), error })?;
        self.memory = check_memory(self.memory).map_err(EncodedError::Memory)?;
        let range = |what, value| Err(EncodedError::Range { what, value });
        if !(1..=MAX_VCPUS).contains(&self.vcpus) {
            return range("a number of vCPUs", self.vcpus.into());
        }
        if self.cmdline.len() > MAX_COMMAND_LINE {
            return Err(EncodedError::CommandLine(self.cmdline.len()));
        }
        if self.vifs.len() > MAX_VIFS {
            return range("a number of vifs", self.vifs.len() as u64);
        }
        let serves_disks = self.store.backends().serve_disks();
        if self.disks.len() > MAX_DISKS || (!serves_disks && !self.disks.is_empty()) {
            return range("a number of disks", self.disks.len() as u64);
        }
        self.vifs.iter().try_for_each(check_vif)?;
        Ok(self)
    }
}

impl DiskConfig {
    /// Returns a disk with the number that its name stands for.
    ///
    /// # Errors
    /// [`EncodedError::Disk`] if the name does not stand for any.
    pub fn named(target: PathBuf, vdev: String, read_only: bool) -> Result<Self, EncodedError> {
        let id = vdev_number(&vdev).ok_or_else(|| EncodedError::Disk(vdev.clone()))?;
        Ok(Self { target, vdev, id, read_only })
    }
}

fn check_vif(vif: &VifConfig) -> Result<(), EncodedError> {
    let range = |what, value| Err(EncodedError::Range { what, value });
    if !is_bridge_name(&vif.bridge) {
        return Err(EncodedError::Bridge(vif.bridge.clone()));
    }
    if let Some(mac) = vif.mac {
        check_mac(mac).map_err(|why| EncodedError::Mac { mac, why })?;
    }
    if !MTU.contains(&vif.mtu) {
        return range("an MTU", vif.mtu.into());
    }
    if let Some(prefix) = vif.ip.map(|ip| ip.prefix).filter(|prefix| *prefix > 32) {
        return range("a prefix length", prefix.into());
    }
    match vif.rate {
        Some(rate) if rate.bytes == 0 || rate.interval_us == 0 => {
            range("a rate in bytes", rate.bytes)
        }
        _ => Ok(()),
    }
}
