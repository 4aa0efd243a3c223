// SPDX-License-Identifier: GPL-3.0-or-later
//! Parts of an ELF file, checked to lie in it.

use std::ops::Range;

use object::ReadRef;

use super::error::{ImageError, Part};

/// Returns the size of the file in bytes.
pub(super) fn size<'data>(data: impl ReadRef<'data>) -> u64 {
    // Cannot fail: the data are in memory, or in a file whose size is already known.
    data.len().unwrap_or_default()
}

/// Returns where a part lies in the file. An empty part may claim to be anywhere.
pub(super) fn file_range<'data>(
    data: impl ReadRef<'data>,
    part: Part,
    offset: u64,
    length: u64,
) -> Result<Range<u64>, ImageError> {
    if length == 0 {
        return Ok(0..0);
    }
    let end = offset.saturating_add(length);
    if end <= size(data) { Ok(offset..end) } else { Err(truncated(data, part, end)) }
}

/// Returns the bytes of a part.
pub(super) fn bytes<'data>(
    data: impl ReadRef<'data>,
    part: Part,
    range: &Range<u64>,
) -> Result<&'data [u8], ImageError> {
    data.read_bytes_at(range.start, range.end - range.start)
        .map_err(|()| truncated(data, part, range.end))
}

pub(super) fn truncated<'data>(data: impl ReadRef<'data>, part: Part, needed: u64) -> ImageError {
    ImageError::Truncated { part, needed, size: size(data) }
}
