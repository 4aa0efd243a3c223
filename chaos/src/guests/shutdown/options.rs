// SPDX-License-Identifier: GPL-3.0-or-later
//! How a guest is to be shut down.

use std::time::Duration;

use noxs::Request;

use crate::guests::error::LifecycleError;
use crate::records::Record;

/// How a guest is to be shut down.
#[derive(Clone, Copy, Debug)]
pub struct ShutdownOptions {
    /// The request to the guest.
    pub request: Request,
    /// Wait until it has exited, and destroy it.
    pub wait: bool,
    /// How long it may take to answer and, with `wait`, to exit.
    pub timeout: Duration,
}

/// Returns the error that a guest has not done `what` in time.
pub(super) fn timed_out(
    record: &Record,
    what: &'static str,
    options: ShutdownOptions,
) -> LifecycleError {
    LifecycleError::TimedOut { name: record.name().to_owned(), what, after: options.timeout }
}

/// Returns the error that a guest does not support the request.
pub(super) fn unsupported(record: &Record, options: ShutdownOptions) -> LifecycleError {
    LifecycleError::Unsupported {
        name: record.name().to_owned(),
        request: match options.request {
            Request::Poweroff => "power-off",
            Request::Reboot => "reboot",
            Request::Suspend => "suspend",
        },
    }
}
