// SPDX-License-Identifier: GPL-3.0-or-later
//! The segments of a kernel.

use std::fs::File;
use std::ops::Range;

/// A contiguous part of the guest's memory that the kernel occupies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// First guest-physical address.
    pub paddr: u64,
    /// Size in the guest in bytes, never 0. What is beyond the bytes of the file must be zero.
    /// `paddr + mem_size` does not overflow.
    pub mem_size: u64,
    /// Index among the program headers of the ELF file, for messages.
    pub index: usize,
    /// Where its bytes are in the file; at most `mem_size` bytes.
    pub(super) file: Range<u64>,
}

impl Segment {
    /// Returns the first address after the segment.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.paddr + self.mem_size
    }

    /// Returns its size in the file, in bytes.
    #[must_use]
    pub fn file_size(&self) -> u64 {
        self.file.end - self.file.start
    }
}

/// The bytes that a segment begins with.
#[derive(Clone, Copy, Debug)]
pub enum Content<'a> {
    /// They are in memory.
    Bytes(&'a [u8]),
    /// They are in a file.
    File {
        /// The file.
        file: &'a File,
        /// Offset of the first byte in the file.
        position: u64,
        /// Number of bytes.
        count: usize,
    },
}

impl Content<'_> {
    /// Returns the number of bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::File { count, .. } => *count,
        }
    }

    /// Returns whether there are no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
