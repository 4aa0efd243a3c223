// SPDX-License-Identifier: GPL-3.0-or-later
//! The time of day.
//!
//! `unsafe`: only the C library knows the local time zone without a large crate.
#![allow(unsafe_code)]

use std::mem::MaybeUninit;
use std::ptr;

/// Returns how far the local time zone is ahead of UTC now, in seconds; `None` if the C library does
/// not know it.
#[must_use]
pub fn offset() -> Option<i64> {
    Some(now()?.tm_gmtoff)
}

/// Returns the time of day in the local time zone, as `12:34:56`; `None` if the C library does not
/// know it.
#[must_use]
pub fn time_of_day() -> Option<String> {
    let tm = now()?;
    Some(format!("{:02}:{:02}:{:02}", tm.tm_hour, tm.tm_min, tm.tm_sec))
}

/// Returns the time now in the local time zone.
fn now() -> Option<libc::tm> {
    // SAFETY: `time` takes a pointer that is null or valid for writes of a `time_t`; it is null.
    let now = unsafe { libc::time(ptr::null_mut()) };
    let mut broken_down = MaybeUninit::<libc::tm>::uninit();
    // SAFETY: `localtime_r` needs a `time_t` that is valid for reads and a `tm` that is valid for
    // writes; both live in this frame. It keeps neither.
    let filled = unsafe { libc::localtime_r(&raw const now, broken_down.as_mut_ptr()) };
    if filled.is_null() {
        return None;
    }
    // SAFETY: `localtime_r` has returned the pointer, so it has written the whole structure.
    Some(unsafe { broken_down.assume_init() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_offset_is_less_than_a_day() {
        assert!(offset().unwrap().abs() < 24 * 3600);
    }

    #[test]
    fn the_time_has_hours_minutes_and_seconds() {
        let time = time_of_day().unwrap();
        let parts: Vec<u32> = time.split(':').map(|part| part.parse().unwrap()).collect();
        assert!(matches!(parts[..], [0..24, 0..60, 0..=60]), "{time}");
    }
}
