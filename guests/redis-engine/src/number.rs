//! Numbers as Redis reads and writes them.

use alloc::string::{String, ToString};
use core::str;

use crate::error::Refused;

/// An integer: no sign `+`, no leading zeros, no spaces.
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

/// A floating-point number, `inf` and `-inf` among them, but never NaN.
pub(crate) fn float(text: &[u8]) -> Option<f64> {
    let text = str::from_utf8(text).ok()?;
    let plain = |c: u8| c.is_ascii_digit() || matches!(c, b'+' | b'-' | b'.' | b'e' | b'E');
    let value = match text.to_ascii_lowercase().as_str() {
        "inf" | "+inf" | "infinity" | "+infinity" => f64::INFINITY,
        "-inf" | "-infinity" => f64::NEG_INFINITY,
        _ if !text.bytes().all(plain) => return None,
        _ => text.parse().ok()?,
    };
    (!value.is_nan()).then_some(value)
}

/// A double as Redis prints it: shortest digits that read back the same, with an exponent where
/// C's `%.17g` has one.
pub(crate) fn print_double(value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.into();
    }
    if value == 0.0 {
        return if value.is_sign_negative() { "-0" } else { "0" }.into();
    }
    // Integers that a double holds exactly are printed as such.
    let magnitude = value.abs();
    if (1e-4..1e17).contains(&magnitude) {
        return value.to_string();
    }
    let text = alloc::format!("{value:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, exponent) = match exponent.strip_prefix('-') {
        Some(exponent) => ('-', exponent),
        None => ('+', exponent),
    };
    alloc::format!("{digits}e{sign}{exponent:0>2}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_read_strictly() {
        for (text, value) in [("0", 0), ("-1", -1), ("9223372036854775807", i64::MAX)] {
            assert_eq!(integer(text.as_bytes()), Ok(value));
        }
        for wrong in ["", "-", "01", "-0", "+1", " 1", "1 ", "9223372036854775808", "1.0"] {
            assert_eq!(integer(wrong.as_bytes()), Err(Refused::NotAnInteger), "{wrong:?}");
        }
    }

    #[test]
    fn doubles_are_printed_as_redis_does() {
        for (value, text) in [
            (1.0, "1"),
            (-2.5, "-2.5"),
            (0.1, "0.1"),
            (1e20, "1e+20"),
            (1e-7, "1e-07"),
            (f64::INFINITY, "inf"),
        ] {
            assert_eq!(print_double(value), text);
        }
        assert_eq!(float(b"nan"), None);
        assert_eq!(float(b"-inf"), Some(f64::NEG_INFINITY));
        assert_eq!(float(b"0x10"), None);
    }
}
