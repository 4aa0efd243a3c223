// SPDX-License-Identifier: GPL-3.0-or-later
//! Checks configs that do not come from a config file, but from a socket or a record.

use std::net::Ipv6Addr;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use noxs::MacAddr;
use noxs_control::can_be_given_ipv6;
use thiserror::Error;
use xen::units::KiB;

use super::name::check_stored_name;
use super::vif_script::check_script;
use super::{
    DiskConfig, DiskFormat, DomainConfig, Extras, Limits, MAX_COMMAND_LINE, MAX_MEMORY, MAX_VCPUS,
    MIN_MTU_IPV6, MTU, MemoryError, NameError, VifConfig, check_mac, check_memory, check_name,
    is_interface_name, is_vif_name, vdev_number,
};
use crate::cpu_list::CpuListError;

/// Why a config from a socket or a record is invalid. chaos itself never sends or stores such a
/// config.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EncodedError {
    /// The name is invalid.
    #[error("name = {name:?}: {error}")]
    Name {
        /// The name.
        name: String,
        /// Why.
        error: NameError,
    },
    /// A guest cannot have this amount of memory.
    #[error("memory: {0}")]
    Memory(MemoryError),
    /// A number is out of range.
    #[error("{what} = {value}: must be {least} to {most}")]
    Range {
        /// The number's name.
        what: &'static str,
        /// Its value.
        value: u64,
        /// The smallest valid value.
        least: u64,
        /// The largest valid value.
        most: u64,
    },
    /// A list of CPUs is wrong.
    #[error("{key}: {error}")]
    CpuList {
        /// The key.
        key: &'static str,
        /// What is wrong.
        error: CpuListError,
    },
    /// The command line is too long.
    #[error("the command line has {0} bytes: must be at most {MAX_COMMAND_LINE}")]
    CommandLine(usize),
    /// A bridge has an invalid name.
    #[error(
        "bridge = {0:?}: must be the name of a bridge: 1 to 15 bytes without '/', ':' and blanks"
    )]
    Bridge(String),
    /// A vif has an invalid script.
    #[error(
        "script = {0:?}: must be an absolute path of at most 512 bytes, for a vif of the guest"
    )]
    Script(String),
    /// A script cannot get the text.
    #[error("ip = {0:?}: must be 1 to 512 bytes without control characters, for the script")]
    ScriptIp(String),
    /// A vif has an invalid name.
    #[error(
        "vifname = {0:?}: must be a name for an interface: 1 to 15 bytes without '/', ':', '%' and \
         blanks"
    )]
    VifName(String),
    /// A network interface cannot have this IPv6 address.
    #[error("ip = {0}: must be a unicast address other than a link-local one")]
    Ipv6(Ipv6Addr),
    /// A disk has an invalid name.
    #[error("vdev = {0}: must be the name of a disk, such as xvda")]
    Disk(String),
    /// A network interface cannot have this address.
    #[error("mac = {mac}: {why}")]
    Mac {
        /// The address.
        mac: MacAddr,
        /// Why.
        why: &'static str,
    },
}

impl DomainConfig {
    /// Returns the config if it is valid.
    ///
    /// # Errors
    /// A field has a value that no config file can set.
    pub fn checked(self) -> Result<Self, EncodedError> {
        self.checked_with(check_name)
    }

    /// Returns a config from a record if it is valid. Accepts the names of older versions.
    ///
    /// # Errors
    /// A field has a value that no config file could ever set.
    pub(crate) fn checked_stored(self) -> Result<Self, EncodedError> {
        self.checked_with(check_stored_name)
    }

    fn checked_with(
        mut self,
        check_name: fn(&str) -> Result<(), NameError>,
    ) -> Result<Self, EncodedError> {
        check_name(&self.name)
            .map_err(|error| EncodedError::Name { name: self.name.clone(), error })?;
        self.memory = check_memory(self.memory).map_err(EncodedError::Memory)?;
        check_range("vcpus", self.vcpus, 1..=MAX_VCPUS)?;
        if let Some(extras) = self.extras.as_deref() {
            check_extras(extras, self.memory, self.vcpus)?;
        }
        if self.cmdline.len() > MAX_COMMAND_LINE {
            return Err(EncodedError::CommandLine(self.cmdline.len()));
        }
        check_range("number of vifs", self.vifs.len() as u64, 0..=noxs::MAX_VIFS as u64)?;
        let devices = self.device_count() as u64;
        check_range("number of devices", devices, 0..=noxs::MAX_DEVICES as u64)?;
        self.vifs.iter().try_for_each(check_vif)?;
        Ok(self)
    }

