//! Kernel images for PVH direct boot.
//!
//! A kernel is an ELF file whose `Xen` note of type 18 (`XEN_ELFNOTE_PHYS32_ENTRY` in Xen's
//! `elfnote.h`) says where to enter it in 32-bit mode without paging. It may be packed with gzip,
//! or be a Linux bzImage, whose payload is such a file, packed with gzip, xz, zstd, lz4 or lzma.
//! Everything is checked when an [`Image`] is made, so that putting it into a guest only copies
//! bytes.

mod bzimage;
mod cache;
mod elf;
mod error;
mod unpack;

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::ops::Range;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

pub use cache::{ImageCache, ImageKey};
pub use error::{ImageError, Part};

/// Largest kernel in bytes, as a file and unpacked.
pub const MAX_SIZE: u64 = 1 << 30;

/// A kernel, checked and ready to be copied into a guest.
#[derive(Clone, Debug)]
pub struct Image {
    bytes: Vec<u8>,
    segments: Vec<Segment>,
    entry: u32,
}

/// A run of guest memory that the kernel fills.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// First guest-physical address.
    pub paddr: u64,
    /// Size in the guest in bytes, never 0. What the file leaves open is to be cleared.
    /// `paddr + mem_size` does not overflow.
    pub mem_size: u64,
    /// Number among the ELF file's program headers, for messages.
    pub index: usize,
    /// Where its bytes are in the file; at most `mem_size` of them.
    file: Range<usize>,
}

impl Segment {
    /// First address after the segment.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.paddr + self.mem_size
    }
}

impl Image {
    /// Reads and checks a kernel.
    ///
    /// # Errors
    /// The file cannot be read, is no regular file, or is no kernel that can be booted as PVH.
    pub fn open(path: &Path) -> Result<Self, ImageError> {
        Self::from_file(&open(path)?)
    }

    /// Reads and checks a kernel from its beginning in an open file.
    ///
    /// The whole file is read into memory. It is not mapped: a mapped file that somebody
    /// truncates would kill the process that touches it.
    ///
    /// # Errors
    /// As [`Image::open`].
    pub fn from_file(file: &File) -> Result<Self, ImageError> {
        let key = ImageKey::of(file)?;
        let bytes = read(file, key.size)?;
        if ImageKey::of(file)? != key || bytes.len() as u64 != key.size {
            return Err(ImageError::Changed);
        }
        Self::parse(bytes)
    }

    /// Checks a kernel that is in memory already.
    ///
    /// # Errors
    /// The bytes are no kernel that can be booted as PVH.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, ImageError> {
        let bytes = unpack::unpack(bytes)?;
        let elf::Contents { segments, entry } = elf::parse(&bytes)?;
        Ok(Self { bytes, segments, entry })
    }

    /// Guest-physical address where the first vCPU begins.
    #[must_use]
    pub fn entry(&self) -> u32 {
        self.entry
    }

    /// What is to be put into the guest: at least one segment, sorted by address, none
    /// overlapping another.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The bytes a segment begins with; the rest of it is zero.
    ///
    /// # Panics
    /// If the segment is of another image and does not lie in this one.
    #[must_use]
    pub fn bytes(&self, segment: &Segment) -> &[u8] {
        &self.bytes[segment.file.clone()]
    }

    /// First guest-physical address after all segments.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.segments.last().map_or(0, Segment::end)
    }

    /// How many bytes the image holds in this process.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Checks that every segment ends at or below `usable_end`, a guest-physical address.
    ///
    /// # Errors
    /// [`ImageError::DoesNotFit`], naming the highest segment.
    pub fn check_fits(&self, usable_end: u64) -> Result<(), ImageError> {
        match self.segments.last() {
            Some(last) if last.end() > usable_end => Err(ImageError::DoesNotFit {
                index: last.index,
                end: last.end(),
                usable_end,
                missing_kib: (last.end() - usable_end).div_ceil(1024),
            }),
            _ => Ok(()),
        }
    }
}

/// Opens a file for reading without waiting for a pipe's other end.
fn open(path: &Path) -> Result<File, ImageError> {
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)
        .map_err(ImageError::Open)
}

/// Reads a file that is expected to have `size` bytes, and notices one more.
fn read(mut file: &File, size: u64) -> Result<Vec<u8>, ImageError> {
    let capacity = usize::try_from(size).map_err(|_| ImageError::TooLarge { what: "the file" })?;
    let mut bytes = Vec::with_capacity(capacity.saturating_add(1));
    std::io::Seek::rewind(&mut file).map_err(ImageError::Read)?;
    file.take(size.saturating_add(1)).read_to_end(&mut bytes).map_err(ImageError::Read)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
