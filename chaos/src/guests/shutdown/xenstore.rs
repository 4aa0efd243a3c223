// SPDX-License-Identifier: GPL-3.0-or-later
//! Requests in the guest's `control` folder in XenStore.

use std::time::Instant;

use noxs::Request;

use super::options::{ShutdownOptions, timed_out, unsupported};
use crate::announce::xenstore::{Control, XenStorePaths};
use crate::guests::error::LifecycleError;
use crate::guests::host::Host;
use crate::guests::resolve::{Guest, examine};
use crate::hypervisor::Hypervisor;
use crate::records::Record;

/// Writes the request, and waits until the guest has acknowledged it.
pub(super) fn ask<H: Hypervisor>(
    host: &Host<H>,
    guest: &Guest,
    record: &Record,
    options: ShutdownOptions,
    deadline: Instant,
) -> Result<(), LifecycleError> {
    let request = match options.request {
        Request::Poweroff => "poweroff",
        Request::Reboot => "reboot",
        Request::Suspend => "suspend",
        // Not requests to shut down.
        Request::Devices => "devices",
        Request::Memory => "memory",
    };
    let paths = XenStorePaths { domid: record.domid, handle: record.handle };
    if !Control::has_feature(paths, request)? {
        return Err(unsupported(record, options));
    }
    let mut control = Control::ask(paths, request)?;
    while !control.is_acknowledged()? {
        if examine(host, guest.domid)?.state().has_ended() {
            return Ok(());
        }
        if !control.wait(deadline)? {
            return Err(timed_out(record, "answered", options));
        }
    }
    Ok(())
}