    /// Returns whether a disk of the guest is an image that is not raw.
    #[must_use]
    pub fn has_images(&self) -> bool {
        self.disks.iter().any(|disk| disk.format != DiskFormat::Raw)
    }

    /// Returns the number of devices of the guest.
    pub(crate) fn device_count(&self) -> usize {
        usize::from(self.console) + self.vifs.len() + self.disks.len()
    }
}

impl DiskConfig {
    /// Returns a raw disk with the number of its name.
    ///
    /// # Errors
    /// [`EncodedError::Disk`] if the name is not the name of a disk.
    pub fn named(target: PathBuf, vdev: String, read_only: bool) -> Result<Self, EncodedError> {
        let id = vdev_number(&vdev).ok_or_else(|| EncodedError::Disk(vdev.clone()))?;
        Ok(Self { target, format: DiskFormat::Raw, vdev, id, read_only })
    }

    /// Returns a disk whose target has its format in front of it, as in messages and records.
    ///
    /// # Errors
    /// As [`named`](Self::named).
    pub(crate) fn of_prefixed(
        target: String,
        vdev: String,
        read_only: bool,
    ) -> Result<Self, EncodedError> {
        let (format, target) = DiskFormat::split(target);
        Ok(Self { format, ..Self::named(target, vdev, read_only)? })
    }
}

fn check_extras(extras: &Extras, memory: KiB, vcpus: u32) -> Result<(), EncodedError> {
    let Limits { memory: most_memory, vcpus: most_vcpus, .. } = extras.limits;
    if let Some(most) = most_memory {
        check_memory(most).map_err(EncodedError::Memory)?;
        check_range("maxmem", most.0, memory.0..=MAX_MEMORY.0)?;
    }
    if let Some(most) = most_vcpus {
        check_range("maxvcpus", most, vcpus..=MAX_VCPUS)?;
    }
    if let Some(weight) = extras.weight {
        check_range("cpu_weight", weight, 1..=u16::MAX)?;
    }
    match &extras.shim {
        Some(shim) if shim.cmdline.len() > MAX_COMMAND_LINE => {
            Err(EncodedError::CommandLine(shim.cmdline.len()))
        }
        _ => Ok(()),
    }
}

fn check_vif(vif: &VifConfig) -> Result<(), EncodedError> {
    match &vif.script {
        Some(script) => check_script(vif, script)?,
        None if is_interface_name(&vif.bridge) => {}
        None => return Err(EncodedError::Bridge(vif.bridge.clone())),
    }
    if let Some(mac) = vif.mac {
        check_mac(mac).map_err(|why| EncodedError::Mac { mac, why })?;
    }
    check_range("mtu", vif.mtu, MTU)?;
    if let Some(ip) = vif.ip {
        check_range("prefix length", ip.prefix, 0..=32)?;
    }
    if let Some(ip6) = vif.ip6 {
        check_range("prefix length", ip6.prefix, 0..=128)?;
        check_range("mtu", vif.mtu, MIN_MTU_IPV6..=*MTU.end())?;
        if !can_be_given_ipv6(ip6.address) {
            return Err(EncodedError::Ipv6(ip6.address));
        }
    }
    if let Some(name) = vif.name.as_ref().filter(|name| !is_vif_name(name)) {
        return Err(EncodedError::VifName(name.clone()));
    }
    if let Some(rate) = vif.rate {
        check_range("bytes of the rate", rate.bytes, 1..=u64::MAX)?;
        check_range("interval of the rate", rate.interval_us, 1..=u64::MAX)?;
    }
    Ok(())
}

fn check_range<T: Copy + Into<u64>>(
    what: &'static str,
    value: T,
    range: RangeInclusive<T>,
) -> Result<(), EncodedError> {
    let (value, least, most) = (value.into(), (*range.start()).into(), (*range.end()).into());
    if (least..=most).contains(&value) {
        Ok(())
    } else {
        Err(EncodedError::Range { what, value, least, most })
    }
}
