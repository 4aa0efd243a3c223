// SPDX-License-Identifier: GPL-3.0-or-later
//! How a guest is to be shut down.

use std::time::{Duration, Instant};

use noxs::Request;

use crate::guests::error::LifecycleError;
use crate::guests::watch::deadline;
use crate::records::Record;

/// How a guest is to be shut down.
#[derive(Clone, Copy, Debug)]
pub struct ShutdownOptions {
    /// The request to the guest.
    pub request: Request,
    /// Wait until it has exited, and until it is destroyed if its config says so.
    pub wait: bool,
    /// chaosd runs, which carries out what the config says. Otherwise this process destroys the guest.
    pub is_supervised: bool,
    /// How long it may take to answer and, with `wait`, to exit.
    pub timeout: Duration,
}

impl ShutdownOptions {
    /// Returns when the time-out that begins now is over. A time-out of any size is possible.
    pub(super) fn deadline(self) -> Instant {
        deadline(self.timeout)
    }
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
            Request::Devices => "changes of devices",
            Request::Memory => "changes of its memory",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guests::watch::LONGEST;

    #[test]
    fn a_timeout_of_any_size_is_a_deadline() {
        let (request, wait, is_supervised) = (Request::Poweroff, true, false);
        let options = |timeout| ShutdownOptions { request, wait, is_supervised, timeout };
        for timeout in [Duration::ZERO, Duration::from_secs(u64::MAX), Duration::MAX] {
            assert!(options(timeout).deadline() >= Instant::now() - Duration::from_secs(1));
        }
        assert!(options(Duration::MAX).deadline() > Instant::now() + LONGEST / 2);
    }
}
