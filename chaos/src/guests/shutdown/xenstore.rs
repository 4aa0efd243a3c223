//! The request in the guest's `control` folder in XenStore.

use std::os::fd::AsFd;
use std::time::Instant;

use noxs::Request;

use super::{ShutdownOptions, timed_out, unsupported};
use crate::announce::xenstore::{Control, XenStorePaths};
use crate::guests::resolve::{Guest, examine};
use crate::guests::watch::wait_any_readable;
use crate::guests::{Host, LifecycleError};
use crate::hypervisor::Hypervisor;
use crate::records::Record;

/// Asks through the guest's `control` folder in XenStore, and waits until it has taken note.
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
    };
    let paths = XenStorePaths { domid: record.domid, handle: record.handle };
    if !Control::has_feature(paths, request)? {
        return Err(unsupported(record, options));
    }
    let mut control = Control::ask(paths, request)?;
    while !control.is_taken()? {
        if examine(host, guest.domid)?.state().has_ended() {
            return Ok(());
        }
        let told = control.is_told()
            || wait_any_readable(&[control.as_fd()], deadline)
                .map_err(|errno| LifecycleError::Watch { reason: errno.to_string() })?;
        if !told {
            return Err(timed_out(record, "answered", options));
        }
        control.take()?;
    }
    Ok(())
}
