// SPDX-License-Identifier: GPL-3.0-or-later
//! Parses numbers within a range.

use std::ops::RangeInclusive;

use super::number::{BLANKS, NumberError, parse_number};
use super::problem::ConfigProblem;

/// Parses a number in a range.
///
/// # Errors
/// It is not a number, or not in the range.
pub(super) fn parse_range<T>(
    key: &'static str,
    text: &str,
    range: RangeInclusive<T>,
) -> Result<T, ConfigProblem>
where
    T: Copy + PartialOrd + TryFrom<u64> + Into<u32>,
{
    let number = match parse_number(text.trim_matches(BLANKS)) {
        Ok(number) => T::try_from(number).ok(),
        Err(NumberError::TooLarge) => None,
        Err(NumberError::Form) => {
            return Err(ConfigProblem::NotANumber { key, text: text.to_owned() });
        }
    };
    number.filter(|number| range.contains(number)).ok_or_else(|| ConfigProblem::OutOfRange {
        key,
        text: text.to_owned(),
        least: (*range.start()).into(),
        most: (*range.end()).into(),
    })
}
