// SPDX-License-Identifier: MIT OR Apache-2.0
//! Devices that dom0 adds and removes while the guest runs.
//!
//! dom0 changes the list of devices in the device page and waits for the guest. [`wait`](crate::wait)
//! returns then, and [`take`] returns the change. The guest starts the devices that are new, stops
//! using those that are not listed any more, and answers. [`Net::serve`](crate::net::Net::serve) does
//! that for network interfaces, and passes disks on to the service.
//!
//! A guest that does not answer lets dom0 wait until the device is withdrawn.

use alloc::boxed::Box;

use noxs::{AnswerStatus, DevicePage, Vbd};

use crate::cpu::Local;
use crate::power;

/// The last change that was not taken.
static PENDING: Local<Option<Change>> = Local::new(None);

/// A change of the list of devices.
#[derive(Debug)]
pub struct Change {
    pub(crate) page: Box<DevicePage>,
}

/// Returns the last change, if it was not taken before.
pub fn take() -> Option<Change> {
    PENDING.borrow().take()
}

/// Returns whether there is a change to take.
pub(crate) fn is_pending() -> bool {
    PENDING.borrow().is_some()
}

/// Returns whether the last change that was not taken says that a disk has no backend any more.
pub(crate) fn has_lost(disk: &Vbd) -> bool {
    PENDING.borrow().as_ref().is_some_and(|change| !change.has_backend(disk))
}

/// Notes what the device page says now.
#[cold]
pub(crate) fn put(page: DevicePage) {
    // If an earlier one is still there, this one answers for both.
    *PENDING.borrow() = Some(Change { page: Box::new(page) });
}

impl Change {
    /// Returns whether a disk has a backend: if not, requests in flight are never answered, and the
    /// guest must call [`Disk::lose`](crate::block::Disk::lose). A function of the disk that waits for
    /// an answer does so itself.
    #[must_use]
    pub fn has_backend(&self, disk: &Vbd) -> bool {
        let id = |disk: &Vbd| (disk.backend.index, disk.backend.instance);
        self.page.disks().any(|listed| id(listed) == id(disk))
    }

    /// Reports to dom0 that the guest uses the devices as they are listed now.
    pub fn accept(self) {
        power::answer(&self.page.sysctl, AnswerStatus::Accepted);
    }

    /// Reports to dom0 that memory or grants do not suffice for a new device.
    pub fn refuse(self) {
        power::answer(&self.page.sysctl, AnswerStatus::NoRoom);
    }

    /// Reports to dom0 that the guest cannot use the IPv6 address of a new interface.
    #[cfg(not(feature = "ipv6"))]
    pub(crate) fn reject_ipv6(self) {
        power::answer(&self.page.sysctl, AnswerStatus::NoIpv6);
    }

    /// Reports to dom0 that the guest cannot use a new device at all.
    pub fn reject(self) {
        power::answer(&self.page.sysctl, AnswerStatus::Unsupported);
    }
}

#[cfg(test)]
mod tests {
    use noxs::{Backend, Device, DeviceState, Geometry, Ring};

    use super::*;

    fn disk(instance: u32, state: DeviceState) -> Vbd {
        let rings = [Ring { grant: 8, gfn: 0 }];
        let backend = Backend { index: 0, instance, domid: 0, state, port: 3, rings };
        let geometry =
            Geometry { sectors: 8, sector_size: 512, physical_sector_size: 512, read_only: false };
        let (flush, barrier, discard, indirect_segments) = (true, true, None, 0);
        Vbd { backend, geometry, flush, barrier, discard, indirect_segments }
    }

    #[test]
    fn a_disk_is_lost_when_a_change_does_not_list_it_and_stays_so_until_the_change_is_taken() {
        let own = disk(3, DeviceState::Connected);
        let lists = |disks: &[Vbd]| {
            let mut page = DevicePage::new(1, [1; 16]);
            for disk in disks {
                page.add(Device::Vbd(*disk)).unwrap();
            }
            put(page);
            has_lost(&own)
        };
        assert!(!has_lost(&own), "there is no change");
        assert!(!lists(&[own]));
        // Its backend still answers what is in flight.
        assert!(!lists(&[disk(3, DeviceState::Closing)]));
        assert!(lists(&[disk(4, DeviceState::Connected)]), "the number has come back");
        assert!(lists(&[]) && has_lost(&own));
        assert!(take().is_some() && !has_lost(&own));
    }
}
