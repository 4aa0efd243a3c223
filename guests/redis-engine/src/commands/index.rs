// SPDX-License-Identifier: MIT OR Apache-2.0
//! Indices that may count from the end.

use crate::number::saturating_i64;

/// Returns the positions between two indices that may count from the end.
pub(crate) fn range(start: i64, end: i64, len: usize) -> core::ops::Range<usize> {
    let len_signed = saturating_i64(len as u64);
    let from_end = |index: i64| if index < 0 { index.saturating_add(len_signed) } else { index };
    let start = from_end(start).max(0);
    let end = from_end(end).min(len_signed - 1);
    if start > end || start >= len_signed {
        return 0..0;
    }
    let position = |index: i64| usize::try_from(index).unwrap_or(0);
    position(start)..position(end) + 1
}

/// Returns the position of an index that may count from the end, or `None` if it is outside.
pub(crate) fn position(index: i64, len: usize) -> Option<usize> {
    let len_signed = i64::try_from(len).ok()?;
    let index = if index < 0 { index.checked_add(len_signed)? } else { index };
    usize::try_from(index).ok().filter(|index| *index < len)
}
