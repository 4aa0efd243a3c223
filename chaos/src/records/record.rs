// SPDX-License-Identifier: GPL-3.0-or-later
//! The record of one domain.

use std::time::{SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};
use noxs_control::DeviceNumber;
use xen::units::{DomId, DomainHandle, Gfn, Port};

use super::stored::{self, StoredError};
use crate::config::{DomainConfig, Undecided};

/// What dom0 remembers of a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The domain's number.
    pub domid: DomId,
    /// Its handle.
    pub handle: DomainHandle,
    /// The config it was created from, completed with the values that the config left open: a
    /// restart creates the same guest, with the same addresses.
    pub config: DomainConfig,
    /// When it was created, in milliseconds since dom0 has booted: records do not outlive that, and
    /// dom0's clock may be set. From 2^40 on it is milliseconds since the Unix epoch, as
    /// former versions of chaos wrote it.
    pub created_ms: u64,
    /// Its device page, if it has one.
    pub device_page: Option<DevicePageRecord>,
    /// Whether the user asked for it to be paused. A paused guest that has never run and does not
    /// have this mark is incomplete once its creator is gone.
    pub paused: bool,
    /// The user who asked for it: 0 for root, another number for a member of chaosd's group. A
    /// guest of a member is restarted only from the files that came with the request, never from
    /// the paths in its config.
    pub owner: u32,
    /// The request that created it, if it came to chaosd with a number. A client whose connection
    /// is lost recognizes its guest by it.
    pub request: Option<RequestId>,
    /// The name it had, if it has ended and was renamed so that its successor could have the name.
    pub renamed_from: Option<String>,
}

/// Identifies a request to create a guest. The client chooses it at random.
pub type RequestId = [u8; 16];

/// What dom0 remembers of a guest's device page: where it writes requests to shut down, and which
/// devices the page lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DevicePageRecord {
    /// Frame of the device page.
    pub gfn: Gfn,
    /// Frame of the answer page.
    pub answer_gfn: Gfn,
    /// The guest's end of the sysctl event channel.
    pub sysctl_port: Port,
    /// Number of the newest sysctl request; 0 before the first one, as in the page itself.
    pub requests: u32,
    /// The devices; `None` for a guest of an older chaos, whose devices cannot be changed while it
    /// runs.
    pub devices: Option<PageDevices>,
}

/// The devices that a device page lists beside the console, which has ring 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PageDevices {
    /// The guest's end of the event channel that they share, if there ever was one.
    pub port: Option<Port>,
    /// The vifs, in the order of those of the config.
    pub vifs: Vec<PageDevice>,
    /// The disks, in the order of those of the config.
    pub disks: Vec<PageDevice>,
    /// A device that is being added or removed: it is in neither of the lists. If the process that
    /// does it is gone, the device must be withdrawn.
    pub pending: Option<PendingDevice>,
}

/// A device in the device page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageDevice {
    /// Its number among those of its kind.
    pub number: u16,
    /// Distinguishes it from an earlier one of the same number ([`noxs::Backend::instance`]).
    pub instance: u32,
    /// The numbers of its rings: those of a vif for sending and for receiving, or twice the one of a
    /// disk.
    pub rings: [u16; 2],
    /// Whether the guest was asked to stop using it.
    pub is_closing: bool,
}

/// A device that is being added or removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PendingDevice {
    /// The device.
    pub device: DeviceNumber,
    /// The numbers of its rings, as in [`PageDevice::rings`].
    pub rings: [u16; 2],
}

impl PageDevices {
    /// Returns the devices of a guest that is created with a config.
    #[must_use]
    pub fn of(config: &DomainConfig, port: Option<Port>) -> Self {
        let mut next = u16::from(config.console);
        let mut list = |count: usize, pages: u16| {
            let mut one = |number| {
                let first = next;
                next += pages;
                PageDevice { number, instance: 0, rings: [first, next - 1], is_closing: false }
            };
            (0..).take(count).map(&mut one).collect()
        };
        let vifs = list(config.vifs.len(), 2);
        let disks = list(config.disks.len(), 1);
        Self { port, vifs, disks, pending: None }
    }
}

impl Record {
    /// Decodes the bytes of a record's file, of this version or the previous one.
    ///
    /// # Errors
    /// The bytes have another version, are incomplete, or describe a guest that is not allowed.
    pub fn decode(bytes: &[u8]) -> Result<Self, StoredError> {
        stored::decode(bytes)
    }

    /// Returns the record of a domain of root that is created now, unpaused and without a device
    /// page.
    #[must_use]
    pub fn new(domid: DomId, handle: DomainHandle, config: DomainConfig) -> Self {
        let config = DomainConfig { undecided: Undecided::default(), ..config };
        Self {
            domid,
            handle,
            config,
            created_ms: since_boot_ms(),
            device_page: None,
            paused: false,
            owner: 0,
            request: None,
            renamed_from: None,
        }
    }

    /// Returns the domain's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// Returns the time since the domain was created, in milliseconds. It includes the time that
    /// dom0 was asleep.
    #[must_use]
    pub fn age_ms(&self) -> u64 {
        let now = if self.created_ms < FIRST_EPOCH { since_boot_ms() } else { since_epoch_ms() };
        now.saturating_sub(self.created_ms)
    }
}

/// The first time that is taken for one since the Unix epoch: the year 2004, or 34 years after boot.
const FIRST_EPOCH: u64 = 1 << 40;

/// Returns the time since boot in milliseconds; 0 if the kernel has no such clock.
#[must_use]
pub fn since_boot_ms() -> u64 {
    let Ok(now) = clock_gettime(ClockId::CLOCK_BOOTTIME) else { return 0 };
    u64::try_from(now.tv_sec() * 1000 + now.tv_nsec() / 1_000_000).unwrap_or_default()
}

fn since_epoch_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_age_does_not_depend_on_the_clock_being_set() {
        let config = "name='a'\ntype='pvh'\nkernel='/k'\nmemory=4";
        let config = crate::config::parse_str("test", config, &[], true).unwrap().config;
        let mut record = Record::new(DomId(3), DomainHandle([1; 16]), config);
        assert!(record.created_ms < FIRST_EPOCH, "{}", record.created_ms);
        assert!(record.age_ms() < 60_000, "{}", record.age_ms());
        // As former versions wrote it.
        record.created_ms = since_epoch_ms() - 90_000;
        assert!((90_000..150_000).contains(&record.age_ms()), "{}", record.age_ms());
    }
}
