// SPDX-License-Identifier: MIT OR Apache-2.0
//! Parses and prints numbers as Redis does.

use alloc::string::String;
use core::str;

use crate::error::Refused;

/// Parses an integer. Does not accept a `+`, leading zeros or spaces.
pub(crate) fn integer(text: &[u8]) -> Result<i64, Refused> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let canonical = match digits {
        [] => false,
        [b'0'] => text.len() == 1,
        [first, ..] => *first != b'0' && digits.iter().all(u8::is_ascii_digit),
    };
    let text = str::from_utf8(text).ok().filter(|_| canonical);
    text.and_then(|text| text.parse().ok()).ok_or(Refused::NotAnInteger)
}

/// Parses a floating-point number, including `inf` and `-inf`. Returns `None` for NaN and for
/// numbers that are too large or too small for a double.
pub(crate) fn float(text: &[u8]) -> Option<f64> {
    // A fast path: most are small integers.
    if let Ok(whole) = integer(text)
        && let Ok(whole) = i32::try_from(whole)
    {
        return Some(f64::from(whole));
    }
    let value = parse(text)?;
    let mantissa = text.split(|byte| matches!(byte, b'e' | b'E')).next().unwrap_or(text);
    let is_zero = !mantissa.iter().any(|byte| (b'1'..=b'9').contains(byte));
    let named = mantissa.iter().any(|byte| matches!(byte, b'i' | b'I'));
    ((value.is_finite() || named) && (value != 0.0 || is_zero)).then_some(value)
}

/// Parses a score that bounds a range. Unlike [`float`], takes an empty text for 0 and a number
/// that is too large for infinity.
pub(crate) fn bound(text: &[u8]) -> Option<f64> {
    if text.is_empty() { Some(0.0) } else { parse(text) }
}

fn parse(text: &[u8]) -> Option<f64> {
    let plain = |c: &u8| c.is_ascii_digit() || matches!(c, b'+' | b'-' | b'.' | b'e' | b'E');
    let unsigned = text.strip_prefix(b"-").or(text.strip_prefix(b"+")).unwrap_or(text);
    if unsigned.eq_ignore_ascii_case(b"inf") || unsigned.eq_ignore_ascii_case(b"infinity") {
        let negative = text.first() == Some(&b'-');
        return Some(if negative { f64::NEG_INFINITY } else { f64::INFINITY });
    }
    let text = str::from_utf8(text).ok().filter(|text| text.as_bytes().iter().all(plain))?;
    text.parse().ok()
}

/// Prints an integer in decimal at the end of the buffer, and returns that part of it.
pub(crate) fn print_integer(number: i64, digits: &mut [u8; 20]) -> &[u8] {
    let mut at = digits.len();
    let mut rest = number.unsigned_abs();
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10).to_le_bytes()[0];
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if number < 0 {
        at -= 1;
        digits[at] = b'-';
    }
    &digits[at..]
}

/// Prints a double as C's `%.17g` does, which Redis 7.0 uses.
pub(crate) fn print_double(value: f64) -> String {
    #[allow(clippy::cast_possible_truncation)] // the comparison below detects truncation
    let whole = value as i32;
    // A fast path: most are small integers. Compare bits, because -0 is not one.
    if f64::from(whole).to_bits() == value.to_bits() {
        let mut digits = [0; 20];
        return print_integer(whole.into(), &mut digits).iter().copied().map(char::from).collect();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.into();
    }
    // 17 significant digits, and the exponent of the first.
    let text = alloc::format!("{value:.16e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..17).contains(&exponent) {
        let decimals = usize::try_from(16 - exponent).unwrap_or(0);
        return without_zeros(&alloc::format!("{value:.decimals$}")).into();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    alloc::format!("{}e{sign}{:0>2}", without_zeros(digits), exponent.unsigned_abs())
}

/// Removes the zeros at the end of a fraction.
fn without_zeros(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

/// Returns the same number, or the largest one that an integer reply can have. In practice lengths,
/// numbers of connections and times are never larger.
pub(crate) fn saturating_i64(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Returns the same number, or the largest `usize`. A count above that asks for more than memory can
/// contain.
pub(crate) fn saturating_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;

    #[test]
    fn integers_are_parsed_strictly() {
        for (text, value) in [("0", 0), ("-1", -1), ("9223372036854775807", i64::MAX)] {
            assert_eq!(integer(text.as_bytes()), Ok(value));
        }
        for wrong in ["", "-", "01", "-0", "+1", " 1", "1 ", "9223372036854775808", "1.0"] {
            assert_eq!(integer(wrong.as_bytes()), Err(Refused::NotAnInteger), "{wrong:?}");
        }
    }

    #[test]
    fn integers_are_printed() {
        for number in [0, 7, -1, 1_234_567_890, i64::MAX, i64::MIN] {
            let mut digits = [0; 20];
            assert_eq!(print_integer(number, &mut digits), number.to_string().as_bytes());
        }
    }

    #[test]
    fn doubles_are_printed_as_in_redis() {
        for (value, text) in [
            (1.0, "1"),
            (-2.5, "-2.5"),
            (0.1, "0.10000000000000001"),
            (0.0, "0"),
            (-0.0, "-0"),
            (0.5, "0.5"),
            (1e16, "10000000000000000"),
            (1e20, "1e+20"),
            (1e-7, "9.9999999999999995e-08"),
            (f64::INFINITY, "inf"),
        ] {
            assert_eq!(print_double(value), text);
        }
        assert_eq!(float(b"nan"), None);
        assert_eq!(float(b"-inf"), Some(f64::NEG_INFINITY));
        for wrong in ["0x10", "", "1e400", "-1e400", "1e-400", "i", " 1"] {
            assert_eq!(float(wrong.as_bytes()), None, "{wrong:?}");
        }
        assert_eq!(float(b"0e-400"), Some(0.0));
        assert_eq!(bound(b""), Some(0.0));
        assert_eq!(bound(b"1e400"), Some(f64::INFINITY));
    }
}
