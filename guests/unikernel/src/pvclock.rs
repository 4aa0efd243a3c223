// SPDX-License-Identifier: MIT OR Apache-2.0
//! Converts the time stamp counter to Xen's system time, and that to the time of day (pvclock).

use core::time::Duration;

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
        // The difference wraps: Xen may have taken the stamp before this guest's counter was 0, and
        // writes a negative number then.
        let ticks = tsc.wrapping_sub(self.tsc_timestamp);
        // The counter may lag behind the stamp, which another physical CPU took: then no time has
        // passed.
        let ticks = if ticks > u64::MAX / 2 { 0 } else { ticks };
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
    /// Returns the time since 1970-01-01 00:00 UTC at a system time in nanoseconds.
    pub(crate) fn at(self, system_time: u64) -> Duration {
        Duration::from_secs(self.seconds)
            .saturating_add(Duration::from_nanos(u64::from(self.nanoseconds)))
            .saturating_add(Duration::from_nanos(system_time))
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
        assert_eq!(info(1 << 31, 1).system_time_at(0), 5_000);
    }

    /// The counter of a new guest begins at 0, and its first stamp is that of the physical CPU's
    /// last calibration, up to a second earlier.
    #[test]
    fn time_passes_from_a_stamp_that_is_older_than_the_counter() {
        let stamp = 900_000_000;
        let info = TimeInfo { tsc_timestamp: 0u64.wrapping_sub(stamp), ..info(1 << 31, 1) };
        for tsc in [0, 40, 1000, 40_000_000, 2_000_000_000] {
            assert_eq!(info.system_time_at(tsc), 5_000 + stamp + tsc, "{tsc}");
        }
    }

    #[test]
    fn long_uptimes_do_not_overflow() {
        let year = 365 * 86_400 * 1_000_000_000u64;
        assert_eq!(info(1 << 31, 0).system_time_at(1000 + 2 * year), 5_000 + year);
        let _ = info(u32::MAX, 127).system_time_at(u64::MAX / 2);
        let _ = info(u32::MAX, 127).system_time_at(u64::MAX);
    }

    #[test]
    fn the_time_of_day_is_the_sum() {
        let clock = WallClock { seconds: 1_700_000_000, nanoseconds: 900_000_000 };
        assert_eq!(clock.at(200_000_000), Duration::new(1_700_000_001, 100_000_000));
    }
}
