//! What dom0 remembers of a domain.
//!
//! ```text
//! /run/chaos/names/NAME          symbolic link to ../domains/DOMID; made exclusively, so a clash
//!                                of names costs one system call and no scan
//! /run/chaos/domains/DOMID/
//!     record                     this module's Record as JSON, written whole by rename
//!     devices                    what noxsd needs to attach the devices again (noxs::control)
//!     console.log                what the console printed, written by noxsd
//! ```
//!
//! What Xen knows (state, memory, CPU time) is asked of Xen and never kept here. A record bears the
//! domain's handle, so that a reused domid is never mistaken for its predecessor.

mod error;
mod records;

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use noxs::control::Rate;
use noxs::{Ipv4Config, MacAddr};
use serde::{Deserialize, Serialize};
use xen::units::{DomId, DomainHandle, KiB};

use crate::config::{Action, DiskConfig, DomainConfig, VifConfig, vdev_number};
use crate::daemon::wire::WireConfig;
use crate::store::Store;

pub use error::RecordError;
pub use records::{ROOT, Records};

/// Version of the record's format; another one is reported, not guessed at.
const VERSION: u32 = 1;

/// What is remembered of a domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    version: u32,
    /// The domain's number.
    pub domid: u16,
    /// Its handle, as a UUID.
    pub handle: String,
    /// Its name.
    pub name: String,
    /// The kernel it was made from.
    pub kernel: PathBuf,
    /// Its ramdisk.
    pub ramdisk: Option<PathBuf>,
    /// Its command line.
    pub cmdline: String,
    /// Memory it was given, in KiB.
    pub memory_kib: u64,
    /// vCPUs it was given.
    pub vcpus: u32,
    /// When it was made, in milliseconds after the Unix epoch.
    pub created_ms: u64,
    /// Frame of the device page.
    pub device_page_gfn: u64,
    /// Frame of the answer page.
    pub answer_page_gfn: u64,
    /// The guest's end of the sysctl event channel.
    pub sysctl_port: u32,
    /// Number of the newest sysctl request; 0 before the first.
    pub requests: u32,
    /// Whether it has a console.
    pub console: bool,
    /// Whether it may be paused although it has never run: that was asked for. Another one like that
    /// is half-made once its maker is gone.
    #[serde(default)]
    pub paused: bool,
    /// Its network interfaces.
    pub vifs: Vec<VifRecord>,
    /// Its disks.
    #[serde(default)]
    pub disks: Vec<DiskRecord>,
    /// What announces its devices.
    #[serde(default)]
    pub store: Store,
    /// What is to happen when it powers off.
    pub on_poweroff: Action,
    /// What is to happen when it reboots.
    pub on_reboot: Action,
    /// What is to happen when it crashes.
    pub on_crash: Action,
}

/// What is remembered of a disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskRecord {
    /// The file or block device.
    pub target: PathBuf,
    /// What the guest calls it.
    pub vdev: String,
    /// Whether the guest may only read it.
    pub read_only: bool,
}

impl DiskRecord {
    fn new(disk: &DiskConfig) -> Self {
        let DiskConfig { target, vdev, read_only, .. } = disk.clone();
        Self { target, vdev, read_only }
    }

    /// The config it was made from. `None` if somebody has written something else into it.
    fn config(&self) -> Option<DiskConfig> {
        let Self { target, vdev, read_only } = self.clone();
        Some(DiskConfig { id: vdev_number(&vdev)?, target, vdev, read_only })
    }
}

/// What is remembered of a network interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VifRecord {
    /// Its MAC address.
    pub mac: String,
    /// The bridge it is on.
    pub bridge: String,
    /// Its address and prefix length, if dom0 gave it one.
    pub ipv4: Option<String>,
    /// Its way to other networks.
    pub gateway: Option<Ipv4Addr>,
    /// Largest IP packet in bytes.
    pub mtu: u16,
    /// How many bytes it may send in how many microseconds, if that is limited.
    pub rate: Option<(u64, u64)>,
}

impl VifRecord {
    /// A record of an interface that got this address.
    #[must_use]
    pub fn new(mac: MacAddr, config: &VifConfig) -> Self {
        Self {
            mac: mac.to_string(),
            bridge: config.bridge.clone(),
            ipv4: config.ip.map(|ip| format!("{}/{}", ip.address, ip.prefix)),
            gateway: config.ip.and_then(|ip| ip.gateway),
            mtu: config.mtu,
            rate: config.rate.map(|rate| (rate.bytes, rate.interval_us)),
        }
    }

