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
        Self::at(cpu::time_stamp())
    }

    /// Returns the time at which the time stamp counter was `tsc`.
    pub(crate) fn at(tsc: u64) -> Self {
        Self { nanoseconds: shared_info::time_info().system_time_at(tsc) }
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
        shared_info::wall_clock().at(self)
    }

    /// Returns the moment that is `unix_time` after 1970-01-01 00:00 UTC, by dom0's current clock;
    /// the start of system time if that is later.
    #[must_use]
    pub fn from_unix(unix_time: Duration) -> Self {
        let start = shared_info::wall_clock().at(Self { nanoseconds: 0 });
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

/// The pvclock fields of `vcpu_time_info` (`public/xen.h`).
#[derive(Clone, Copy, Debug)]
pub(crate) struct TimeInfo {
    pub(crate) tsc_timestamp: u64,
    pub(crate) system_time: u64,
    pub(crate) tsc_to_system_mul: u32,
    pub(crate) tsc_shift: i8,
}

impl TimeInfo {
    /// Returns the system time in nanoseconds at which the time stamp counter is `tsc`.
    pub(crate) fn system_time_at(&self, tsc: u64) -> u64 {
        // The counter may lag behind the stamp, which another physical CPU took: then no time has
        // passed.
        let ticks = tsc.saturating_sub(self.tsc_timestamp);
        let shift = u32::from(self.tsc_shift.unsigned_abs()).min(63);
        let ticks = if self.tsc_shift < 0 { ticks >> shift } else { ticks << shift };
        let nanoseconds = (u128::from(ticks) * u128::from(self.tsc_to_system_mul)) >> 32;
        // The product of 64 and 32 bits, shifted by 32, fits in 64.
        self.system_time.wrapping_add(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
    }
}

/// `wc_sec` and `wc_nsec` of `shared_info`: the Unix time at which system time was zero.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WallClock {
    pub(crate) seconds: u64,
    pub(crate) nanoseconds: u32,
}

impl WallClock {
    fn at(self, moment: Instant) -> Duration {
        Duration::from_secs(self.seconds)
            .saturating_add(Duration::from_nanos(u64::from(self.nanoseconds)))
            .saturating_add(Duration::from_nanos(moment.nanoseconds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(tsc_to_system_mul: u32, tsc_shift: i8) -> TimeInfo {
        TimeInfo { tsc_timestamp: 1000, system_time: 5_000, tsc_to_system_mul, tsc_shift }
    }

    #[test]
    fn ticks_become_nanoseconds() {
        // 1 GHz: as many nanoseconds as ticks.
        assert_eq!(info(1 << 31, 1).system_time_at(1_000_001_000), 1_000_005_000);
        // 4 GHz: a quarter.
        assert_eq!(info(1 << 31, -1).system_time_at(1000 + 4_000), 6_000);
    }

    #[test]
    fn a_counter_behind_the_stamp_counts_as_no_time() {
        assert_eq!(info(1 << 31, 1).system_time_at(900), 5_000);
    }

    #[test]
    fn long_uptimes_do_not_overflow() {
        let year = 365 * 86_400 * 1_000_000_000u64;
        assert_eq!(info(1 << 31, 0).system_time_at(1000 + 2 * year), 5_000 + year);
        let _ = info(u32::MAX, 127).system_time_at(u64::MAX);
    }

    #[test]
    fn the_time_of_day_is_the_sum() {
        let clock = WallClock { seconds: 1_700_000_000, nanoseconds: 900_000_000 };
        assert_eq!(
            clock.at(Instant::from_nanos(200_000_000)),
            Duration::new(1_700_000_001, 100_000_000)
        );
    }
}
