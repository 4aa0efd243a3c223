//! Numbers as a plot shows them.

/// The power of ten that is not above a positive value.
#[allow(clippy::cast_possible_truncation)]
pub(super) fn exponent(value: f64) -> i32 {
    // What a logarithm loses must not take 1000 below a thousand.
    (value.log10() + 1e-9).floor() as i32
}

/// With three digits that count; none of them is a dot's lonely zero.
pub(super) fn significant(value: f64) -> String {
    if value <= 0.0 || !value.is_finite() {
        return format!("{value}");
    }
    // 9.996 has become 10.0, and has a digit less after the dot.
    let rounded = to_decimals(value, 2 - exponent(value));
    plain(rounded, 2 - exponent(rounded))
}

/// With so many digits after the dot, if that is any.
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
    fn three_digits_count() {
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
