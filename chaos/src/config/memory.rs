// SPDX-License-Identifier: GPL-3.0-or-later
//! Sizes of memory.

use thiserror::Error;
use xen::units::KiB;

use super::number::{BLANKS, NumberError, parse_number};

/// Smallest memory of a guest.
pub const MIN_MEMORY: KiB = KiB(1 << 10);

/// Largest memory of a guest: 16 TiB, as much as Xen supports on today's machines.
pub const MAX_MEMORY: KiB = KiB(16 << 30);

/// Why a text is not a size of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum MemoryError {
    /// It is not a number with a known unit.
    #[error("must be a number of MiB, or a string such as \"1536K\", \"2M\" or \"1G\"")]
    Form,
    /// It is not a whole number of pages.
    #[error("must be a multiple of 4 KiB, not {} KiB", .0.0)]
    NotWholePages(KiB),
    /// It is less than [`MIN_MEMORY`].
    #[error("must be at least {} MiB", MIN_MEMORY.0 >> 10)]
    TooSmall,
    /// It is more than [`MAX_MEMORY`].
    #[error("must be at most {} GiB", MAX_MEMORY.0 >> 20)]
    TooLarge,
}

/// Parses `memory=`: a number of MiB as in xl, or a number followed by `K`, `M` or `G`.
///
/// # Errors
/// It is not a number, not a multiple of 4 KiB, or out of range.
pub fn parse_memory(text: &str) -> Result<KiB, MemoryError> {
    let text = text.trim_matches(BLANKS);
    let unit = match text.as_bytes().last() {
        Some(b'K' | b'k') => Some(1),
        Some(b'M' | b'm') => Some(1 << 10),
        Some(b'G' | b'g') => Some(1 << 20),
        _ => None,
    };
    let (number, unit) = match unit {
        Some(unit) => (&text[..text.len() - 1], unit),
        None => (text, 1 << 10),
    };
    let number = parse_number(number).map_err(|error| match error {
        NumberError::Form => MemoryError::Form,
        NumberError::TooLarge => MemoryError::TooLarge,
    })?;
    check_memory(KiB(number.checked_mul(unit).ok_or(MemoryError::TooLarge)?))
}

/// Returns the size if a guest can have this amount of memory.
///
/// # Errors
/// It is not a multiple of 4 KiB, or out of range.
pub fn check_memory(size: KiB) -> Result<KiB, MemoryError> {
    match size {
        size if size < MIN_MEMORY => Err(MemoryError::TooSmall),
        size if size > MAX_MEMORY => Err(MemoryError::TooLarge),
        size if size.to_pages().is_none() => Err(MemoryError::NotWholePages(size)),
        size => Ok(size),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn memory_without_a_unit_is_in_mib() {
        for (text, kib) in [
            ("4", 4096),
            (" 4\t", 4096),
            ("0x10", 16384),
            ("1536K", 1536),
            ("1M", 1024),
            ("2g", 2 << 20),
        ] {
            assert_eq!(parse_memory(text), Ok(KiB(kib)), "{text}");
        }
        for (text, error) in [
            ("", MemoryError::Form),
            ("K", MemoryError::Form),
            ("4 M", MemoryError::Form),
            ("4MB", MemoryError::Form),
            ("-4", MemoryError::Form),
            ("1.5M", MemoryError::Form),
            ("0", MemoryError::TooSmall),
            ("1020K", MemoryError::TooSmall),
            ("1537K", MemoryError::NotWholePages(KiB(1537))),
            ("16385G", MemoryError::TooLarge),
            ("18446744073709551615G", MemoryError::TooLarge),
            ("99999999999999999999", MemoryError::TooLarge),
        ] {
            assert_eq!(parse_memory(text), Err(error), "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_whole_page_size_can_be_written(pages in 256..=(16u64 << 28)) {
            prop_assert_eq!(parse_memory(&format!("{}K", pages * 4)), Ok(KiB(pages * 4)));
        }

        #[test]
        fn any_text_is_a_size_or_an_error(text in ".{0,24}") {
            if let Ok(size) = parse_memory(&text) {
                prop_assert!(size >= MIN_MEMORY && size <= MAX_MEMORY && size.0 % 4 == 0);
            }
        }
    }
}
