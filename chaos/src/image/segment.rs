//! What an image puts where.

use std::fs::File;
use std::ops::Range;

/// A run of guest memory that the kernel fills.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// First guest-physical address.
    pub paddr: u64,
    /// Size in the guest in bytes, never 0. What the file does not fill must be zero.
    /// `paddr + mem_size` does not overflow.
    pub mem_size: u64,
    /// Number among the ELF file's program headers, for messages.
    pub index: usize,
    /// Where its bytes are in the file; at most `mem_size` of them.
    pub(super) file: Range<u64>,
}

impl Segment {
    /// Returns the first address after the segment.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.paddr + self.mem_size
    }

    /// Returns how many bytes it has in the file.
    #[must_use]
    pub fn file_size(&self) -> u64 {
        self.file.end - self.file.start
    }
}

/// The bytes a segment begins with.
#[derive(Clone, Copy, Debug)]
pub enum Content<'a> {
    /// They are in memory.
    Bytes(&'a [u8]),
    /// They are in a file.
    File {
        /// The file.
        file: &'a File,
        /// Where they begin.
        position: u64,
        /// How many there are.
        count: usize,
    },
}

impl Content<'_> {
    /// Returns how many bytes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::File { count, .. } => *count,
        }
    }

    /// Returns whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
