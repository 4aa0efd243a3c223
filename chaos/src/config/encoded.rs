//! A guest's config as it travels, and the checks of what arrives.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use bincode::{Decode, Encode};
use noxs::{Ipv4Config, MacAddr};
use noxs_control::Rate;
use thiserror::Error;
use xen::units::KiB;

use crate::config::Store;
use crate::config::{
    Action, DiskConfig, DomainConfig, MAX_COMMAND_LINE, MAX_DISKS, MAX_VCPUS, MAX_VIFS, MTU,
    MemoryError, NameError, VifConfig, check_mac, check_memory, check_name, is_bridge_name,
    vdev_number,
};

/// A [`DomainConfig`], plain.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct EncodedConfig {
    name: String,
    kernel: String,
    ramdisk: Option<String>,
    memory_kib: u64,
    vcpus: u32,
    cmdline: String,
    console: bool,
    vifs: Vec<EncodedVif>,
    disks: Vec<EncodedDisk>,
    xenstore: bool,
    on_poweroff: EncodedAction,
    on_reboot: EncodedAction,
    on_crash: EncodedAction,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
struct EncodedVif {
    mac: Option<MacAddr>,
    bridge: String,
    ip: Option<EncodedIp>,
    mtu: u16,
    rate: Option<Rate>,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
struct EncodedDisk {
    target: String,
    vdev: String,
    read_only: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
struct EncodedIp {
    address: Ipv4Addr,
    prefix: u8,
    gateway: Option<Ipv4Addr>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
enum EncodedAction {
    Destroy,
    Restart,
    RenameRestart,
    Preserve,
}

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

impl From<&DomainConfig> for EncodedConfig {
    fn from(config: &DomainConfig) -> Self {
        let text = |path: &PathBuf| path.to_string_lossy().into_owned();
        Self {
            name: config.name.clone(),
            kernel: text(&config.kernel),
            ramdisk: config.ramdisk.as_ref().map(text),
            memory_kib: config.memory.0,
            vcpus: config.vcpus,
            cmdline: config.cmdline.clone(),
            console: config.console,
            vifs: config.vifs.iter().map(EncodedVif::from).collect(),
            disks: config.disks.iter().map(EncodedDisk::from).collect(),
            xenstore: config.store == Store::XenStore,
            on_poweroff: config.on_poweroff.into(),
            on_reboot: config.on_reboot.into(),
            on_crash: config.on_crash.into(),
        }
    }
}

impl From<&VifConfig> for EncodedVif {
    fn from(vif: &VifConfig) -> Self {
        let ip = vif.ip.map(|Ipv4Config { address, prefix, gateway }| EncodedIp {
            address,
            prefix,
            gateway,
        });
        Self { mac: vif.mac, bridge: vif.bridge.clone(), ip, mtu: vif.mtu, rate: vif.rate }
    }
}

impl From<&DiskConfig> for EncodedDisk {
    fn from(disk: &DiskConfig) -> Self {
        let target = disk.target.to_string_lossy().into_owned();
        Self { target, vdev: disk.vdev.clone(), read_only: disk.read_only }
    }
}

impl From<Action> for EncodedAction {
    fn from(action: Action) -> Self {
        match action {
            Action::Destroy => Self::Destroy,
            Action::Restart => Self::Restart,
            Action::RenameRestart => Self::RenameRestart,
            Action::Preserve => Self::Preserve,
        }
    }
}

impl From<EncodedAction> for Action {
    fn from(action: EncodedAction) -> Self {
        match action {
            EncodedAction::Destroy => Self::Destroy,
            EncodedAction::Restart => Self::Restart,
            EncodedAction::RenameRestart => Self::RenameRestart,
            EncodedAction::Preserve => Self::Preserve,
        }
    }
}

impl TryFrom<EncodedConfig> for DomainConfig {
    type Error = EncodedError;

    fn try_from(wire: EncodedConfig) -> Result<Self, EncodedError> {
        check_name(&wire.name)
            .map_err(|error| EncodedError::Name { name: wire.name.clone(), error })?;
        let memory = check_memory(KiB(wire.memory_kib)).map_err(EncodedError::Memory)?;
        if !(1..=MAX_VCPUS).contains(&wire.vcpus) {
            return Err(EncodedError::Range {
                what: "a number of vCPUs",
                value: wire.vcpus.into(),
            });
        }
        if wire.cmdline.len() > MAX_COMMAND_LINE {
            return Err(EncodedError::CommandLine(wire.cmdline.len()));
        }
        if wire.vifs.len() > MAX_VIFS {
            let value = wire.vifs.len() as u64;
            return Err(EncodedError::Range { what: "a number of vifs", value });
        }
        if wire.disks.len() > MAX_DISKS || (!wire.xenstore && !wire.disks.is_empty()) {
            let value = wire.disks.len() as u64;
            return Err(EncodedError::Range { what: "a number of disks", value });
        }
        Ok(Self {
            name: wire.name,
            kernel: wire.kernel.into(),
            ramdisk: wire.ramdisk.map(PathBuf::from),
            memory,
            vcpus: wire.vcpus,
            cmdline: wire.cmdline,
            console: wire.console,
            vifs: wire.vifs.into_iter().map(VifConfig::try_from).collect::<Result<_, _>>()?,
            disks: wire.disks.into_iter().map(DiskConfig::try_from).collect::<Result<_, _>>()?,
            store: if wire.xenstore { Store::XenStore } else { Store::Noxs },
            on_poweroff: wire.on_poweroff.into(),
            on_reboot: wire.on_reboot.into(),
            on_crash: wire.on_crash.into(),
        })
    }
}

impl TryFrom<EncodedDisk> for DiskConfig {
    type Error = EncodedError;

