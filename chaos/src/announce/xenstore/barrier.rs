//! Waiting until dom0's kernel has done what was written for it in XenStore.
//!
//! Its drivers learn of their devices from watches, whose events one thread of the kernel handles, one
//! after the other (`xenwatch_thread` of Linux's drivers/xen/xenbus/xenbus_xs.c). A watch that is set
//! through `/dev/xen/xenbus` is one of the kernel's own and its events go the same way. A new watch
//! gets an event at once: when that arrives, all that came before it has been dealt with, the
//! probing and removing of devices among it.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::fd::AsFd;
use std::time::Instant;

use crate::clients::xenstored::{DEADLINE, StoreError, wait_readable};
use xenstore::{Batch, Kind, Message};

/// The kernel's way to XenStore (`xenbus_dev_frontend.c`).
const XENBUS: &str = "/dev/xen/xenbus";

/// A node that is always there: the barrier is in the event that each new watch gets.
const NODE: &str = "domid";

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// The drivers have been asked to probe or to remove what was committed before.
    Probed,
    /// They have also dealt with the watches that they set then. blkback opens its block device on
    /// the first event of one of these, which may come after ours.
    Ready,
}

/// Waits until the kernel has dealt with all that was committed before.
///
/// # Errors
/// There is no such device, or the kernel does not answer in time.
pub(crate) fn wait(until: Until) -> Result<(), StoreError> {
    let failed = |source| StoreError::Xenbus { path: XENBUS, source };
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
            if !wait_readable(device.as_fd(), deadline)? {
                return Err(StoreError::Silent { program: "dom0's kernel", after: DEADLINE });
            }
            // Whole messages come from the kernel.
            if Message::read_from(&mut device).map_err(failed)?.is(Kind::WatchEvent) {
                break;
            }
        }
    }
    Ok(())
}
