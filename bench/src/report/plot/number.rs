// SPDX-License-Identifier: GPL-3.0-or-later
//! Formats numbers for a plot.

/// Returns the exponent of the largest power of ten that is not above a positive value.
#[allow(clippy::cast_possible_truncation)]
pub(super) fn exponent(value: f64) -> i32 {
    // Without the correction, rounding in the logarithm could give 1000 the exponent 2.
    (value.log10() + 1e-9).floor() as i32
}

/// Formats a value with three significant digits.
pub(super) fn significant(value: f64) -> String {
    if value <= 0.0 || !value.is_finite() {
        return format!("{value}");
    }
    // 9.996 is rounded to 10.0, which has one digit less after the point.
    let rounded = to_decimals(value, 2 - exponent(value));
    plain(rounded, 2 - exponent(rounded))
}

/// Formats a value with `decimals` digits after the point; none if that is negative.
pub(super) fn plain(value: f64, decimals: i32) -> String {
    format!("{value:.*}", usize::try_from(decimals).unwrap_or(0))
}

fn to_decimals(value: f64, decimals: i32) -> f64 {
    let unit = 10_f64.powi(-decimals);
    (value / unit).round() * unit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_are_significant() {
        for (value, text) in [
            (0.0, "0"),
            (0.008_345, "0.00834"),
            (0.1, "0.100"),
            (0.265_8, "0.266"),
            (9.996, "10.0"),
            (12.93, "12.9"),
            (999.6, "1000"),
            (1034.85, "1030"),
            (17_543.86, "17500"),
        ] {
            assert_eq!(significant(value), text);
        }
    }

    #[test]
    fn exponent_of_a_power_of_ten_is_exact() {
        for power in -6..9 {
            assert_eq!(exponent(10_f64.powi(power)), power);
        }
        assert_eq!(exponent(0.99), -1);
        assert_eq!(exponent(9.99), 0);
    }
}