    fn try_from(wire: EncodedDisk) -> Result<Self, EncodedError> {
        let EncodedDisk { target, vdev, read_only } = wire;
        let id = vdev_number(&vdev).ok_or_else(|| EncodedError::Disk(vdev.clone()))?;
        Ok(Self { target: target.into(), vdev, id, read_only })
    }
}

impl TryFrom<EncodedVif> for VifConfig {
    type Error = EncodedError;

    fn try_from(wire: EncodedVif) -> Result<Self, EncodedError> {
        let EncodedVif { mac, bridge, ip, mtu, rate } = wire;
        if !is_bridge_name(&bridge) {
            return Err(EncodedError::Bridge(bridge));
        }
        if let Some(mac) = mac {
            check_mac(mac).map_err(|why| EncodedError::Mac { mac, why })?;
        }
        if !MTU.contains(&mtu) {
            return Err(EncodedError::Range { what: "an MTU", value: mtu.into() });
        }
        if let Some(prefix) = ip.map(|ip| ip.prefix).filter(|prefix| *prefix > 32) {
            return Err(EncodedError::Range { what: "a prefix length", value: prefix.into() });
        }
        if let Some(rate) = rate.filter(|rate| rate.bytes == 0 || rate.interval_us == 0) {
            return Err(EncodedError::Range { what: "a rate in bytes", value: rate.bytes });
        }
        let ip = ip.map(|EncodedIp { address, prefix, gateway }| Ipv4Config {
            address,
            prefix,
            gateway,
        });
        Ok(Self { mac, bridge, ip, mtu, rate })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> DomainConfig {
        crate::config::parse_str(
            "test",
            "name='web'\ntype='pvh'\nkernel='boot/k'\nramdisk='r'\nmemory='1536K'\nvcpus=2\n\
             cmdline='a b'\non_crash='preserve'\non_reboot='rename-restart'\nconsole=0\n\
             store='xenstore'\ndisk=['/a.img,raw,xvda,r']\n\
             vif=['mac=00:16:3e:00:00:01,bridge=br1,ip=10.0.0.2/24 10.0.0.1,mtu=1400,rate=1MB/s']",
            &[],
            true,
        )
        .unwrap()
        .config
    }

    #[test]
    fn a_config_arrives_as_it_was_sent() {
        let config = config();
        assert_eq!(DomainConfig::try_from(EncodedConfig::from(&config)), Ok(config));
    }

    #[test]
    fn what_no_config_says_is_refused() {
        type Spoil = fn(&mut EncodedConfig);
        let spoils: [Spoil; 20] = [
            |c| c.name = "../x".into(),
            |c| c.name = "7".into(),
            |c| c.memory_kib = 1023,
            |c| c.memory_kib = 1026,
            |c| c.memory_kib = u64::MAX,
            |c| c.vcpus = 0,
            |c| c.vcpus = 129,
            |c| c.cmdline = "x".repeat(5000),
            |c| c.vifs = vec![c.vifs[0].clone(); 65],
            |c| c.disks = vec![c.disks[0].clone(); 17],
            |c| c.disks[0].vdev = "nvme0".into(),
            |c| c.xenstore = false,
            |c| c.vifs[0].bridge = "a/b".into(),
            |c| c.vifs[0].bridge = "..".into(),
            |c| c.vifs[0].bridge = "a:b".into(),
            |c| c.vifs[0].mac = Some(MacAddr([0; 6])),
            |c| c.vifs[0].mac = Some(MacAddr([1; 6])),
            |c| c.vifs[0].mtu = 9000,
            |c| c.vifs[0].ip.as_mut().unwrap().prefix = 33,
            |c| c.vifs[0].rate.as_mut().unwrap().bytes = 0,
        ];
        for (number, spoil) in spoils.iter().enumerate() {
            let mut wire = EncodedConfig::from(&config());
            spoil(&mut wire);
            assert!(DomainConfig::try_from(wire).is_err(), "spoil {number}");
        }
    }
}
