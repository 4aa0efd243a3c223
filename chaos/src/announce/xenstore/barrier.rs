// SPDX-License-Identifier: GPL-3.0-or-later
//! Waits until dom0's kernel has processed what was written for it in XenStore.
//!
//! The kernel's drivers learn of their devices from watches. One thread handles all their events in
//! order (`xenwatch_thread` of Linux's drivers/xen/xenbus/xenbus_xs.c), also those of watches that
//! a process sets through `/dev/xen/xenbus`. xenstored sends an event for each new watch at once.
//! When that event arrives here, the kernel has handled all events before it, and so has probed and
//! removed devices.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::fd::AsFd;
use std::time::Instant;

use crate::clients::xenstored::{DEADLINE, StoreError, XENBUS, wait_readable};
use xenstore::{Batch, Kind, Message};

/// The node that is watched. Any node does, because only the first event of the watch matters.
const NODE: &str = "domid";

/// What to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// The drivers have probed or removed the devices that were committed before.
    Probed,
    /// The drivers have also handled the first event of each watch that they set while they probed.
    /// blkback opens its block device on such an event, which may arrive after that of the first
    /// barrier.
    Ready,
}

/// Waits until the kernel has processed everything that was committed before.
///
/// # Errors
/// The device cannot be used, or the kernel does not answer in time.
pub(crate) fn wait(until: Until) -> Result<(), StoreError> {
    let failed = |source| StoreError::Xenbus { path: XENBUS.into(), source };
    let mut device = OpenOptions::new().read(true).write(true).open(XENBUS).map_err(failed)?;
    let tokens: &[&str] = match until {
        Until::Probed => &["1"],
        Until::Ready => &["1", "2"],
    };
    let deadline = Instant::now() + DEADLINE;
    for token in tokens {
        let mut watch = Batch::new();
        watch.watch(NODE, token);
        device.write_all(watch.bytes()).map_err(failed)?;
        loop {
            // Messages that never cease do not move the deadline.
            if Instant::now() >= deadline || !wait_readable(device.as_fd(), deadline)? {
                return Err(StoreError::Silent { program: "dom0's kernel", after: DEADLINE });
            }
            // Does not block after the poll: the kernel delivers whole messages.
            if Message::read_from(&mut device).map_err(failed)?.is(Kind::WatchEvent) {
                break;
            }
        }
    }
    Ok(())
}
