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

/// Notes what the device page says now.
#[cold]
pub(crate) fn put(page: DevicePage) {
    // If an earlier one is still there, this one answers for both.
    *PENDING.borrow() = Some(Change { page: Box::new(page) });
}

impl Change {
    /// Returns whether a disk has a backend: if not, requests in flight are never answered, and the
    /// guest must call [`Disk::lose`](crate::block::Disk::lose).
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

    /// Reports to dom0 that the guest cannot use a new device at all.
    pub fn reject(self) {
        power::answer(&self.page.sysctl, AnswerStatus::Unsupported);
    }
}
