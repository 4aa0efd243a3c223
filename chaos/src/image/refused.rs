// SPDX-License-Identifier: GPL-3.0-or-later
//! A kernel that was refused, and is not unpacked again for nothing.

use std::sync::Arc;
use std::time::Instant;

use super::error::{ImageError, RETRY_SLOW};
use super::limit::SizeLimit;

/// Why a kernel was refused, and for how long the same kernel is.
#[derive(Debug)]
pub struct RefusedKernel {
    reason: Arc<ImageError>,
    limit: SizeLimit,
    /// When it may be tried again. `None` if that would be in vain.
    until: Option<Instant>,
}

impl RefusedKernel {
    /// Remembers that a kernel was refused with this limit now.
    #[must_use]
    pub fn new(reason: Arc<ImageError>, limit: SizeLimit, now: Instant) -> Self {
        let until = matches!(*reason, ImageError::TooSlow { .. }).then(|| now + RETRY_SLOW);
        Self { reason, limit, until }
    }

    /// Returns why the kernel would be refused with this limit, too. `None` if it must be read.
    #[must_use]
    pub fn error(&self, limit: SizeLimit, now: Instant) -> Option<ImageError> {
        let only_too_large = matches!(*self.reason, ImageError::TooLargeForGuest { .. });
        let is_refused =
            (!only_too_large || limit <= self.limit) && self.until.is_none_or(|until| now < until);
        is_refused.then(|| ImageError::Remembered(Arc::clone(&self.reason)))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_kernel_that_took_too_long_is_refused_for_a_while_and_others_for_ever() {
        let now = Instant::now();
        let refused = |reason| RefusedKernel::new(Arc::new(reason), SizeLimit::MOST, now);
        let slow = refused(ImageError::TooSlow { method: "gzip" });
        let last = now + RETRY_SLOW - Duration::from_millis(1);
        let error = slow.error(SizeLimit::MOST, last).unwrap();
        assert_eq!(
            error.to_string(),
            "the gzip data take more than 120 s of CPU time to unpack, the maximum; unpack the kernel \
             first (for Linux: scripts/extract-vmlinux in its sources), or, if this host was \
             overloaded, try again in 10 min"
        );
        assert!(slow.error(SizeLimit::MOST, now + RETRY_SLOW).is_none());
        let wrong = refused(ImageError::NoPvhNote);
        assert!(wrong.error(SizeLimit::MOST, now + 1000 * RETRY_SLOW).is_some());
    }
}
