// SPDX-License-Identifier: GPL-3.0-or-later
//! A guest's config in versions 8 and 9 of the record, without the extras and the scripts
//! of vifs.
//!
//! These types are a file format: to add, move or remove a field makes the records of running
//! guests unreadable. A new version of the record gets types of its own.

use std::path::{Path, PathBuf};

use bincode::{Decode, Encode};
use noxs::{Ipv4Config, Ipv6Config, MacAddr};
use noxs_control::Rate;
use xen::units::KiB;

use crate::config::{
    DiskConfig, DomainConfig, EncodedError, Extras, PlainAction, PlainBootloader, PlainExtras,
    PlainScript, Store, Undecided, VifConfig,
};

/// Longest record in bytes: more than the longest config takes.
pub(in crate::records) const LIMIT: usize = 32 * 1024;

#[derive(Encode, Decode)]
pub(super) struct StoredConfig {
    name: String,
    kernel: String,
    ramdisk: Option<String>,
    memory_kib: u64,
    vcpus: u32,
    cmdline: String,
    console: bool,
    vifs: Vec<StoredVif>,
    disks: Vec<StoredDisk>,
    store: StoredStore,
    on_poweroff: PlainAction,
    on_reboot: PlainAction,
    on_crash: PlainAction,
}

#[derive(Encode, Decode)]
pub(super) struct StoredVif {
    mac: Option<[u8; 6]>,
    bridge: String,
    ip: Option<StoredIp<[u8; 4]>>,
    ip6: Option<StoredIp<[u8; 16]>>,
    name: Option<String>,
    mtu: u16,
    rate: Option<StoredRate>,
}

#[derive(Encode, Decode)]
struct StoredIp<A> {
    address: A,
    prefix: u8,
    gateway: Option<A>,
}

#[derive(Encode, Decode)]
struct StoredRate {
    bytes: u64,
    interval_us: u64,
}

#[derive(Encode, Decode)]
struct StoredDisk {
    target: String,
    vdev: String,
    read_only: bool,
}

#[derive(Encode, Decode)]
enum StoredStore {
    Noxs,
    XenStore,
}

impl StoredConfig {
    /// Returns the config with these extras and scripts, if it describes a guest that is allowed.
    pub(super) fn check(
        self,
        extras: Option<Box<PlainExtras>>,
        bootloader: Option<Box<PlainBootloader>>,
        scripts: Vec<PlainScript>,
    ) -> Result<DomainConfig, EncodedError> {
        let extras = Extras::of(extras, bootloader)?;
        let mut config = DomainConfig { extras, ..self.into_config()? };
        PlainScript::set(scripts, &mut config.vifs)?;
        config.checked_stored()
    }
}

impl From<&DomainConfig> for StoredConfig {
    fn from(config: &DomainConfig) -> Self {
        let text = |path: &Path| config.lasting_path(path).to_string_lossy().into_owned();
        Self {
            name: config.name.clone(),
            kernel: text(&config.kernel),
            ramdisk: config.ramdisk.as_deref().map(text),
            memory_kib: config.memory.0,
            vcpus: config.vcpus,
            cmdline: config.cmdline.clone(),
            console: config.console,
            vifs: config.vifs.iter().map(StoredVif::from).collect(),
            disks: config.disks.iter().map(StoredDisk::from).collect(),
            store: match config.store {
                Store::Noxs => StoredStore::Noxs,
                Store::XenStore => StoredStore::XenStore,
            },
            on_poweroff: config.on_poweroff.into(),
            on_reboot: config.on_reboot.into(),
            on_crash: config.on_crash.into(),
        }
    }
}

impl From<&VifConfig> for StoredVif {
    fn from(vif: &VifConfig) -> Self {
        Self {
            mac: vif.mac.map(|mac| mac.0),
            bridge: vif.bridge.clone(),
            ip: vif.ip.map(|ip| StoredIp {
                address: ip.address.octets(),
                prefix: ip.prefix,
                gateway: ip.gateway.map(|gateway| gateway.octets()),
            }),
            ip6: vif.ip6.map(|ip| StoredIp {
                address: ip.address.octets(),
                prefix: ip.prefix,
                gateway: ip.gateway.map(|gateway| gateway.octets()),
            }),
            name: vif.name.clone(),
            mtu: vif.mtu,
            rate: vif
                .rate
                .map(|rate| StoredRate { bytes: rate.bytes, interval_us: rate.interval_us }),
        }
    }
}

impl From<&DiskConfig> for StoredDisk {
    fn from(disk: &DiskConfig) -> Self {
        let target = disk.format.prefixed(&disk.target);
        Self { target, vdev: disk.vdev.clone(), read_only: disk.read_only }
    }
}

impl StoredConfig {
    /// Returns the config, unchecked and without extras.
    fn into_config(self) -> Result<DomainConfig, EncodedError> {
        let stored = self;
        Ok(DomainConfig {
            name: stored.name,
            kernel: stored.kernel.into(),
            ramdisk: stored.ramdisk.map(PathBuf::from),
            memory: KiB(stored.memory_kib),
            vcpus: stored.vcpus,
            cmdline: stored.cmdline,
            console: stored.console,
            vifs: stored.vifs.into_iter().map(VifConfig::from).collect(),
            disks: stored
                .disks
                .into_iter()
                .map(|disk| DiskConfig::of_prefixed(disk.target, disk.vdev, disk.read_only))
                .collect::<Result<_, _>>()?,
            store: match stored.store {
                StoredStore::Noxs => Store::Noxs,
                StoredStore::XenStore => Store::XenStore,
            },
            undecided: Undecided::default(),
            on_poweroff: stored.on_poweroff.into(),
            on_reboot: stored.on_reboot.into(),
            on_crash: stored.on_crash.into(),
            extras: None,
        })
    }
}

impl From<StoredVif> for VifConfig {
    fn from(stored: StoredVif) -> Self {
        Self {
            mac: stored.mac.map(MacAddr),
            bridge: stored.bridge,
            ip: stored.ip.map(|ip| Ipv4Config {
                address: ip.address.into(),
                prefix: ip.prefix,
                gateway: ip.gateway.map(Into::into),
            }),
            ip6: stored.ip6.map(|ip| Ipv6Config {
                address: ip.address.into(),
                prefix: ip.prefix,
                gateway: ip.gateway.map(Into::into),
            }),
            name: stored.name,
            mtu: stored.mtu,
            rate: stored.rate.map(|rate| Rate { bytes: rate.bytes, interval_us: rate.interval_us }),
            script: None,
        }
    }
}
