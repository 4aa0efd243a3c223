// SPDX-License-Identifier: GPL-3.0-or-later
//! The form of a guest's config in messages to chaosd. A received config is checked
//! ([`DomainConfig::checked`]).

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use bincode::{Decode, Encode};
use noxs::{Ipv4Config, Ipv6Config, MacAddr};
use noxs_control::Rate;
use xen::units::KiB;

use super::action::PlainAction;
use super::extras::{Extras, PlainBootloader, PlainExtras};
use super::{DiskConfig, DomainConfig, EncodedError, Store, Undecided, VifConfig};

/// A [`DomainConfig`] in the form of a message. Changing a field changes the protocol of chaosd.
///
/// It has no scripts of vifs, so no client can have chaosd run one: the command creates such guests
/// itself ([`DomainConfig::has_scripts`]).
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
    store: EncodedStore,
    undecided: Undecided,
    on_poweroff: PlainAction,
    on_reboot: PlainAction,
    on_crash: PlainAction,
    extras: Option<Box<PlainExtras>>,
    bootloader: Option<Box<PlainBootloader>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
struct EncodedVif {
    mac: Option<MacAddr>,
    bridge: String,
    ip: Option<EncodedIp<Ipv4Addr>>,
    ip6: Option<EncodedIp<Ipv6Addr>>,
    name: Option<String>,
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
struct EncodedIp<A> {
    address: A,
    prefix: u8,
    gateway: Option<A>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
enum EncodedStore {
    Noxs,
    XenStore,
}

impl From<&DomainConfig> for EncodedConfig {
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
            vifs: config.vifs.iter().map(EncodedVif::from).collect(),
            disks: config.disks.iter().map(EncodedDisk::from).collect(),
            store: config.store.into(),
            undecided: config.undecided,
            on_poweroff: config.on_poweroff.into(),
            on_reboot: config.on_reboot.into(),
            on_crash: config.on_crash.into(),
            extras: PlainExtras::of(config),
            bootloader: PlainBootloader::of(config),
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
        let ip6 = vif.ip6.map(|Ipv6Config { address, prefix, gateway }| EncodedIp {
            address,
            prefix,
            gateway,
        });
        let VifConfig { mac, ref bridge, ref name, mtu, rate, .. } = *vif;
        Self { mac, bridge: bridge.clone(), ip, ip6, name: name.clone(), mtu, rate }
    }
}

impl From<&DiskConfig> for EncodedDisk {
    fn from(disk: &DiskConfig) -> Self {
        let target = disk.format.prefixed(&disk.target);
        Self { target, vdev: disk.vdev.clone(), read_only: disk.read_only }
    }
}

impl From<Store> for EncodedStore {
    fn from(store: Store) -> Self {
        match store {
            Store::Noxs => Self::Noxs,
            Store::XenStore => Self::XenStore,
        }
    }
}

impl From<EncodedStore> for Store {
    fn from(store: EncodedStore) -> Self {
        match store {
            EncodedStore::Noxs => Self::Noxs,
            EncodedStore::XenStore => Self::XenStore,
        }
    }
}

impl TryFrom<EncodedConfig> for DomainConfig {
    type Error = EncodedError;

    fn try_from(encoded: EncodedConfig) -> Result<Self, EncodedError> {
        let disks = encoded.disks.into_iter();
        Self {
            name: encoded.name,
            kernel: encoded.kernel.into(),
            ramdisk: encoded.ramdisk.map(PathBuf::from),
            memory: KiB(encoded.memory_kib),
            vcpus: encoded.vcpus,
            cmdline: encoded.cmdline,
            console: encoded.console,
            vifs: encoded.vifs.into_iter().map(VifConfig::from).collect(),
            disks: disks
                .map(|disk| DiskConfig::of_prefixed(disk.target, disk.vdev, disk.read_only))
                .collect::<Result<_, _>>()?,
            store: encoded.store.into(),
            undecided: encoded.undecided,
            on_poweroff: encoded.on_poweroff.into(),
            on_reboot: encoded.on_reboot.into(),
            on_crash: encoded.on_crash.into(),
            extras: Extras::of(encoded.extras, encoded.bootloader)?,
        }
        .checked()
    }
}

impl From<EncodedVif> for VifConfig {
    fn from(encoded: EncodedVif) -> Self {
        let EncodedVif { mac, bridge, ip, ip6, name, mtu, rate } = encoded;
        let ip = ip.map(|EncodedIp { address, prefix, gateway }| Ipv4Config {
            address,
            prefix,
            gateway,
        });
        let ip6 = ip6.map(|EncodedIp { address, prefix, gateway }| Ipv6Config {
            address,
            prefix,
            gateway,
        });
        Self { mac, bridge, ip, ip6, name, mtu, rate, script: None }
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
             disk=['/a.img,raw,xvda,r','/b.img,qcow2,xvdb,w']\n\
             vif=['mac=00:16:3e:00:00:01,bridge=br1,ip=10.0.0.2/24 10.0.0.1 2001:db8::2/64 fe80::1,\
             vifname=lan,mtu=1400,rate=1MB/s',\
             'bridge=br2']",
            &[],
            true,
        )
        .unwrap()
        .config
    }

    #[test]
    fn decoding_returns_what_was_encoded() {
        for store in [Store::Noxs, Store::XenStore] {
            let config = DomainConfig { store, ..config() };
            assert_eq!(DomainConfig::try_from(EncodedConfig::from(&config)), Ok(config));
        }
    }

    #[test]
    fn values_that_no_config_file_can_set_are_refused() {
        type Change = fn(&mut EncodedConfig);
        let changes: [Change; 27] = [
            |c| c.name = "../x".into(),
            |c| c.name = "7".into(),
            |c| c.name = "+7".into(),
            |c| c.name = "a\u{202e}".into(),
            |c| c.name = "Domain-0".into(),
            |c| c.memory_kib = 1023,
            |c| c.memory_kib = 1026,
            |c| c.memory_kib = u64::MAX,
            |c| c.vcpus = 0,
            |c| c.vcpus = 129,
            |c| c.cmdline = "x".repeat(5000),
            |c| c.vifs = vec![c.vifs[0].clone(); noxs::MAX_VIFS + 1],
            |c| c.disks = vec![c.disks[0].clone(); noxs::MAX_DEVICES],
            |c| c.disks[0].vdev = "nvme0".into(),
            |c| c.vifs[0].bridge = "a/b".into(),
            |c| c.vifs[0].bridge = "..".into(),
            |c| c.vifs[0].bridge = "a:b".into(),
            |c| c.vifs[0].mac = Some(MacAddr([0; 6])),
            |c| c.vifs[0].mac = Some(MacAddr([1; 6])),
            |c| c.vifs[0].mtu = 9001,
            |c| c.vifs[0].ip.as_mut().unwrap().prefix = 33,
            |c| c.vifs[0].mtu = 1279,
            |c| c.vifs[0].ip6.as_mut().unwrap().prefix = 129,
            |c| c.vifs[0].ip6.as_mut().unwrap().address = "fe80::1".parse().unwrap(),
            |c| c.vifs[0].ip6.as_mut().unwrap().address = Ipv6Addr::UNSPECIFIED,
            |c| c.vifs[0].name = Some("a/b".into()),
            |c| c.vifs[0].rate.as_mut().unwrap().bytes = 0,
        ];
        for (number, change) in changes.iter().enumerate() {
            let mut encoded = EncodedConfig::from(&config());
            change(&mut encoded);
            assert!(DomainConfig::try_from(encoded).is_err(), "change {number}");
        }
    }
}
