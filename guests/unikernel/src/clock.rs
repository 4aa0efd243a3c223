// SPDX-License-Identifier: MIT OR Apache-2.0
//! The time without hypercalls: the CPU's time stamp counter, and the factors that Xen writes to
//! `shared_info` (pvclock).

use core::ops::Add;
use core::time::Duration;

use crate::{cpu, shared_info};

/// A moment of Xen's system time, which never goes backwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant {
    nanoseconds: u64,
}

impl Instant {
    /// Returns the current time.
    #[must_use]
    pub fn now() -> Self {
        Self::now_with_stamp().0
    }

    /// Returns the current time, and the time stamp counter at this time.
    pub(crate) fn now_with_stamp() -> (Self, u64) {
        let (stamp, nanoseconds) = shared_info::system_time(cpu::time_stamp);
        (Self { nanoseconds }, stamp)
    }

    /// Returns the moment of a system time.
    #[must_use]
    pub const fn from_nanos(nanoseconds: u64) -> Self {
        Self { nanoseconds }
    }

    /// Returns the system time in nanoseconds.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.nanoseconds
    }

    /// Returns the time since `earlier`; zero if that is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.nanoseconds.saturating_sub(earlier.nanoseconds))
    }
}

impl Instant {
    /// Returns the time since 1970-01-01 00:00 UTC, by dom0's current clock.
    #[must_use]
    pub fn to_unix(self) -> Duration {
        shared_info::wall_clock().at(self.nanoseconds)
    }

    /// Returns the moment that is `unix_time` after 1970-01-01 00:00 UTC, by dom0's current clock;
    /// the start of system time if that is later.
    #[must_use]
    pub fn from_unix(unix_time: Duration) -> Self {
        let start = shared_info::wall_clock().at(0);
        Self { nanoseconds: 0 } + unix_time.saturating_sub(start)
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    /// Saturates, which takes 584 years of uptime.
    fn add(self, duration: Duration) -> Self {
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self { nanoseconds: self.nanoseconds.saturating_add(nanoseconds) }
    }
}

/// Returns the time since 1970-01-01 00:00 UTC.
#[must_use]
pub fn unix_time() -> Duration {
    Instant::now().to_unix()
}
