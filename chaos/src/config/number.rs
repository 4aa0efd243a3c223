// SPDX-License-Identifier: GPL-3.0-or-later
//! Parses numbers as C writes them.

/// What may stand around a number in a string; xl accepts it before one.
pub(super) const BLANKS: [char; 2] = [' ', '\t'];

/// Why a text is not a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NumberError {
    Form,
    TooLarge,
}

/// Parses a number as C does: hexadecimal after `0x`, octal after `0`. There is no sign.
pub(super) fn parse_number(text: &str) -> Result<u64, NumberError> {
    let (digits, base) = match text.as_bytes() {
        [b'0', b'x' | b'X', ..] => (&text[2..], 16),
        [b'0', _, ..] => (&text[1..], 8),
        _ => (text, 10),
    };
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(base)) {
        return Err(NumberError::Form);
    }
    u64::from_str_radix(digits, base).map_err(|_| NumberError::TooLarge)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_c() {
        for (text, value) in [("0", 0), ("16", 16), ("0x1F", 31), ("010", 8), ("00", 0)] {
            assert_eq!(parse_number(text), Ok(value), "{text}");
        }
        for text in ["", "0x", "08", "1a", "+1", "-1", " 1", "1 ", "0x+1", "٣"] {
            assert_eq!(parse_number(text), Err(NumberError::Form), "{text}");
        }
        assert_eq!(parse_number("18446744073709551616"), Err(NumberError::TooLarge));
    }
}
