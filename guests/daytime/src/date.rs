// SPDX-License-Identifier: MIT OR Apache-2.0
//! Converts Unix time to a calendar date.

use core::fmt;

const WEEKDAYS: [&str; 7] =
    ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// A moment in UTC.
#[derive(Clone, Copy, Debug)]
pub struct Date {
    unix_time: u64,
}

impl Date {
    /// Returns the date `seconds` after 1970-01-01 00:00 UTC.
    #[must_use]
    pub fn from_unix(seconds: u64) -> Self {
        Self { unix_time: seconds }
    }
}

fn name(names: &'static [&'static str], number: u64) -> &'static str {
    usize::try_from(number).ok().and_then(|number| names.get(number)).copied().unwrap_or_default()
}

/// Returns year, month (from 0) and day (from 1) of the day that is `days` after 1970-01-01.
fn civil(days: u64) -> (u64, u64, u64) {
    // Let years begin in March, so that a leap day is the last day of its year. 400 years have
    // 146097 days.
    let days = days + 719_468; // since 0000-03-01
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    // From March on, month lengths repeat every five months, which have 153 days.
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let after_new_year = month >= 10;
    let month = if after_new_year { month - 10 } else { month + 2 };
    (era * 400 + year + u64::from(after_new_year), month, day)
}

impl fmt::Display for Date {
    /// Formats the date as RFC 867 suggests: weekday, month, day, year, time and zone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, second) = (self.unix_time / 86_400, self.unix_time % 86_400);
        let (year, month, day) = civil(days);
        let (hour, minute) = (second / 3600, second / 60 % 60);
        write!(
            f,
            "{}, {} {day}, {year} {hour:02}:{minute:02}:{:02}-UTC",
            name(&WEEKDAYS, days % 7),
            name(&MONTHS, month),
            second % 60
        )
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;

    #[test]
    fn dates_match_the_calendar() {
        for (seconds, text) in [
            (0, "Thursday, January 1, 1970 00:00:00-UTC"),
            (383_247_463, "Monday, February 22, 1982 17:37:43-UTC"),
            (951_782_399, "Monday, February 28, 2000 23:59:59-UTC"),
            (951_782_400, "Tuesday, February 29, 2000 00:00:00-UTC"),
            (951_868_800, "Wednesday, March 1, 2000 00:00:00-UTC"),
            (1_735_689_599, "Tuesday, December 31, 2024 23:59:59-UTC"),
            (4_107_542_400, "Monday, March 1, 2100 00:00:00-UTC"),
        ] {
            assert_eq!(Date::from_unix(seconds).to_string(), text);
        }
    }
}
