// SPDX-License-Identifier: GPL-3.0-or-later
//! The watch for guests that end.

use std::time::{Duration, Instant};

use chaos::guests::{DomainWatch, Host};
use daemon::chain::chain;

/// The delay before another attempt to start the watch.
const RETRY: Duration = Duration::from_secs(1);

/// A watch for domains that end, which is started again when it is lost.
#[derive(Debug, Default)]
pub struct RenewedWatch {
    current: Option<DomainWatch>,
    retry: Option<Instant>,
    /// Whether the missing watch was logged.
    reported: bool,
}

impl RenewedWatch {
    /// Returns when to call [`renew`](Self::renew) again.
    #[must_use]
    pub fn retry(&self) -> Option<Instant> {
        self.retry
    }

    /// Returns the watch, if there is one.
    #[must_use]
    pub fn current(&self) -> Option<&DomainWatch> {
        self.current.as_ref()
    }

    /// Starts a watch if there is none. Returns whether it is new: then scan for guests that ended
    /// before.
    pub fn renew(&mut self, host: &Host, now: Instant) -> bool {
        if self.current.is_some() {
            return false;
        }
        match DomainWatch::lasting(host) {
            Ok(watch) => {
                (self.current, self.retry, self.reported) = (Some(watch), None, false);
                true
            }
            Err(error) => {
                if !self.reported {
                    let error = chain(&error);
                    tracing::warn!(
                        "cannot watch for guests that exit: {error}; chaosd retries every second, \
                         and none is restarted or removed until then"
                    );
                    self.reported = true;
                }
                self.retry = Some(now + RETRY);
                false
            }
        }
    }

    /// Takes the pending events. Returns whether some guest may have ended.
    pub fn take(&mut self, now: Instant) -> bool {
        match self.current.as_mut().map(DomainWatch::take) {
            Some(Ok(may_have_ended)) => may_have_ended,
            Some(Err(_)) => {
                self.current = None;
                self.retry = Some(now);
                false
            }
            None => false,
        }
    }
}