    /// The config it was made from. `None` if somebody has written something else into it.
    fn config(&self) -> Option<VifConfig> {
        let ip = match &self.ipv4 {
            None => None,
            Some(text) => {
                let (address, prefix) = text.split_once('/')?;
                let (address, prefix) = (address.parse().ok()?, prefix.parse().ok()?);
                Some(Ipv4Config { address, prefix, gateway: self.gateway })
            }
        };
        Some(VifConfig {
            mac: Some(self.mac.parse().ok()?),
            bridge: self.bridge.clone(),
            ip,
            mtu: self.mtu,
            rate: self.rate.map(|(bytes, interval_us)| Rate { bytes, interval_us }),
        })
    }
}

impl Record {
    /// A record of a domain made now from this config, without its other facts.
    #[must_use]
    pub fn new(domid: DomId, handle: DomainHandle, config: &DomainConfig) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            version: VERSION,
            domid: domid.0,
            handle: handle.to_string(),
            name: config.name.clone(),
            kernel: config.kernel.clone(),
            ramdisk: config.ramdisk.clone(),
            cmdline: config.cmdline.clone(),
            memory_kib: config.memory.0,
            vcpus: config.vcpus,
            created_ms: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
            device_page_gfn: 0,
            answer_page_gfn: 0,
            sysctl_port: 0,
            requests: 0,
            console: config.console,
            paused: false,
            vifs: Vec::new(),
            disks: config.disks.iter().map(DiskRecord::new).collect(),
            store: config.store,
            on_poweroff: config.on_poweroff,
            on_reboot: config.on_reboot,
            on_crash: config.on_crash,
        }
    }

    /// The config that makes the same guest again, with the same addresses. `None` if somebody has
    /// written something else into the record.
    #[must_use]
    pub fn config(&self) -> Option<DomainConfig> {
        let config = DomainConfig {
            name: self.name.clone(),
            kernel: self.kernel.clone(),
            ramdisk: self.ramdisk.clone(),
            memory: KiB(self.memory_kib),
            vcpus: self.vcpus,
            cmdline: self.cmdline.clone(),
            console: self.console,
            vifs: self.vifs.iter().map(VifRecord::config).collect::<Option<_>>()?,
            disks: self.disks.iter().map(DiskRecord::config).collect::<Option<_>>()?,
            store: self.store,
            on_poweroff: self.on_poweroff,
            on_reboot: self.on_reboot,
            on_crash: self.on_crash,
        };
        // The same checks as for a config that comes over the socket.
        DomainConfig::try_from(WireConfig::from(&config)).ok()
    }

    /// Whether this is the record of the domain with the handle.
    #[must_use]
    pub fn is_of(&self, handle: DomainHandle) -> bool {
        self.handle == handle.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_can_be_made_again_from_its_record() {
        let text = "name='web'\ntype='pvh'\nkernel='/k'\nramdisk='/r'\nmemory=4\nvcpus=2\n\
                    cmdline='a b'\non_crash='restart'\non_reboot='preserve'\n\
                    store='xenstore'\ndisk=['/a.img,raw,xvda,r']\n\
                    vif=['mac=00:16:3e:00:00:07,bridge=b,ip=10.0.0.2/24 10.0.0.1,mtu=900,rate=1MB/s']";
        let config = crate::config::parse_str("test", text, &[], true).unwrap().config;
        let mut record = Record::new(DomId(3), DomainHandle([1; 16]), &config);
        record.vifs = config.vifs.iter().map(|vif| VifRecord::new(vif.mac.unwrap(), vif)).collect();
        let stored: Record = serde_json::from_slice(&serde_json::to_vec(&record).unwrap()).unwrap();
        assert_eq!(stored, record);
        assert_eq!(stored.config(), Some(config));

        for spoil in [
            |record: &mut Record| record.memory_kib = 3,
            |record: &mut Record| record.vifs[0].mac = "x".into(),
            |record: &mut Record| record.disks[0].vdev = "x".into(),
            |record: &mut Record| record.vifs[0].ipv4 = Some("10.0.0.2".into()),
            |record: &mut Record| record.name = "../x".into(),
        ] {
            let mut record = stored.clone();
            spoil(&mut record);
            assert_eq!(record.config(), None);
        }
    }
}
