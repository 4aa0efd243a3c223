// SPDX-License-Identifier: MIT OR Apache-2.0
//! Little-endian fields in a page that has already been copied out of shared memory.

use crate::layout::PAGE_SIZE;

/// A page in private memory.
pub(crate) type PageBytes = [u8; PAGE_SIZE];

/// Reads `N` bytes at `offset`.
///
/// Panics if they do not lie in the page. They always do: offsets come from [`crate::layout`] and
/// from entry numbers that were checked against [`crate::layout::MAX_ENTRIES`].
pub(crate) fn bytes<const N: usize>(page: &PageBytes, offset: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&page[offset..offset + N]);
    out
}

pub(crate) fn get_u16(page: &PageBytes, offset: usize) -> u16 {
    u16::from_le_bytes(bytes(page, offset))
}

pub(crate) fn get_u32(page: &PageBytes, offset: usize) -> u32 {
    u32::from_le_bytes(bytes(page, offset))
}

pub(crate) fn get_u64(page: &PageBytes, offset: usize) -> u64 {
    u64::from_le_bytes(bytes(page, offset))
}

/// Writes `value` at `offset` of a page, or of its used part.
///
/// Panics if it does not lie there.
pub(crate) fn put(page: &mut [u8], offset: usize, value: &[u8]) {
    page[offset..offset + value.len()].copy_from_slice(value);
}

pub(crate) fn put_u16(page: &mut [u8], offset: usize, value: u16) {
    put(page, offset, &value.to_le_bytes());
}

pub(crate) fn put_u32(page: &mut [u8], offset: usize, value: u32) {
    put(page, offset, &value.to_le_bytes());
}

pub(crate) fn put_u64(page: &mut [u8], offset: usize, value: u64) {
    put(page, offset, &value.to_le_bytes());
}
