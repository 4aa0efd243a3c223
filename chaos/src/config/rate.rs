// SPDX-License-Identifier: GPL-3.0-or-later
//! Parses the rate limit of a vif, in xl's notation (`libxlu_vif.c`).

use noxs_control::Rate;
use thiserror::Error;

use super::number::{NumberError, parse_number};

/// Interval if the config has none, in microseconds.
const DEFAULT_INTERVAL_US: u64 = 50_000;

/// Largest number that xl accepts, and longest interval in microseconds.
const MOST: u64 = u32::MAX as u64;

/// Why a text is not a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RateError {
    /// It does not have the form of a rate.
    #[error(
        "must be a rate such as 10Mb/s (bits) or 200KB/s (bytes), optionally followed by '@' and \
         an interval such as 20ms"
    )]
    Form,
    /// It would not let the guest send anything.
    #[error("must allow at least one byte per interval")]
    Zero,
    /// A number is too large.
    #[error("each number must be at most {MOST}, and the interval at most {} s",
        MOST / 1_000_000)]
    TooLarge,
    /// The product of both numbers is too large.
    #[error(
        "the bytes per second times the microseconds of the interval must be below 2^64; shorten \
         the interval or lower the rate"
    )]
    Product,
}

/// Parses a vif's `rate=`.
pub(super) fn parse_rate(text: &str) -> Result<Rate, RateError> {
    let (rate, interval) = match text.split_once('@') {
        Some((rate, interval)) => (rate, parse_interval(interval)?),
        None => (text, DEFAULT_INTERVAL_US),
    };
    let per_second = parse_bytes_per_second(rate)?;
    // xl, too, refuses a product that does not fit, even if the quotient does.
    match per_second.checked_mul(interval).map(|product| product / 1_000_000) {
        None => Err(RateError::Product),
        Some(0) => Err(RateError::Zero),
        Some(bytes) => Ok(Rate { bytes, interval_us: interval }),
    }
}

fn parse_bytes_per_second(text: &str) -> Result<u64, RateError> {
    let text = text.strip_suffix("/s").ok_or(RateError::Form)?;
    let (text, divisor) = match text.as_bytes().last() {
        Some(b'b') => (&text[..text.len() - 1], 8),
        Some(b'B') => (&text[..text.len() - 1], 1),
        _ => return Err(RateError::Form),
    };
    let (number, factor) = match text.as_bytes().last() {
        Some(b'G') => (&text[..text.len() - 1], 1_000_000_000),
        Some(b'M') => (&text[..text.len() - 1], 1_000_000),
        Some(b'K') => (&text[..text.len() - 1], 1_000),
        _ => (text, 1),
    };
    Ok(parse_count(number)? * factor / divisor)
}

fn parse_interval(text: &str) -> Result<u64, RateError> {
    let text = text.strip_suffix('s').unwrap_or(text);
    let (number, factor) = match text.as_bytes().last() {
        Some(b'u') => (&text[..text.len() - 1], 1),
        Some(b'm') => (&text[..text.len() - 1], 1_000),
        _ => (text, 1_000_000),
    };
    match parse_count(number)? * factor {
        interval if interval > MOST => Err(RateError::TooLarge),
        interval => Ok(interval),
    }
}

/// Parses a number from 1 to [`MOST`].
fn parse_count(text: &str) -> Result<u64, RateError> {
    // xl accepts digits only, so that 0x is not a prefix here.
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(RateError::Form);
    }
    match parse_number(text) {
        Ok(0) => Err(RateError::Zero),
        Ok(count) if count <= MOST => Ok(count),
        Ok(_) | Err(NumberError::TooLarge) => Err(RateError::TooLarge),
        Err(NumberError::Form) => Err(RateError::Form),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_rates_of_the_manual_page_are_parsed() {
        for (text, bytes, interval_us) in [
            ("10Mb/s", 62_500, 50_000),
            ("250KB/s", 12_500, 50_000),
            ("1MB/s@20ms", 20_000, 20_000),
            ("10Mb/s@20ms", 25_000, 20_000),
            ("8b/s@1", 1, 1_000_000),
            ("1GB/s@5us", 5_000, 5),
            ("1GB/s@5u", 5_000, 5),
            ("100B/s@2s", 200, 2_000_000),
        ] {
            assert_eq!(parse_rate(text), Ok(Rate { bytes, interval_us }), "{text}");
        }
    }

    #[test]
    fn invalid_rates_are_refused() {
        for text in
            ["", "10", "10Mb", "Mb/s", "10 Mb/s", "10TB/s", "0x1MB/s", "1MB/s@", "1MB/s@x", "-1B/s"]
        {
            assert_eq!(parse_rate(text), Err(RateError::Form), "{text}");
        }
        for text in ["0Mb/s", "1B/s", "1MB/s@0ms", "1b/s@1s"] {
            assert_eq!(parse_rate(text), Err(RateError::Zero), "{text}");
        }
        for text in ["4294967296B/s", "99999999999999999999B/s", "1MB/s@4295s"] {
            assert_eq!(parse_rate(text), Err(RateError::TooLarge), "{text}");
        }
        for text in ["4294967295GB/s@4294s", "4294967295GB/s@5us", "4296MB/s@4294s"] {
            assert_eq!(parse_rate(text), Err(RateError::Product), "{text}");
        }
        let most = Rate { bytes: 17_179_869_180_000, interval_us: 4 };
        assert_eq!(parse_rate("4294967295GB/s@4us"), Ok(most));
    }

    proptest! {
        #[test]
        fn any_text_is_a_rate_or_an_error(text in "[0-9KMGBbmus/@ ]{0,20}") {
            if let Ok(rate) = parse_rate(&text) {
                prop_assert!(rate.bytes > 0 && rate.interval_us > 0);
            }
        }
    }
}
